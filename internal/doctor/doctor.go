// Package doctor examines the host before a lab is booted: what the provider
// needs, room and memory, addresses, left-overs, the state folder. Gathering
// is one thing (Gather, which never takes longer than Within), judging another
// (Judge, which is pure); the address plan of a lab is judged in PlanOf.
package doctor

import (
	"fmt"
	"io"
	"strings"
)

// Level says how much a finding matters.
type Level string

// The levels: a problem keeps the lab from working, a warning may.
const (
	OK      Level = "ok"
	Warning Level = "warning"
	Problem Level = "problem"
)

// Finding is the outcome of one check: one line for people.
type Finding struct {
	Check  string `json:"check"`
	Level  Level  `json:"level"`
	Text   string `json:"text"`
	Remedy string `json:"remedy,omitempty"` // what mends it; "" for nothing to do
	// Fix is what Apply can do about it; nil if a person must.
	Fix *Fix `json:"fix,omitempty"`
	// Cause is the error that an ordinary preflight would have failed with;
	// nil for most.
	Cause error `json:"-"`
}

// Error lets a finding be returned as the reason why nothing was booted.
func (f *Finding) Error() string {
	if f.Cause != nil {
		return f.Cause.Error()
	}
	return f.Text
}

// Hint returns the remedy.
func (f *Finding) Hint() string { return f.Remedy }

// Unwrap returns the cause, if there is one.
func (f *Finding) Unwrap() error { return f.Cause }

// Count returns how many findings have that level.
func Count(list []Finding, l Level) int {
	n := 0
	for _, f := range list {
		if f.Level == l {
			n++
		}
	}
	return n
}

// WriteText prints one line a finding.
func WriteText(w io.Writer, list []Finding) error {
	width := 0
	for _, f := range list {
		width = max(width, len(f.Check))
	}
	var s strings.Builder
	for _, f := range list {
		fmt.Fprintf(&s, "%-7s  %-*s  %s\n", f.Level, width, f.Check, f.Line())
	}
	_, err := io.WriteString(w, s.String())
	return err
}

// Line is the finding's text and, behind a semicolon, its remedy.
func (f *Finding) Line() string {
	if f.Remedy == "" {
		return oneLine(f.Text)
	}
	return oneLine(f.Text) + "; " + oneLine(f.Remedy)
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func found(check string, l Level, remedy, format string, args ...any) Finding {
	return Finding{Check: check, Level: l, Remedy: remedy, Text: fmt.Sprintf(format, args...)}
}

func fine(check, format string, args ...any) Finding {
	return found(check, OK, "", format, args...)
}
