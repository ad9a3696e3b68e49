package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// topology is the picture of the lab: the host, the nodes side by side with
// the replicas that run there, and below them the networks. Places across are
// in percent, heights in pixels.
type topology struct {
	ID, Desc       string
	Height, Width  int // Width: the least at which the texts fit
	HostLines      []string
	HostH          int
	NodeY, NodeH   int
	Nodes          []nodeBox
	Nets           []netBar
	Waiting        string // replicas without a node
	WaitingY       int
	LinkY1, LinkY2 int
}

type nodeBox struct {
	X, W, Mid  float64
	Class      string
	Title      string
	Name, Role string
	Lines      []string
	Replicas   []chip
	More       int // replicas that are not drawn
	MoreY      int
}

type chip struct {
	Y, TextY    int
	Text, Title string
	Class       string
}

type netBar struct {
	Y, TextY, MidY int
	X, W           float64
	Label, Title   string
	Class          string
	Links          []float64 // where a line leads up to a node
}

const (
	maxChips = 12
	// many is the number of nodes above which the columns are narrow, and
	// crowd that above which the picture gets the whole width of the page.
	many, crowd = 2, 4
)

// topologyOf draws the lab, or returns nil if nothing is known of it.
func topologyOf(id string, r *Report) *topology {
	n := len(r.Nodes)
	if n == 0 {
		return nil
	}
	columnWidth, columnText := 150, 20 // pixels, and the columns of text that they hold
	if n > many {
		columnWidth, columnText = 128, 16
	}
	t := &topology{ID: id, Width: max(280, n*columnWidth), HostLines: []string{"your machine"}}
	var ports []string
	for _, s := range r.Services {
		for _, p := range s.Ports {
			ports = append(ports, fmt.Sprintf("%s: port %s", s.Name, p))
		}
	}
	if r.Subnet != "" {
		t.HostLines = append(t.HostLines, "the nodes' network "+r.Subnet)
	}
	if len(ports) > 0 {
		t.HostLines = append(t.HostLines, short(strings.Join(ports, ", "), 34))
	}
	t.HostH = 12 + 17*len(t.HostLines)
	t.LinkY1 = t.HostH + 1
	t.NodeY = t.LinkY1 + 34
	t.LinkY2 = t.NodeY

	wide := 100 / float64(n)
	tallest := 0
	for i, node := range r.Nodes {
		b := nodeBox{X: round2(float64(i)*wide + wide*0.03), W: round2(wide * 0.94), Mid: round2((float64(i) + 0.5) * wide), Class: "node"}
		b.Name = short(node.Name, columnText)
		b.Role = cmp.Or(node.Role, "node")
		if node.Leader {
			b.Role += ", leader"
		}
		if node.Drained {
			b.Role += ", drained"
		}
		if node.Error != "" {
			b.Role += ", silent"
			b.Class = "node down"
		}
		if node.State != "" && node.State != "ready" {
			b.Role += ", " + node.State
			b.Class = "node down"
		}
		b.Role = short(b.Role, columnText+1)
		// What a distribution adds to a version is in the table.
		version, _, _ := strings.Cut(node.Docker, "+")
		for _, l := range nonEmpty(node.LabIP, prefixed("Docker ", version)) {
			b.Lines = append(b.Lines, short(l, columnText))
		}
		b.Title = strings.Join(nonEmpty(node.Name, node.Role, node.LabIP, prefixed("Docker ", node.Docker), node.OS, node.Error), ", ")
		y := 46 + 17*len(b.Lines)
		for _, x := range r.badFirst() {
			if x.Node != node.Name {
				continue
			}
			if len(b.Replicas) == maxChips {
				b.More++
				continue
			}
			c := chip{Y: y, TextY: y + 15, Text: short(x.Name, columnText-1), Class: "chip"}
			c.Title = strings.Join(nonEmpty(x.Name+" "+x.State, x.Error), ": ")
			if x.State != "running" {
				c.Class = "chip bad"
				c.Text = short(x.Name+" "+x.State, columnText-1)
			}
			b.Replicas = append(b.Replicas, c)
			y += 27
		}
		if b.More > 0 {
			b.MoreY = y + 14
			y += 22
		}
		tallest = max(tallest, y+8)
		t.Nodes = append(t.Nodes, b)
	}
	t.NodeH = tallest

	y := t.NodeY + t.NodeH + 22
	for i, w := range r.Networks {
		t.Nets = append(t.Nets, t.net(r, w, i, y))
		y += 44
	}
	var waiting []string
	for _, x := range r.Replicas {
		if x.Node == "" {
			waiting = append(waiting, x.Name+" "+x.State)
		}
	}
	if len(waiting) > 0 {
		t.Waiting, t.WaitingY = short("without a node: "+strings.Join(waiting, ", "), 42), y+4
		y += 20
	}
	t.Height = y
	t.Desc = describe(r)
	return t
}

// badFirst are the replicas, those first that do not run: they must not be
// among those that are not drawn.
func (r *Report) badFirst() []Replica {
	out := slices.Clone(r.Replicas)
	slices.SortStableFunc(out, func(a, b Replica) int {
		rank := map[bool]int{true: 1}
		return cmp.Compare(rank[a.State == "running"], rank[b.State == "running"])
	})
	return out
}

func (t *topology) net(r *Report, w Network, i, y int) netBar {
	b := netBar{Y: y, TextY: y + 19, MidY: y + 14, X: 1, W: 98, Class: "net"}
	if w.Ingress {
		b.Class = "net ingress"
	}
	what := cmp.Or(w.Driver, "no addresses")
	if w.Ingress {
		what = "published ports"
	}
	b.Label = short(strings.Join(nonEmpty(w.Name, strings.Join(w.Subnets, " "), what), " · "), 42)
	b.Title = fmt.Sprintf("network %s, %s: %s", w.Name, what, cmp.Or(strings.Join(w.Nodes, ", "), "no node takes part now"))
	wide := 100 / float64(len(r.Nodes))
	for k, node := range r.Nodes {
		if slices.Contains(w.Nodes, node.Name) {
			// Beside one another, so that each network's lines can be told apart.
			shift := (float64(i%6) - 2.5) * wide * 0.12
			b.Links = append(b.Links, round2((float64(k)+0.5)*wide+shift))
		}
	}
	if len(b.Links) == 0 {
		b.Class += " idle"
	}
	return b
}

// describe is the picture in words.
func describe(r *Report) string {
	var s []string
	for _, n := range r.Nodes {
		var names []string
		for _, x := range r.Replicas {
			if x.Node == n.Name {
				names = append(names, x.Name)
			}
		}
		text := strings.Join(nonEmpty(n.Name, n.Role, n.LabIP), " ")
		if len(names) > 0 {
			text += " runs " + strings.Join(names, ", ")
		}
		s = append(s, text)
	}
	for _, w := range r.Networks {
		s = append(s, strings.Join(nonEmpty("network "+w.Name, strings.Join(w.Subnets, " ")), " "))
	}
	return line(strings.Join(s, "; "), 1000) + "."
}

func nonEmpty(texts ...string) []string {
	return slices.DeleteFunc(slices.Clone(texts), func(s string) bool { return s == "" })
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}
