package report

import (
	"regexp"
	"strings"
)

// faults follows each fault to its undo. The first check that shows findings
// of diagnose, as `labctl diagnose` prints them, is the diagnosis: checks
// before it show the symptom, steps after it are the remedy, and the last
// check before the undo proves it. Where diagnose was not asked, the first
// check shows the symptom, and the undo is the remedy, proven by a check right
// below it.
func (r *Report) faults() {
	type placed struct {
		chapter string
		at      int
	}
	var all []Block
	var found []placed
	for _, c := range r.Scenario.Chapters {
		for _, b := range c.Blocks {
			if b.Kind == "fault" {
				found = append(found, placed{c.Title, len(all)})
			}
			all = append(all, b)
		}
	}
	for _, p := range found {
		r.Faults = append(r.Faults, fault(p.chapter, all[p.at], all[p.at+1:]))
	}
}

func fault(chapter string, b Block, rest []Block) Fault {
	out := Fault{ID: b.ID, Chapter: chapter, Verdict: b.Verdict, Text: b.Text, Findings: []Finding{}}
	if b.Verdict == "skipped" {
		return out
	}
	after := func(x Block) *float64 {
		s := roundMS(x.Start + x.Seconds - b.Start - b.Seconds)
		return &s
	}
	var undo *Block
	var proof *Block // the check below the undo
	var checks []Block
	alone := true // no other fault has begun
	for i, x := range rest {
		if x.Kind == "undo" && (x.For == b.ID || x.For == "") {
			undo = &rest[i]
			if i+1 < len(rest) && rest[i+1].Kind == "check" {
				proof = &rest[i+1]
			}
			break
		}
		alone = alone && x.Kind != "fault"
		switch {
		case !alone || x.Verdict == "skipped":
		case x.Kind == "check":
			checks = append(checks, x)
			if found := findingsOf(x); len(found) > 0 && len(out.Findings) == 0 {
				out.Findings = found
				if x.Verdict == "passed" {
					out.FoundAfter = after(x)
				}
				out.see(checks[:len(checks)-1], after)
			}
		}
		if alone {
			out.Verdict = worse(out.Verdict, x.Verdict)
		}
	}
	if len(out.Findings) > 0 {
		out.Remedy = out.Findings[0].Remedy
		if last := checks[len(checks)-1]; len(findingsOf(last)) == 0 && last.Verdict == "passed" {
			out.MendedAfter = after(last)
		}
	} else {
		out.see(checks[:min(1, len(checks))], after)
	}
	if undo == nil {
		return out
	}
	out.Verdict = worse(out.Verdict, undo.Verdict)
	if len(out.Findings) > 0 {
		return out
	}
	out.Remedy = strings.TrimSpace(undo.Script)
	if proof != nil {
		undo = proof
		out.Verdict = worse(out.Verdict, proof.Verdict)
	}
	if undo.Verdict == "passed" {
		out.MendedAfter = after(*undo)
	}
	return out
}

// see takes the symptom from the last of the checks: those before it may only
// wait for something to begin.
func (f *Fault) see(checks []Block, after func(Block) *float64) {
	if len(checks) == 0 {
		return
	}
	last := checks[len(checks)-1]
	f.Symptom = seen(last)
	if last.Verdict == "passed" {
		f.SymptomAfter = after(last)
	}
}

// seen is what a check printed, on the first node where it printed something.
func seen(b Block) string {
	for _, n := range b.Nodes {
		if s := strings.TrimSpace(n.Stdout + n.Stderr); s != "" {
			return clip(s, 2<<10)
		}
	}
	return ""
}

func findingsOf(b Block) []Finding {
	for _, n := range b.Nodes {
		if found := parseFindings(n.Stdout); len(found) > 0 {
			return found
		}
	}
	return nil
}

var (
	findingHead = regexp.MustCompile(`^([a-z]+): ([a-z0-9]+(?:-[a-z0-9]+)+)$`)
	findingPart = regexp.MustCompile(`^  (symptom|cause|evidence|remedy) +(\S.*)$`)
	findingMore = regexp.MustCompile(`^ {12}(.*)$`)
)

// parseFindings reads findings as diagnose.WriteText writes them.
func parseFindings(text string) []Finding {
	var out []Finding
	part := ""
	for l := range strings.Lines(text) {
		l = strings.TrimSuffix(l, "\n")
		if m := findingHead.FindStringSubmatch(l); m != nil {
			out = append(out, Finding{Severity: m[1], ID: m[2], Evidence: []string{}})
			part = ""
			continue
		}
		if len(out) == 0 {
			continue
		}
		x := &out[len(out)-1]
		m, more := findingPart.FindStringSubmatch(l), findingMore.FindStringSubmatch(l)
		switch {
		case m != nil:
			part = m[1]
			x.add(part, m[2])
		case more != nil && part != "":
			x.add(part, more[1])
		default:
			part = ""
		}
	}
	// A line that only looks like a heading has nothing below it.
	kept := out[:0]
	for _, x := range out {
		if x.Cause != "" {
			kept = append(kept, x)
		}
	}
	return kept
}

func (x *Finding) add(part, text string) {
	join := func(to *string) {
		if *to != "" {
			text = *to + "\n" + text
		}
		*to = text
	}
	switch part {
	case "symptom":
		join(&x.Symptom)
	case "cause":
		join(&x.Cause)
	case "evidence":
		x.Evidence = append(x.Evidence, text)
	case "remedy":
		join(&x.Remedy)
	}
}

// findings reads what diagnose found for the lab as a whole.
func (r *Report) findings(f *folder) {
	// A Finding has the fields of diagnose.Finding that a person reads.
	var d struct {
		Findings []Finding `json:"findings"`
	}
	f.json(diagnoseName, &d)
	for _, x := range d.Findings {
		x.Evidence = append([]string{}, x.Evidence...)
		r.Findings = append(r.Findings, x)
	}
}
