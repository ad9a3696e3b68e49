//go:build linux

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// report is the whole run for people: where, table, counts, timeline.
func (r *Result) report() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d cores, %d MB, %s; %s\n", r.Machine.CPU, r.Machine.Cores, r.Machine.MemoryMB, r.Machine.Acceleration, r.Date.Format("2006-01-02 15:04 MST"))
	var versions []string
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		versions = append(versions, name+" "+r.Versions[name])
	}
	fmt.Fprintf(&b, "%s\nmade by: %s\n", strings.Join(versions, ", "), r.Command)
	if r.Incomplete != "" {
		fmt.Fprintf(&b, "NOT WHOLE: %s\n", r.Incomplete)
	}
	b.WriteString("\n" + r.medians() + "\n" + r.ratios() + "\n" + r.counts())
	for _, t := range r.Timelines {
		fmt.Fprintf(&b, "\n%s", t.chart())
	}
	return b.String()
}

// medians is a table of all that was measured.
func (r *Result) medians() string {
	type row struct{ side, what string }
	var rows []row
	for _, s := range r.Samples {
		if x := (row{s.Side, s.What}); !slices.Contains(rows, x) {
			rows = append(rows, x)
		}
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "SIDE\tWHAT\tMEDIAN\tLEAST\tMOST\tTIMES\tLOAD BEFORE")
	for _, x := range rows {
		v := r.values(x.side, x.what)
		median, _ := r.median(x.side, x.what)
		var loads float64
		for _, s := range r.Samples {
			if s.Side == x.side && s.What == x.what {
				loads = max(loads, s.Load)
			}
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%.1f\n", x.side, x.what, seconds(median), seconds(slices.Min(v)), seconds(slices.Max(v)), len(v), loads)
	}
	_ = w.Flush()
	return b.String()
}

func seconds(s float64) string {
	if s < 10 {
		return fmt.Sprintf("%.2f s", s)
	}
	return fmt.Sprintf("%.0f s", s)
}

// ratios compares the medians with what was promised.
func (r *Result) ratios() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "LABCTL\tAGAINST\tRATIO\tTARGET\t")
	for _, c := range r.comparisons() {
		target, verdict := "-", ""
		if c.Target > 0 {
			target, verdict = fmt.Sprintf("%.2f", c.Target), met(c.Ratio() <= c.Target)
		}
		_, _ = fmt.Fprintf(w, "%s\t%s, %s\t%s\t%s\t%s\n", c.What, c.Against, c.AgainstWhat, ratio(c.Ratio()), target, verdict)
	}
	if s, ok := r.median(sideLabctl, reset); ok {
		_, _ = fmt.Fprintf(w, "%s\t\t%s\t%d s\t%s\n", reset, seconds(s), resetSeconds, met(s <= resetSeconds))
	}
	_ = w.Flush()
	return b.String()
}

func ratio(r float64) string {
	if r < 0.1 {
		return fmt.Sprintf("%.3f", r)
	}
	return fmt.Sprintf("%.2f", r)
}

func met(yes bool) string {
	if yes {
		return "met"
	}
	return "MISSED"
}

// counts tells what the creates cost in numbers that no machine changes.
func (r *Result) counts() string {
	var b strings.Builder
	for _, c := range r.Counts {
		fmt.Fprintf(&b, "%s, round %d:", c.Side, c.Round)
		if c.VagrantCalls > 0 {
			fmt.Fprintf(&b, " %d starts of Vagrant, %d SSH handshakes, %d commands, %.1f MB sent;", c.VagrantCalls, c.Handshakes, c.Commands, float64(c.Sent)/1e6)
		}
		if c.Nodes > 0 {
			fmt.Fprintf(&b, " %d nodes, whose VMs hold %d MB\n", c.Nodes, c.VMsMB)
			continue
		}
		b.WriteString(" logins on")
		for _, node := range slices.Sorted(maps.Keys(c.Logins)) {
			fmt.Fprintf(&b, " %s %d", node, c.Logins[node])
		}
		b.WriteString("\n")
	}
	return b.String()
}

// chartWidth is how many characters the longest bar has.
const chartWidth = 60

// chart draws the timeline in characters: a bar for each step, "#" if it is on
// the critical path, else "-".
func (t Timeline) chart() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, round %d, %s; # is the critical path\n", t.What, t.Round, seconds(t.Seconds))
	width := 0
	for _, s := range t.Steps {
		width = max(width, len(s.label()))
	}
	for _, s := range t.Steps {
		begin := int(s.Begin / t.Seconds * chartWidth)
		n := max(1, int(s.End/t.Seconds*chartWidth)-begin)
		mark := "-"
		if s.Critical {
			mark = "#"
		}
		fmt.Fprintf(&b, "%-*s |%-*s| %s\n", width, s.label(), chartWidth, strings.Repeat(" ", min(begin, chartWidth-1))+strings.Repeat(mark, min(n, chartWidth-min(begin, chartWidth-1))), seconds(s.End-s.Begin))
	}
	b.WriteString("critical path:")
	for i, s := range t.critical() {
		if i > 0 {
			b.WriteString(" >")
		}
		fmt.Fprintf(&b, " %s %s", s.label(), seconds(s.End-s.Begin))
	}
	b.WriteString("\n")
	for _, s := range t.critical() {
		for _, p := range s.Parts {
			fmt.Fprintf(&b, "  %s: %s %s\n", s.label(), p.Detail, seconds(p.End-p.Begin))
		}
	}
	return b.String()
}
