package ui

import (
	"time"

	"github.com/mattn/go-runewidth"
)

// track is what is known of one node, and becomes its line of the board.
type track struct {
	name    string
	running []running // steps begun and not ended, oldest first
	last    Event     // the newest event that ended a step
	failed  *Event    // the first failure: later events do not hide it
	begun   time.Time
	ended   time.Time
	changed bool // a step did something
}

type running struct {
	step, detail string
	since        time.Time
}

// take applies e, whose Time is set.
func (t *track) take(e Event) {
	if t.begun.IsZero() {
		t.begun = e.Time
	}
	i := t.find(e.Step)
	switch e.State {
	case Started, Progress:
		if e.State == Started && t.failed != nil && t.failed.Step == e.Step {
			t.failed = nil // it is tried again
		}
		if i < 0 {
			t.running = append(t.running, running{step: e.Step, since: e.Time.Add(-e.Elapsed)})
			i = len(t.running) - 1
		}
		t.running[i].detail = e.Detail
		return
	}
	if i >= 0 {
		if e.Elapsed == 0 {
			e.Elapsed = e.Time.Sub(t.running[i].since)
		}
		t.running = append(t.running[:i], t.running[i+1:]...)
	}
	t.ended = e.Time
	t.last = e
	t.changed = t.changed || e.State == Done
	if e.State == Failed && t.failed == nil {
		t.failed = &e
	}
}

func (t *track) find(step string) int {
	for i := range t.running {
		if t.running[i].step == step {
			return i
		}
	}
	return -1
}

// look is how a line is drawn.
type look struct {
	width int // columns that may be used
	names int // columns of the widest name
	ascii bool
	color bool
}

type symbol struct{ pretty, ascii, color string }

var (
	symDone    = symbol{"✓", "+", "32"}
	symFailed  = symbol{"✗", "x", "31"}
	symSkipped = symbol{"-", "!", "33"}
	symIdle    = symbol{"·", ".", "2"}
	spinner    = []symbol{
		{"⠋", "|", "36"}, {"⠙", "/", "36"}, {"⠹", "-", "36"}, {"⠸", `\`, "36"}, {"⠼", "|", "36"},
		{"⠴", "/", "36"}, {"⠦", "-", "36"}, {"⠧", `\`, "36"},
	}
)

// line draws the node's row as it stands at now. closing tells that no event
// will follow.
func (t *track) line(now time.Time, l look, closing bool) string {
	switch {
	case t.failed != nil:
		return l.row(symFailed, t.name, t.failed.Elapsed, join(t.failed.Step, firstLine(t.failed.Detail)))
	case len(t.running) > 0 && closing:
		r := t.running[len(t.running)-1]
		return l.row(symSkipped, t.name, now.Sub(r.since), join(r.step, "not finished"))
	case len(t.running) > 0:
		r := t.running[len(t.running)-1]
		frame := spinner[int(now.UnixMilli()/150)%len(spinner)]
		return l.row(frame, t.name, now.Sub(r.since), join(r.step, oneLine(r.detail)))
	case t.begun.IsZero() && closing:
		return l.row(symIdle, t.name, -1, "nothing done")
	case t.begun.IsZero():
		return l.row(symIdle, t.name, -1, "waiting")
	case t.last.State == Skipped:
		return l.row(symSkipped, t.name, t.ended.Sub(t.begun), join(t.last.Step, ended(t.last.State, t.last.Detail)))
	case !closing:
		return l.row(symDone, t.name, t.last.Elapsed, join(t.last.Step, ended(t.last.State, t.last.Detail)))
	case t.changed:
		return l.row(symDone, t.name, t.ended.Sub(t.begun), "done")
	default:
		return l.row(symDone, t.name, t.ended.Sub(t.begun), "done: nothing had to be changed")
	}
}

// row puts the columns together; a negative time is left out.
func (l look) row(s symbol, name string, d time.Duration, text string) string {
	mark, tail := s.pretty, "…"
	if l.ascii {
		mark, tail = s.ascii, "..."
	}
	when := ""
	if d >= 0 {
		when = duration(d)
	}
	rest := fit(" "+pad(name, l.names)+"  "+runewidth.FillLeft(when, 6)+"  "+text, l.width-runewidth.StringWidth(mark), tail)
	if l.color {
		mark = "\x1b[" + s.color + "m" + mark + "\x1b[0m"
	}
	return mark + rest
}

func join(step, detail string) string {
	if detail == "" {
		return step
	}
	return step + ": " + detail
}

// ended says how a step ended, with its detail in brackets.
func ended(s State, detail string) string {
	if detail = oneLine(detail); detail == "" {
		return string(s)
	}
	return string(s) + " (" + detail + ")"
}
