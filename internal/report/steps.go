package report

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"labctl/internal/scenario"
	"labctl/internal/ui"
)

type event = ui.Event

// maxEvents is the number of events that are read of a run.
const maxEvents = 100_000

// readEvents reads events.jsonl up to the first line that is broken, such as
// the last one of a run that was killed.
func readEvents(f *folder) []event {
	var out []event
	f.lines(eventsName, func(n int, l []byte) bool {
		var e event
		switch err := json.Unmarshal(l, &e); {
		case err != nil:
			f.note("%s, line %d, is no event, and what follows it is not read: %v", eventsName, n, err)
			return false
		case len(out) == maxEvents:
			f.note("%s has more than %d events: the rest is not read", eventsName, maxEvents)
			return false
		}
		cleanAll(&e)
		if !e.Time.IsZero() && e.Step != "" {
			out = append(out, e)
		}
		return true
	})
	return out
}

// steps makes steps of events: those of labctl itself, for a scenario's
// blocks are told by its result.
func steps(events []event, res *scenario.Result, start time.Time) []Step {
	block := map[string]bool{}
	if res != nil {
		for _, b := range res.Blocks {
			block[b.Name] = true
		}
	}
	type key struct{ node, step string }
	open := map[key]int{} // of a step that has begun, its place in out
	out := []Step{}
	for _, e := range events {
		if block[e.Step] {
			continue
		}
		k := key{e.Node, e.Step}
		i, begun := open[k]
		if !begun || e.State == ui.Started {
			i = len(out)
			open[k] = i
			at := e.Time.Add(-max(0, e.Elapsed))
			out = append(out, Step{Node: e.Node, Name: e.Step, State: string(ui.Started), Start: seconds(at.Sub(start))})
		}
		s := &out[i]
		s.Detail = cmp.Or(e.Detail, s.Detail)
		s.Seconds = max(s.Seconds, seconds(e.Elapsed), roundMS(seconds(e.Time.Sub(start))-s.Start))
		switch e.State {
		case ui.Done, ui.Kept, ui.Failed, ui.Skipped:
			s.State = string(e.State)
			s.Detail = e.Detail // what it waited for is over
			delete(open, k)
		}
	}
	slices.SortStableFunc(out, func(a, b Step) int { return cmp.Compare(a.Start, b.Start) })
	return out
}

func roundMS(s float64) float64 {
	return seconds(time.Duration(s * float64(time.Second)).Round(time.Millisecond))
}

// where names a step's node.
func (s Step) where() string { return cmp.Or(s.Node, "lab") }
