package report

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// A block that prints a table with one of these headings has it drawn,
// whatever document it belongs to. docs/scenarios.md tells authors.
var (
	answersHead = []string{"ASKED", "REPLICA", "NODE", "ANSWERS"}
	pingsHead   = []string{"FROM", "TO", "FORM", "ADDRESS", "VERDICT", "RTT_MS", "TARGET"}
)

// maxRows is the number of rows of a table that are drawn.
const maxRows = 500

// tables looks for tables in what a block printed on one node.
func (r *Report) tables(c Chapter, b Block, n Output, saved map[string]string) {
	var answers []Answer
	for _, row := range rowsBelow(n.Stdout, answersHead) {
		count, err := strconv.Atoi(row[3])
		if err != nil || count < 0 || count > 1e9 {
			break
		}
		answers = append(answers, Answer{row[0], row[1], row[2], count})
	}
	if answers != nil {
		r.Answers = append(r.Answers, Answers{Chapter: c.Title, Block: b.Name, Rows: answers})
	}
	var pings []Ping
	for _, row := range rowsBelow(n.Stdout, pingsHead) {
		p := Ping{From: row[0], To: row[1], Form: row[2], Address: row[3], Verdict: row[4], Target: row[6]}
		if ms, err := strconv.ParseFloat(row[5], 64); err == nil && ms >= 0 && !math.IsInf(ms, 0) {
			p.RTT = &ms
		} else if row[5] != "-" {
			break
		}
		pings = append(pings, p)
	}
	if pings != nil {
		r.Pings = append(r.Pings, Pings{Chapter: c.Title, Block: b.Name, Node: n.Node, Where: where(saved["ROLES"], pings), Rows: pings})
	}
}

// rowsBelow returns the rows that follow the heading, up to the first line
// that has more or fewer words.
func rowsBelow(text string, head []string) [][]string {
	var out [][]string
	found := false
	for l := range strings.Lines(text) {
		words := strings.Fields(l)
		switch {
		case !found:
			found = slices.Equal(words, head)
		case len(words) != len(head) || len(out) == maxRows:
			return out
		default:
			out = append(out, words)
		}
	}
	return out
}

// where finds the node of each end in the lines of a saved value: the end's
// name, then its node.
func where(roles string, pings []Ping) map[string]string {
	out := map[string]string{}
	for l := range strings.Lines(roles) {
		words := strings.Fields(l)
		if len(words) < 2 {
			continue
		}
		for _, p := range pings {
			if p.From == words[0] || p.To == words[0] {
				out[words[0]] = words[1]
			}
		}
	}
	return out
}
