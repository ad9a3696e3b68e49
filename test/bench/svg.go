//go:build linux

package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// The measures of the drawings, in pixels.
const (
	svgWidth  = 860
	svgLeft   = 250 // where bars begin
	svgRight  = 90  // room for a number behind the longest bar
	svgRow    = 24
	svgBar    = 16
	svgMargin = 34
)

const (
	colourLabctl   = "#2b6cb0"
	colourPlain    = "#a0aec0"
	colourCritical = "#c05621"
)

// svg draws all creates as bars, and the first timeline below.
func (r *Result) svg() string {
	var rows []string
	y := svgMargin
	text := func(x, y int, anchor, s string) {
		rows = append(rows, fmt.Sprintf(`<text x="%d" y="%d" text-anchor="%s">%s</text>`, x, y, anchor, html.EscapeString(s)))
	}
	bar := func(begin, end, scale float64, colour, label, value string) {
		x := svgLeft + begin*scale
		w := math.Max((end-begin)*scale, 1)
		text(svgLeft-8, y+svgBar-3, "end", label)
		rows = append(rows, fmt.Sprintf(`<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/>`, x, y, w, svgBar, colour))
		text(int(x+w)+6, y+svgBar-3, "start", value)
		y += svgRow
	}
	text(8, y-14, "start", fmt.Sprintf("Two nodes, median of %d: %s, %d cores, %s", r.Rounds, r.Machine.CPU, r.Machine.Cores, r.Machine.Acceleration))
	bars := []struct{ side, what string }{
		{sideSequential, create}, {sideParallel, create}, {sideLabctl, coldCreate}, {sideLabctl, warmCreate}, {sideLabctl, secondCreate},
		{sideLabctl, reset}, {sideLabctl, snapshotRestore}, {sideParallel, destroy}, {sideLabctl, destroy},
		{sideParallel, status}, {sideLabctl, status}, {sideParallel, execTrue}, {sideLabctl, execTrue},
	}
	longest := 0.0
	for _, x := range bars {
		s, _ := r.median(x.side, x.what)
		longest = math.Max(longest, s)
	}
	for _, x := range bars {
		s, ok := r.median(x.side, x.what)
		if !ok {
			continue
		}
		colour := colourPlain
		if x.side == sideLabctl {
			colour = colourLabctl
		}
		bar(0, s, (svgWidth-svgLeft-svgRight)/longest, colour, x.side+": "+x.what, seconds(s))
	}
	if len(r.Timelines) > 0 {
		t := r.Timelines[0]
		y += svgRow + svgMargin/2
		text(8, y-10, "start", fmt.Sprintf("labctl %s, step by step, %s; the darker bars are the critical path", t.What, seconds(t.Seconds)))
		for _, s := range t.Steps {
			colour := colourPlain
			if s.Critical {
				colour = colourCritical
			}
			bar(s.Begin, s.End, (svgWidth-svgLeft-svgRight)/t.Seconds, colour, s.label(), seconds(s.End-s.Begin))
		}
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">
<rect width="100%%" height="100%%" fill="#ffffff"/>
%s
</svg>
`, svgWidth, y+8, svgWidth, y+8, strings.Join(rows, "\n"))
}
