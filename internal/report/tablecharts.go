package report

import (
	"fmt"
	"slices"
	"strings"
)

// answersChart draws how many answers each replica gave, by address asked.
func (r *Report) answersChart(id string, a Answers) *chart {
	c := &chart{ID: id, Title: "Who answered"}
	doors := distinct(a.Rows, func(x Answer) string { return x.Asked })
	var most int
	total := map[[2]string]int{} // replica and node
	nodes := map[string]int{}
	for _, x := range a.Rows {
		k := [2]string{x.Replica, x.Node}
		total[k] += x.Answers
		most = max(most, total[k])
		nodes[x.Node] += x.Answers
	}
	var lines []string
	names := distinct(a.Rows, func(x Answer) string { return x.Node })
	r.sortNodes(names)
	for _, node := range names {
		c.head(fmt.Sprintf("%s: %s", node, count(nodes[node], "answer")))
		lines = append(lines, fmt.Sprintf("%s gave %s", node, count(nodes[node], "answer")))
		for _, k := range distinct(a.Rows, func(x Answer) [2]string { return [2]string{x.Replica, x.Node} }) {
			if k[1] != node {
				continue
			}
			var bars []bar
			at := 0.0
			for _, x := range a.Rows {
				if x.Replica != k[0] || x.Node != node || x.Answers == 0 {
					continue
				}
				w := 100 * float64(x.Answers) / float64(max(most, 1))
				bars = append(bars, bar{X: at, W: max(w-0.4, minBar), Class: series(slices.Index(doors, x.Asked)),
					Title: fmt.Sprintf("%s answered %d times for %s", x.Replica, x.Answers, x.Asked)})
				at += w
			}
			c.row(k[0], fmt.Sprint(total[k]), bars...)
		}
	}
	for i, d := range doors {
		c.Legend = append(c.Legend, legend{series(i), "asked at " + d})
	}
	c.Desc = strings.Join(lines, ", ") + "."
	return c
}

func series(i int) string { return fmt.Sprintf("s%d", i%6) }

func distinct[T any, K comparable](rows []T, key func(T) K) []K {
	var out []K
	for _, x := range rows {
		if k := key(x); !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	return out
}

// door is what the replicas answered to those who asked one address.
type door struct {
	Asked                string
	Total, Least, Most   int
	Replicas, Nodes      int // that answered
	AllReplicas          int
	ByReplica, ByNodeTxt string
}

// doors sums up a table of answers by address asked.
func (a Answers) Doors() []door {
	var out []door
	for _, asked := range distinct(a.Rows, func(x Answer) string { return x.Asked }) {
		d := door{Asked: asked, Least: -1}
		nodes := map[string]int{}
		var names, by []string
		for _, x := range a.Rows {
			if x.Asked != asked {
				continue
			}
			d.Total += x.Answers
			d.AllReplicas++
			if x.Answers > 0 {
				d.Replicas++
			}
			if d.Least < 0 || x.Answers < d.Least {
				d.Least = x.Answers
			}
			d.Most = max(d.Most, x.Answers)
			if !slices.Contains(names, x.Node) {
				names = append(names, x.Node)
			}
			nodes[x.Node] += x.Answers
			by = append(by, fmt.Sprintf("%s %d", x.Replica, x.Answers))
		}
		var byNode []string
		for _, n := range names {
			byNode = append(byNode, fmt.Sprintf("%s %d", n, nodes[n]))
			if nodes[n] > 0 {
				d.Nodes++
			}
		}
		d.ByReplica, d.ByNodeTxt = strings.Join(by, ", "), strings.Join(byNode, ", ")
		out = append(out, d)
	}
	return out
}

// pingsChart draws the round-trip times.
func pingsChart(id string, p Pings) *chart {
	c := &chart{ID: id, Title: "Round-trip times", Desc: "How long a packet and its answer took, for each way and each form of the name."}
	longest := 0.0
	for _, x := range p.Rows {
		if x.RTT != nil {
			longest = max(longest, *x.RTT)
		}
	}
	last := ""
	for _, x := range p.Rows {
		if way := p.Way(x.From, x.To); way != last {
			c.head(way)
			last = way
		}
		if x.RTT == nil {
			c.row("by "+x.Form, x.Verdict, bar{W: 100, Class: "lost", Title: x.Verdict})
			continue
		}
		class := "s0"
		if x.Verdict != "ok" {
			class = "bad"
		}
		c.row("by "+x.Form, fmt.Sprintf("%.3g ms", *x.RTT), bar{W: 100 * *x.RTT / max(longest, 1e-9), Class: class,
			Title: fmt.Sprintf("%s to %s by %s: %s, %g ms", x.From, x.To, x.Form, x.Verdict, *x.RTT)})
	}
	return c
}

// Way says from where to where.
func (p Pings) Way(from, to string) string {
	a, b := p.Where[from], p.Where[to]
	s := from + " → " + to
	switch {
	case a == "" || b == "":
	case a == b:
		s += ", both on " + a
	default:
		s += fmt.Sprintf(", %s to %s", a, b)
	}
	return s
}

// Forms lists the forms of names in the order of the table, and Matrix the
// ways with a cell for each.
func (p Pings) Forms() []string { return distinct(p.Rows, func(x Ping) string { return x.Form }) }

type pingRow struct {
	Way   string
	Cells []*Ping // nil: not tried
}

// Matrix is the table as from and to × form.
func (p Pings) Matrix() []pingRow {
	var out []pingRow
	forms := p.Forms()
	for _, way := range distinct(p.Rows, func(x Ping) [2]string { return [2]string{x.From, x.To} }) {
		r := pingRow{Way: p.Way(way[0], way[1]), Cells: make([]*Ping, len(forms))}
		for i := range p.Rows {
			x := &p.Rows[i]
			if x.From == way[0] && x.To == way[1] {
				r.Cells[slices.Index(forms, x.Form)] = x
			}
		}
		out = append(out, r)
	}
	return out
}
