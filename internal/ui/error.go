package ui

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"labctl/internal/remote"
)

// outputLines is how much of a failed command's output is shown without -v.
const outputLines = 20

// talker is an error that knows what the failed program said.
type talker interface {
	error
	Output() string
}

// Error prints err as a person should see it: the error line, what the failed
// commands said, and hints. What was said comes from the outermost error of
// each branch that has a method Output() string, hints are the texts of all
// that have a method Hint() string, each once. verbose shows output in full.
func Error(w io.Writer, err error, verbose bool) {
	if err == nil {
		return
	}
	var failed []talker
	var hints []string
	walk(err, false, func(e error, told bool) bool {
		x, ok := e.(talker)
		if ok && !told && !slices.Contains(failed, x) {
			failed = append(failed, x)
		}
		if h, ok := e.(interface{ Hint() string }); ok {
			if s := strings.TrimSpace(h.Hint()); s != "" && !slices.Contains(hints, s) {
				hints = append(hints, s)
			}
		}
		return told || ok
	})

	var s strings.Builder
	s.WriteString("error: " + indent(clean(err.Error()), 7) + "\n")
	for _, x := range failed {
		writeOutput(&s, x, verbose, len(failed) > 1)
	}
	for _, h := range hints {
		s.WriteString("hint: " + indent(h, 6) + "\n")
	}
	_, _ = io.WriteString(w, s.String())
}

func writeOutput(s *strings.Builder, x talker, verbose, named bool) {
	out := strings.TrimSpace(x.Output())
	if out == "" {
		return
	}
	if exit, ok := x.(*remote.ExitError); ok && named {
		fmt.Fprintf(s, "  %s:\n", exit.Node)
	} else if named {
		fmt.Fprintf(s, "  %s:\n", firstLine(clean(x.Error())))
	}
	lines := strings.Split(out, "\n")
	if n := len(lines) - outputLines; n > 0 && !verbose {
		fmt.Fprintf(s, "  ... (%d earlier lines; -v shows them)\n", n)
		lines = lines[n:]
	}
	for _, l := range lines {
		s.WriteString(strings.TrimRight("  | "+terminalLine(l), " \t") + "\n")
	}
}

// indent puts n spaces before every line but the first.
func indent(s string, n int) string {
	return strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n"+strings.Repeat(" ", n))
}

// walk visits err and all that it wraps, joined errors included, parents
// first. What visit returns for an error is told to the visits below it.
func walk(err error, told bool, visit func(e error, told bool) bool) {
	if err == nil {
		return
	}
	told = visit(err, told)
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		walk(e.Unwrap(), told, visit)
	case interface{ Unwrap() []error }:
		for _, c := range e.Unwrap() {
			walk(c, told, visit)
		}
	}
}
