package scenario

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// Verdict is how a block, or a block on one node, ended.
type Verdict string

// The verdicts. Skipped holds for what the run did not reach or did not need.
const (
	Passed      Verdict = "passed"
	Failed      Verdict = "failed"
	Skipped     Verdict = "skipped"
	Interrupted Verdict = "interrupted"
)

// Result is what a run left; it marshals to result.json.
type Result struct {
	File        string            `json:"file"`
	ID          string            `json:"id"`
	Title       string            `json:"title"`
	Lab         string            `json:"lab"`
	Passed      bool              `json:"passed"`
	Interrupted bool              `json:"interrupted,omitempty"`
	Kept        bool              `json:"kept,omitempty"`    // no cleanup ran, as asked
	Stopped     string            `json:"stopped,omitempty"` // the chapter at which --to stopped
	Start       time.Time         `json:"start"`
	Duration    time.Duration     `json:"duration_ns"`
	Params      map[string]string `json:"params,omitempty"` // by variable name
	Saved       map[string]string `json:"saved,omitempty"`
	Blocks      []BlockResult     `json:"blocks"`            // one for each of Document.Blocks, same order
	Failure     *Failure          `json:"failure,omitempty"` // the first; nil after a pass or an interrupt
	// CleanupFailures are those of cleanups and late undos. They never
	// replace an earlier Failure; without one, the first of them is it.
	CleanupFailures []*Failure `json:"cleanup_failures,omitempty"`
}

// BlockResult is how one block ended on all its nodes.
type BlockResult struct {
	Name     string        `json:"name"`
	Chapter  string        `json:"chapter,omitempty"`
	Line     int           `json:"line"`
	Kind     Kind          `json:"kind"`
	Place    string        `json:"place"`
	ID       string        `json:"id,omitempty"`
	Given    bool          `json:"given,omitempty"`
	Verdict  Verdict       `json:"verdict"`
	Reason   string        `json:"reason,omitempty"` // why skipped
	Start    time.Time     `json:"start,omitzero"`
	Duration time.Duration `json:"duration_ns,omitempty"`
	Nodes    []NodeResult  `json:"nodes,omitempty"` // in the order of the lab
}

// NodeResult is how one block ended on one node.
type NodeResult struct {
	Node     string        `json:"node"` // "host" for @host
	Verdict  Verdict       `json:"verdict"`
	Reason   string        `json:"reason,omitempty"` // why not passed
	Tries    int           `json:"tries"`
	ExitCode int           `json:"exit_code"` // of the last whole try; -1 if none ended
	Stdout   string        `json:"stdout"`
	Stderr   string        `json:"stderr,omitempty"`
	Output   string        `json:"-"` // both, in the order in which they came
	Duration time.Duration `json:"duration_ns"`
}

// Word is the verdict in a word.
func (r *Result) Word() string {
	switch {
	case r.Interrupted:
		return "INTERRUPTED"
	case r.Passed:
		return "PASS"
	case r.Failure != nil:
		return "FAIL"
	case r.Stopped != "":
		return "READY"
	}
	return "NOT JUDGED" // a person left out some of it
}

// Held counts the checks that held, and all of them. Those that are given are
// no merit of the trainee's and do not count.
func (r *Result) Held() (held, checks int) {
	for _, b := range r.Blocks {
		if b.Kind != Check || b.Given {
			continue
		}
		checks++
		if b.Verdict == Passed {
			held++
		}
	}
	return held, checks
}

// Hint is what a check says to a trainee: why it does not hold, in the words
// of the first node on which it does not. "" if it holds.
func (b *BlockResult) Hint() string {
	for _, n := range b.Nodes {
		if n.Verdict == Passed {
			continue
		}
		said := lastLine(orSelf(n.Output, n.Stdout+n.Stderr))
		if said == "" || n.Reason != fmt.Sprintf("exit code %d", n.ExitCode) {
			said = n.Reason // the output alone would not tell
		}
		if len(b.Nodes) > 1 && n.Tries > 0 {
			said = n.Node + ": " + said
		}
		return said
	}
	return ""
}

// Failure is the block and node that a run failed at.
type Failure struct {
	File     string `json:"file"`
	Line     int    `json:"line"`
	Block    string `json:"block"` // as in "lb.md:45 check"
	Chapter  string `json:"chapter,omitempty"`
	Node     string `json:"node"`
	Command  string `json:"command"` // the block's script
	Output   string `json:"output"`
	Reason   string `json:"reason"`
	Tries    int    `json:"tries"`
	Deadline Span   `json:"deadline"` // of a check all its tries, else one try
}

// Error is one line; Output holds what the block said.
func (f *Failure) Error() string {
	return fmt.Sprintf("%s:%d: %s: %s", f.File, f.Line, f.Node, f.Reason)
}

// Answers lists the failure for a person, ready to print below "FAIL".
func (f *Failure) Answers() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s\n  block    %s", f.Error(), f.Block)
	if f.Chapter != "" {
		fmt.Fprintf(&s, " in %q", f.Chapter)
	}
	fmt.Fprintf(&s, "\n  node     %s\n  deadline %s, tries %d\n  command\n%s\n  output\n%s\n", f.Node,
		time.Duration(f.Deadline), f.Tries, indent(f.Command, "    "), indent(orSelf(f.Output, "(none)"), "    "))
	return s.String()
}

// Targets names the nodes that a place means.
func Targets(place string, nodes []Node) []string {
	if place == hostName {
		return []string{"your own machine"}
	}
	var names []string
	for _, n := range pick(place, nodes) {
		names = append(names, n.Name)
	}
	return names
}

// Visible takes out of a text what would steer a terminal.
func Visible(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && unicode.IsControl(r) {
			return -1
		}
		return r
	}, s)
}

func indent(text, by string) string {
	return by + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n"+by)
}
