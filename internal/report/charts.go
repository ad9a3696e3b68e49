package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/mattn/go-runewidth"
)

// chart is a picture of rows: above each a label and a value, in it bars. Its
// places across are in percent, its heights in pixels, so that the texts keep
// their size on a narrow screen.
type chart struct {
	ID, Title, Desc string
	Height          int
	Rows            []row
	Ticks           []tick
	Legend          []legend
}

type row struct {
	Y, TextY, BarY int
	Label, Value   string
	Head           bool // a heading without bars
	Bars           []bar
}

type bar struct {
	X, W         float64 // percent
	Class, Title string
}

type tick struct {
	X      float64
	Text   string
	Anchor string
	Y      int
}

type legend struct{ Class, Text string }

const (
	rowHeight  = 34
	headHeight = 26
	rowWide    = 41 // columns of a row's label and value together: what fits at 375 pixels
	minBar     = 0.6
)

func (c *chart) head(label string) {
	c.Rows = append(c.Rows, row{Y: c.Height, TextY: c.Height + 18, Label: short(label, rowWide), Head: true})
	c.Height += headHeight
}

func (c *chart) row(label, value string, bars ...bar) {
	for i := range bars {
		b := &bars[i]
		b.W = min(max(b.W, minBar), 100)
		b.X = min(max(b.X, 0), 100-b.W)
		b.X, b.W = round2(b.X), round2(b.W)
	}
	c.Rows = append(c.Rows, row{
		Y: c.Height, TextY: c.Height + 13, BarY: c.Height + 19, Label: short(label, max(8, rowWide-1-runewidth.StringWidth(value))), Value: value, Bars: bars,
	})
	c.Height += rowHeight
}

// axis adds times below.
func (c *chart) axis(total float64) {
	for i, anchor := range []string{"start", "middle", "end"} {
		share := float64(i) / 2
		c.Ticks = append(c.Ticks, tick{X: 100 * share, Text: dur(total * share), Anchor: anchor, Y: c.Height + 16})
	}
	c.Height += 24
}

func round2(f float64) float64 { return float64(int(f*100+0.5)) / 100 }

// short cuts a text to a number of columns.
func short(s string, n int) string { return runewidth.Truncate(line(s, 200), n, "…") }

// stepsChart is the Gantt chart of labctl's own steps. Those that took less
// than a hundredth are only in the table.
func stepsChart(id string, r *Report) *chart {
	c := &chart{ID: id, Title: "What took how long, by node"}
	total := 0.0
	for _, s := range r.Steps {
		total = max(total, s.Start+s.Seconds)
	}
	if total == 0 {
		return nil
	}
	nodes := distinct(r.Steps, func(s Step) string { return s.Node })
	place := func(name string) int {
		return slices.IndexFunc(r.Nodes, func(n Node) bool { return n.Name == name }) // the lab, -1, first
	}
	slices.SortStableFunc(nodes, func(a, b string) int { return cmp.Compare(place(a), place(b)) })
	for _, node := range nodes {
		begun := false
		for _, s := range r.Steps {
			if s.Node != node || s.Seconds < total/100 && s.State != "failed" {
				continue
			}
			if !begun {
				c.head(s.where())
				begun = true
			}
			value := dur(s.Seconds)
			class := "s0"
			switch s.State {
			case "failed":
				class, value = "bad", "failed, "+value
			case "started":
				class, value = "lost", "not ended, "+value
			case "kept", "skipped":
				class, value = "s5", s.State+", "+value
			}
			c.row(s.Name, value, bar{X: 100 * s.Start / total, W: 100 * s.Seconds / total, Class: class,
				Title: fmt.Sprintf("%s: %s: %s from %s to %s", s.where(), s.Name, s.State, dur(s.Start), dur(s.Start+s.Seconds))})
		}
	}
	if len(c.Rows) == 0 {
		return nil
	}
	c.axis(total)
	c.Desc = fmt.Sprintf("Steps over %s. The table below has all of them.", dur(total))
	return c
}

// blocksChart draws when the blocks of each chapter ran.
func blocksChart(id string, s *Scenario) *chart {
	c := &chart{ID: id, Title: "What took how long, by chapter"}
	first, end := -1.0, 0.0
	for _, ch := range s.Chapters {
		for _, b := range ch.Blocks {
			if b.Verdict == "skipped" && b.Seconds == 0 {
				continue
			}
			if first < 0 || b.Start < first {
				first = b.Start
			}
			end = max(end, b.Start+b.Seconds)
		}
	}
	total := end - first
	if first < 0 || total <= 0 {
		return nil
	}
	kinds := map[string]bool{}
	for _, ch := range s.Chapters {
		var bars []bar
		for _, b := range ch.Blocks {
			if b.Seconds == 0 {
				continue
			}
			class := kindClass(b.Kind)
			if b.Verdict == "failed" || b.Verdict == "interrupted" {
				class = "bad"
			}
			kinds[class] = true
			bars = append(bars, bar{X: 100 * (b.Start - first) / total, W: 100 * b.Seconds / total, Class: class,
				Title: fmt.Sprintf("%s: %s, %s", b.Name, b.Verdict, dur(b.Seconds))})
		}
		value := dur(ch.Seconds)
		if ch.Verdict == "skipped" {
			value = ch.Verdict
		}
		c.row(cmp.Or(ch.Title, "before the first chapter"), value, bars...)
	}
	for _, l := range []legend{{"s0", "step"}, {"s3", "check"}, {"s1", "fault"}, {"s5", "undo or cleanup"}, {"bad", "failed or interrupted"}} {
		if kinds[l.Class] {
			c.Legend = append(c.Legend, l)
		}
	}
	c.axis(total)
	c.Desc = fmt.Sprintf("When the blocks of each chapter ran, over %s.", dur(total))
	return c
}

// faultsChart draws how long it took to see, find and mend each fault.
func faultsChart(id string, faults []Fault) *chart {
	c := &chart{ID: id, Title: "How soon each fault was mended"}
	keys := []legend{{"s1", "until it shows"}, {"s2", "until it is found"}, {"s3", "until it is mended"}}
	used := map[string]bool{}
	longest := 0.0
	for _, f := range faults {
		for _, at := range []*float64{f.SymptomAfter, f.FoundAfter, f.MendedAfter} {
			if at != nil {
				longest = max(longest, *at)
			}
		}
	}
	if longest <= 0 {
		return nil
	}
	var told []string
	for _, f := range faults {
		value, at := "not mended", 0.0
		if f.FoundAfter != nil {
			value = "found after " + dur(*f.FoundAfter)
			c.Title = "How soon each fault was found"
		} else if f.MendedAfter != nil {
			value = "mended after " + dur(*f.MendedAfter)
		}
		told = append(told, cmp.Or(f.Chapter, f.ID)+" "+value)
		var bars []bar
		for i, to := range []*float64{f.SymptomAfter, f.FoundAfter, f.MendedAfter} {
			if to == nil || *to <= at {
				continue
			}
			used[keys[i].Class] = true
			bars = append(bars, bar{X: 100 * at / longest, W: 100 * (*to - at) / longest, Class: keys[i].Class,
				Title: fmt.Sprintf("%s: %s", keys[i].Text, dur(*to))})
			at = *to
		}
		c.row(cmp.Or(f.Chapter, f.ID), value, bars...)
	}
	for _, k := range keys {
		if used[k.Class] {
			c.Legend = append(c.Legend, k)
		}
	}
	c.axis(longest)
	c.Desc = strings.Join(told, "; ") + "."
	return c
}

func kindClass(kind string) string {
	switch kind {
	case "check":
		return "s3"
	case "fault":
		return "s1"
	case "undo", "cleanup":
		return "s5"
	}
	return "s0"
}

// dur writes seconds for people: 0.4 s, 34 s, 1m27s, 2h5m.
func dur(s float64) string {
	switch {
	case s < 0.05:
		return "0 s"
	case s < 10:
		return fmt.Sprintf("%.1f s", s)
	case s < 59.5:
		return fmt.Sprintf("%.0f s", s)
	case s < 3599.5:
		n := int(s + 0.5)
		return fmt.Sprintf("%dm%02ds", n/60, n%60)
	}
	n := int(s/60 + 0.5)
	return fmt.Sprintf("%dh%02dm", n/60, n%60)
}
