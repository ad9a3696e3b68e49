package scenario

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

var (
	listMark  = regexp.MustCompile(`[-*+0-9.)]`)
	backticks = regexp.MustCompile("`+")
)

// Transcript is the document with the real output under each block: folded
// where it passed, open where it failed.
func (r *Result) Transcript(d *Document) []byte {
	var s strings.Builder
	s.WriteString(r.banner())
	after := map[int]int{} // line of a closing fence to block index
	for i, b := range d.Blocks {
		after[b.EndLine] = i
	}
	lines := strings.Split(strings.TrimSuffix(string(d.Source), "\n"), "\n")
	for i, b := range d.Blocks {
		if b.Folded && i < len(r.Blocks) && (r.Blocks[i].Verdict == Failed || r.Blocks[i].Verdict == Interrupted) {
			unfold(lines[:b.Line-1])
		}
	}
	for i, line := range lines {
		s.WriteString(line + "\n")
		if index, ok := after[i+1]; ok && index < len(r.Blocks) {
			open := lines[d.Blocks[index].Line-1]
			pad := listMark.ReplaceAllString(open[:strings.IndexAny(open, "`~")], " ")
			s.WriteString(underBlock(r.Blocks[index], pad))
			if i+1 < len(lines) && strings.Trim(lines[i+1], "> \t") != "" {
				// Text right below a tag would not be read as Markdown.
				s.WriteString(strings.TrimRight(pad, " ") + "\n")
			}
		}
	}
	return []byte(s.String())
}

// unfold opens the <details> of the page that are not closed in these lines:
// what failed inside them must be seen.
func unfold(lines []string) {
	depth := 0
	for i, line := range slices.Backward(lines) {
		depth += strings.Count(line, "</details") - strings.Count(line, "<details")
		if depth < 0 {
			lines[i] = strings.Replace(line, "<details>", "<details open>", 1)
			depth = 0
		}
	}
}

func (r *Result) banner() string {
	s := fmt.Sprintf("> **%s** %s %s, lab %s, %s, took %s\n", r.Word(), r.ID, r.Title, r.Lab,
		r.Start.UTC().Format(time.RFC3339), seconds(r.Duration))
	if r.Failure != nil {
		s += fmt.Sprintf(">\n> %s\n", r.Failure.Error())
	}
	return s + "\n"
}

// underBlock renders the results of one block; pad is what stands before the
// block's fence when it is nested in a list or a quotation.
func underBlock(b BlockResult, pad string) string {
	var s strings.Builder
	line := func(format string, args ...any) {
		s.WriteString(strings.TrimRight(pad+fmt.Sprintf(format, args...), " ") + "\n")
	}
	line("")
	if len(b.Nodes) == 0 {
		line("*%s: %s*", b.Verdict, b.Reason)
		return s.String()
	}
	for i, n := range b.Nodes {
		if i > 0 {
			line("")
		}
		open := ""
		if n.Verdict != Passed {
			open = " open"
		}
		summary := fmt.Sprintf("%s on %s, %s", strings.ToUpper(string(n.Verdict)), n.Node, seconds(n.Duration))
		if n.Tries > 1 {
			summary += fmt.Sprintf(", %d tries", n.Tries)
		}
		if n.Reason != "" {
			summary += ": " + n.Reason
		}
		line("<details%s><summary>%s</summary>", open, escape(summary))
		line("")
		output := strings.TrimRight(Visible(orSelf(n.Output, n.Stdout+n.Stderr)), "\n")
		if output == "" {
			line("*no output*")
		} else {
			fence := "```"
			for _, run := range backticks.FindAllString(output, -1) {
				if len(run) >= len(fence) {
					fence = run + "`"
				}
			}
			line("%stext", fence)
			for _, l := range strings.Split(output, "\n") {
				line("%s", l)
			}
			line("%s", fence)
		}
		line("")
		line("</details>")
	}
	return s.String()
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "\n", " ").Replace(s)
}
