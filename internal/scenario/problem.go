package scenario

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// Problem is one thing that is wrong with a document or with what a run of
// it was given.
type Problem struct {
	File    string // or what else holds the mistake: "--set"
	Line    int    // from 1; 0 for the file as a whole
	Reason  string
	Suggest string // what was probably meant; "" if nothing comes near
	Warning bool   // true: worth a word, but it would run
}

// String is "file:line: reason; did you mean …?".
func (p Problem) String() string {
	var s strings.Builder
	s.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&s, ":%d", p.Line)
	}
	s.WriteString(": ")
	if p.Warning {
		s.WriteString("warning: ")
	}
	s.WriteString(p.Reason)
	if p.Suggest != "" {
		fmt.Fprintf(&s, "; did you mean %q?", p.Suggest)
	}
	return s.String()
}

// Problems is the error that holds everything that is wrong, by line.
type Problems struct{ List []Problem }

// Error is one problem a line.
func (p *Problems) Error() string {
	lines := make([]string, len(p.List))
	for i, one := range p.List {
		lines[i] = one.String()
	}
	return strings.Join(lines, "\n")
}

// refusals returns an error of those that are no warnings, nil if none is.
func refusals(list []Problem) error {
	list = slices.DeleteFunc(slices.Clone(list), func(p Problem) bool { return p.Warning })
	if len(list) == 0 {
		return nil
	}
	sortProblems(list)
	return &Problems{List: list}
}

func sortProblems(list []Problem) {
	slices.SortStableFunc(list, func(a, b Problem) int { return a.Line - b.Line })
}

// nearest returns the word that is probably meant by what was written, or ""
// if none is near enough.
func nearest(written string, words []string) string {
	best, bestDistance := "", 3
	for _, w := range words {
		if w == written {
			continue
		}
		d := levenshtein.ComputeDistance(strings.ToLower(written), strings.ToLower(w))
		// Half of a short word replaced is another word, not a slip.
		if d < bestDistance && d*2 <= max(len(w), len(written)) {
			best, bestDistance = w, d
		}
	}
	return best
}

// oneOf lists words for a message: `a, b or c`.
func oneOf(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}
