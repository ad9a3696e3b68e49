//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"labctl/internal/ui"
)

// Timeline is a labctl create, step by step.
type Timeline struct {
	Round   int     `json:"round"`
	What    string  `json:"what"`
	Seconds float64 `json:"seconds"` // from the start of the process to its end
	Steps   []Step  `json:"steps"`   // in the order of their beginning
}

// Step is one step of one node, in seconds since the start of the process.
type Step struct {
	Node     string  `json:"node,omitempty"` // "" for the lab as a whole
	Name     string  `json:"step"`
	Begin    float64 `json:"begin"`
	End      float64 `json:"end"`
	Critical bool    `json:"critical,omitempty"` // on the critical path
	// Parts are what the step said that it was doing for a second or more.
	Parts []Part `json:"parts,omitempty"`
}

// Part is a piece of a step.
type Part struct {
	Detail string  `json:"detail"`
	Begin  float64 `json:"begin"`
	End    float64 `json:"end"`
}

func (s Step) label() string {
	if s.Node == "" {
		return s.Name
	}
	return s.Node + " " + s.Name
}

// newTimeline makes a timeline of the events of a process.
func newTimeline(round int, what string, start time.Time, took time.Duration, events []ui.Event) Timeline {
	t := Timeline{Round: round, What: what, Seconds: toSeconds(took)}
	at := func(e ui.Event) float64 { return toSeconds(e.Time.Sub(start)) }
	open := map[[2]string]int{}
	begin := func(e ui.Event) {
		open[[2]string{e.Node, e.Step}] = len(t.Steps)
		t.Steps = append(t.Steps, Step{Node: e.Node, Name: e.Step, Begin: at(e), End: t.Seconds})
	}
	for _, e := range events {
		k := [2]string{e.Node, e.Step}
		switch e.State {
		case ui.Started:
			begin(e)
		case ui.Progress:
			if _, ok := open[k]; !ok {
				begin(e) // evidence has no other beginning
			}
			i := open[k]
			t.Steps[i].endPart(at(e))
			t.Steps[i].Parts = append(t.Steps[i].Parts, Part{Detail: e.Detail, Begin: at(e), End: t.Seconds})
		case ui.Done, ui.Kept, ui.Failed:
			if i, ok := open[k]; ok {
				t.Steps[i].endPart(at(e))
				t.Steps[i].End = at(e)
				delete(open, k)
			}
		}
	}
	slices.SortStableFunc(t.Steps, func(a, b Step) int {
		switch {
		case a.Begin < b.Begin:
			return -1
		case a.Begin > b.Begin:
			return 1
		}
		return 0
	})
	t.markCritical()
	for i := range t.Steps {
		t.Steps[i].Parts = t.Steps[i].longParts()
	}
	return t
}

// toSeconds keeps milliseconds: what is kept shall be small.
func toSeconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }

func (s *Step) endPart(at float64) {
	if n := len(s.Parts); n > 0 {
		s.Parts[n-1].End = at
	}
}

// atOnce is within what time a step begins after the one that it waited for.
// It is the executor's own work, and under load it waits for the CPU.
const atOnce = 0.2

// markCritical goes from the step that ended last back to the step that it had
// waited for, and so on. Events do not say what waited for what; but a step
// begins as soon as the last thing that it needs has ended, so that is the step
// whose end came last before its beginning.
func (t *Timeline) markCritical() {
	last := -1
	for i, s := range t.Steps {
		if last < 0 || s.End > t.Steps[last].End {
			last = i
		}
	}
	for last >= 0 {
		s := &t.Steps[last]
		s.Critical = true
		before := -1
		for i, p := range t.Steps {
			if p.Critical || p.End > s.Begin || p.End < s.Begin-atOnce {
				continue
			}
			if before < 0 || p.End > t.Steps[before].End {
				before = i
			}
		}
		last = before
	}
}

// critical returns the steps of the critical path, in their order.
func (t Timeline) critical() []Step {
	return slices.DeleteFunc(slices.Clone(t.Steps), func(s Step) bool { return !s.Critical })
}

// longParts returns the pieces of a step that took a second or more. What only
// counts on ("sent 12 of 100 MB") is one piece.
func (s Step) longParts() []Part {
	var all []Part
	for _, p := range s.Parts {
		if n := len(all); n > 0 && strings.HasPrefix(p.Detail, "sent ") {
			all[n-1].End = p.End
			continue
		}
		p.Detail, _, _ = strings.Cut(p.Detail, ":")
		all = append(all, p)
	}
	return slices.DeleteFunc(all, func(p Part) bool { return p.End-p.Begin < 1 })
}

// readEvents takes standard error of `labctl --progress json` apart: events,
// and the rest as text.
func readEvents(stderr []byte) (events []ui.Event, rest string) {
	var text strings.Builder
	for line := range bytes.Lines(stderr) {
		var e ui.Event
		if json.Unmarshal(line, &e) == nil && e.Step != "" {
			events = append(events, e)
		} else {
			text.Write(line)
		}
	}
	return events, text.String()
}
