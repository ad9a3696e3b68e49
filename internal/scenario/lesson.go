package scenario

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// page shows a chapter: its checks are watched, not shown, and its solutions
// come when they are asked for.
func (t *teacher) page(c int, hints bool) {
	from, to := 1, strings.Count(string(t.doc.Source), "\n")+1
	if c >= 0 {
		from = t.doc.Chapters[c].Line
	}
	if c+1 < len(t.doc.Chapters) {
		to = t.doc.Chapters[c+1].Line - 1
	}
	s := t.Style
	s.Hints = hints
	s.Hide = func(b *Block) (string, bool) {
		switch b.Kind {
		case Check:
			return "labctl watches this", true
		case Solve:
			return "`solution` shows how", true
		}
		return "", false
	}
	s.Where = t.where
	bar := ""
	if c >= 0 {
		bar = fmt.Sprintf(" chapter %d of %d ", c+1, len(t.doc.Chapters))
	}
	t.say("\n──%s%s\n", bar, strings.Repeat("─", max(0, min(max(s.Width, 40), 100)-len(bar)-2)))
	_, _ = io.WriteString(t.Out, t.doc.Page(from, to, s))
	if slices.ContainsFunc(t.doc.in(c), func(b *Block) bool { return b.Kind == Step && exits.MatchString(b.Script) }) {
		t.say("\nA line that says exit would end your shell: type `sh -eu` first.")
	}
	if vars := t.exports(c); vars != "" {
		t.say("\nSet the variables that these commands use, wherever you type them:\n\n    export %s", vars)
	}
}

func (t *teacher) where(place string) string {
	return "on " + strings.Join(Targets(place, t.o.Nodes), " and ")
}

// exports are the variables of a chapter's steps with their values, quoted
// for a shell.
func (t *teacher) exports(c int) string {
	var out []string
	for _, b := range t.doc.in(c) {
		s, _, err := readScript(b.Script)
		if b.Kind != Step && b.Kind != Solve || err != nil {
			continue
		}
		for _, u := range s.uses {
			value, there := t.saved[u.name]
			if !there {
				value, there = t.vars[u.name]
			}
			set := u.name + "='" + strings.ReplaceAll(value, "'", `'\''`) + "'"
			if there && !slices.Contains(out, set) {
				out = append(out, set)
			}
		}
	}
	return strings.Join(out, " ")
}

func (t *teacher) hints() {
	found := false
	for _, h := range t.doc.hints(t.chapter) {
		s := t.Style
		s.Hints, s.Hide = true, func(b *Block) (string, bool) { return "`solution` shows this", b.Kind == Solve }
		_, _ = io.WriteString(t.Out, "\n"+t.doc.Page(h[0], h[1], s))
		found = true
	}
	if !found {
		t.say("This chapter has no hint; `solution` shows the commands.")
	}
}

// hints are the lines, from and to, of the <details> of a chapter.
func (d *Document) hints(chapter int) [][2]int {
	lines := strings.Split(string(d.Source), "\n")
	from, to := 1, len(lines)
	if chapter >= 0 {
		from = d.Chapters[chapter].Line
	}
	if chapter+1 < len(d.Chapters) {
		to = d.Chapters[chapter+1].Line - 1
	}
	var out [][2]int
	depth := 0
	for i := from; i <= to; i++ {
		line := strings.TrimSpace(lines[i-1])
		if strings.HasPrefix(line, "<details") {
			if depth == 0 {
				out = append(out, [2]int{i, to})
			}
			depth++
		}
		if depth > 0 && strings.HasSuffix(line, "</details>") {
			if depth--; depth == 0 {
				out[len(out)-1][1] = i
			}
		}
	}
	return out
}

var exits = regexp.MustCompile(`\bexit\b`)
