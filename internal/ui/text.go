package ui

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/mattn/go-runewidth"
)

// label is the name under which a node's events are shown.
func label(node string) string {
	if node == "" {
		return "lab"
	}
	return node
}

// escapes matches terminal control sequences: CSI, OSC (title, clipboard) and
// the two-character ones. What a node prints must not steer the terminal.
var escapes = regexp.MustCompile(`\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)?|\x1b[@-Z\\-_a-z0-9=>]`)

// oneLine makes s fit for a single row: no control sequences, no line breaks.
func oneLine(s string) string {
	return strings.Join(strings.Fields(clean(s)), " ")
}

// clean removes what would move the cursor; tabs and line ends stay.
func clean(s string) string {
	s = escapes.ReplaceAllString(s, "")
	return strings.Map(func(r rune) rune {
		if r != '\t' && r != '\n' && unicode.IsControl(r) {
			return -1
		}
		return r
	}, s)
}

// terminalLine is clean for one line whose carriage returns overwrite what
// stood before them, as in a download's progress.
func terminalLine(s string) string {
	s = strings.TrimRight(s, "\r")
	return clean(s[strings.LastIndexByte(s, '\r')+1:])
}

// firstLine is the short form of a reason.
func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(clean(s)), "\n")
	return oneLine(s)
}

// fit cuts s to width columns.
func fit(s string, width int, tail string) string {
	if width <= 0 {
		return ""
	}
	if runewidth.StringWidth(s) <= width {
		return s
	}
	return strings.TrimRight(runewidth.Truncate(s, width, tail), " ")
}

// pad fills s with spaces up to width columns.
func pad(s string, width int) string {
	return runewidth.FillRight(s, width)
}

// duration is a running time as people write it: 8s, 1m08s, 1h02m.
func duration(d time.Duration) string {
	s := max(0, int(d.Round(time.Second)/time.Second))
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	}
	return fmt.Sprintf("%dh%02dm", s/3600, s/60%60)
}

// lineWriter hands whole lines, without their end, to emit.
type lineWriter struct {
	emit func(string)

	mu   sync.Mutex
	rest []byte
}

func (l *lineWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, p...)
	for {
		i := bytes.IndexByte(l.rest, '\n')
		if i < 0 {
			return len(p), nil
		}
		l.emit(string(l.rest[:i]))
		l.rest = l.rest[i+1:]
	}
}

// finish emits a line that never got its end.
func (l *lineWriter) finish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.rest) > 0 {
		l.emit(string(l.rest))
		l.rest = nil
	}
}
