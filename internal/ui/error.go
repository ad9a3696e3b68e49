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

// Error prints err as a person should see it: the error line, what the failed
// commands said, and hints. Hints are the texts of all errors in err's tree
// that have a method Hint() string, each once. verbose shows output in full.
func Error(w io.Writer, err error, verbose bool) {
	if err == nil {
		return
	}
	var failed []*remote.ExitError
	var hints []string
	walk(err, func(e error) {
		if x, ok := e.(*remote.ExitError); ok && !slices.Contains(failed, x) {
			failed = append(failed, x)
		}
		if h, ok := e.(interface{ Hint() string }); ok {
			if s := strings.TrimSpace(h.Hint()); s != "" && !slices.Contains(hints, s) {
				hints = append(hints, s)
			}
		}
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

func writeOutput(s *strings.Builder, x *remote.ExitError, verbose, named bool) {
	out := strings.TrimSpace(x.Output())
	if out == "" {
		return
	}
	if named {
		fmt.Fprintf(s, "  %s:\n", x.Node)
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

// walk visits err and all that it wraps, joined errors included, parents first.
func walk(err error, visit func(error)) {
	if err == nil {
		return
	}
	visit(err)
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		walk(e.Unwrap(), visit)
	case interface{ Unwrap() []error }:
		for _, c := range e.Unwrap() {
			walk(c, visit)
		}
	}
}
