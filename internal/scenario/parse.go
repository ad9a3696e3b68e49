package scenario

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/text"
)

// Load parses and lints. The error is a *Problems with everything that is
// wrong, by line; warnings are returned beside the document.
func Load(file string, src []byte) (*Document, []Problem, error) {
	d, err := Parse(file, src)
	var list []Problem
	if p, ok := err.(*Problems); ok {
		list = append(list, p.List...)
	}
	for _, p := range Lint(d) {
		// A block that could not be read draws follow-up complaints of lint;
		// the first one of a line is the one that helps.
		if !slices.ContainsFunc(list, func(q Problem) bool { return q.Line == p.Line && !q.Warning }) {
			list = append(list, p)
		}
	}
	sortProblems(list)
	warnings := slices.DeleteFunc(slices.Clone(list), func(p Problem) bool { return !p.Warning })
	return d, warnings, refusals(list)
}

// Parse reads a document. The error is a *Problems that holds every mistake
// at once. The document is returned even then, with what could be read, so
// that Lint can add to the list; it must not be run.
func Parse(file string, src []byte) (*Document, error) {
	src = bytes.ReplaceAll(src, []byte("\r\n"), []byte("\n"))
	p := &parser{doc: &Document{File: file, Source: src}, src: src}
	p.lineStarts = []int{0}
	for i, c := range src {
		if c == '\n' {
			p.lineStarts = append(p.lineStarts, i+1)
		}
	}
	if !utf8.Valid(src) || bytes.IndexByte(src, 0) >= 0 {
		p.bad(1, "", "the file is not plain UTF-8 text")
		return p.doc, refusals(p.problems)
	}
	p.walk()
	p.findStrays()
	return p.doc, refusals(p.problems)
}

type parser struct {
	doc        *Document
	src        []byte
	lineStarts []int // offset of each line
	problems   []Problem

	fences   []fence
	comments [][2]int // lines of HTML comments, which may hold anything
	details  int      // depth of <details>
	prose    []string // paragraphs since the last block or heading
	heads    int
}

// fence is one fenced block of any kind, as Markdown reads it.
type fence struct {
	open, close int // lines; close is 0 where the fence was never closed
	mark        string
	executed    bool
}

func (p *parser) bad(line int, suggest, format string, args ...any) {
	p.problems = append(p.problems, Problem{
		File: p.doc.File, Line: line, Reason: fmt.Sprintf(format, args...), Suggest: suggest})
}

// line is the number, from 1, of the line that holds the offset.
func (p *parser) line(offset int) int {
	i, found := slices.BinarySearch(p.lineStarts, offset)
	if found {
		return i + 1
	}
	return i
}

// textOf is the line of that number without its end.
func (p *parser) textOf(line int) string {
	if line < 1 || line > len(p.lineStarts) {
		return ""
	}
	rest := p.src[p.lineStarts[line-1]:]
	if i := bytes.IndexByte(rest, '\n'); i >= 0 {
		rest = rest[:i]
	}
	return string(rest)
}

func (p *parser) walk() {
	root := goldmark.DefaultParser().Parse(text.NewReader(p.src))
	// The walker never returns an error.
	_ = ast.Walk(root, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Heading:
			p.heading(n)
		case *ast.Paragraph, *ast.TextBlock:
			p.prose = append(p.prose, oneLine(n.Lines().Value(p.src)))
			return ast.WalkSkipChildren, nil
		case *ast.HTMLBlock:
			p.html(n)
		case *ast.FencedCodeBlock:
			p.fence(n)
		}
		return ast.WalkContinue, nil
	})
	p.doc.headUnread = p.doc.headUnread || p.heads == 0
	if p.heads == 0 && !slices.ContainsFunc(p.problems, func(q Problem) bool { return strings.Contains(q.Reason, "scenario head") }) {
		p.bad(1, "", "no scenario head: the first fence must be ```toml scenario")
	}
}

func (p *parser) heading(n *ast.Heading) {
	if n.Level > 2 || n.Lines().Len() == 0 {
		return
	}
	p.prose = nil
	if n.Level == 2 {
		p.doc.Chapters = append(p.doc.Chapters, Chapter{
			Title: oneLine(n.Lines().Value(p.src)), Line: p.line(n.Lines().At(0).Start)})
	}
}

func (p *parser) html(n *ast.HTMLBlock) {
	if n.Lines().Len() == 0 {
		return
	}
	raw := n.Lines().Value(p.src)
	first, last := p.line(n.Lines().At(0).Start), p.line(n.Lines().At(n.Lines().Len()-1).Start)
	if n.HasClosure() {
		raw = append(slices.Clone(raw), n.ClosureLine.Value(p.src)...)
		last = max(last, p.line(n.ClosureLine.Start))
	}
	if n.HTMLBlockType == ast.HTMLBlockType2 {
		p.comments = append(p.comments, [2]int{first, last})
		return
	}
	p.details += bytes.Count(raw, []byte("<details")) - bytes.Count(raw, []byte("</details"))
}

var fenceMark = regexp.MustCompile("(`{3,}|~{3,})")

func (p *parser) fence(n *ast.FencedCodeBlock) {
	var f fence
	lines := n.Lines()
	switch {
	case n.Info != nil:
		f.open = p.line(n.Info.Segment.Start)
	case lines.Len() > 0:
		f.open = p.line(lines.At(0).Start) - 1
	default:
		return // empty and without a word: nothing to execute, nothing to hide
	}
	last := f.open
	if lines.Len() > 0 {
		last = p.line(lines.At(lines.Len() - 1).Start)
	}
	f.mark = fenceMark.FindString(p.textOf(f.open))
	if closing := strings.Trim(p.textOf(last+1), " \t>"); f.mark != "" && strings.HasPrefix(closing, f.mark) && strings.Trim(closing, f.mark[:1]) == "" {
		f.close = last + 1
	}
	info := ""
	if n.Info != nil {
		info = strings.TrimSpace(string(n.Info.Segment.Value(p.src)))
	}
	words := strings.Fields(info)
	switch {
	case len(words) >= 2 && words[0] == "toml" && words[1] == "scenario":
		p.heads++
		if len(words) > 2 {
			p.bad(f.open, "", "nothing may follow `toml scenario`, found %q", words[2])
		}
		if p.heads > 1 {
			p.bad(f.open, "", "a second scenario head; the first is in line %d", p.doc.Head.Line)
		} else {
			if len(p.fences) > 0 {
				p.bad(f.open, "", "the scenario head must be the first fence of the page, but one opens in line %d", p.fences[0].open)
			}
			p.head(string(lines.Value(p.src)), f.open)
		}
	case len(words) >= 2 && p.heads == 0 && nearestOrSame(words[0], []string{"toml"}) != "" && nearestOrSame(words[1], []string{"scenario"}) != "":
		p.bad(f.open, "toml scenario", "%q is no scenario head", info)
	case len(words) > 0 && words[0] == "sh" && len(words) >= 2:
		f.executed = true
		p.block(n, f, info)
	case looksExecuted(words):
		p.bad(f.open, "sh @"+afterAt(info), "%q is no block: its language must be sh, then a space and the place", info)
	}
	p.fences = append(p.fences, f)
	if f.close == 0 && f.executed {
		p.bad(f.open, "", "the block is never closed")
	}
}

// looksExecuted tells a fence whose author meant a block, but wrote another
// language or forgot the space.
func looksExecuted(words []string) bool {
	return len(words) >= 2 && strings.HasPrefix(words[1], "@") ||
		len(words) >= 1 && strings.Contains(words[0], "@")
}

func afterAt(s string) string {
	_, after, _ := strings.Cut(s, "@")
	return after
}

func (p *parser) block(n *ast.FencedCodeBlock, f fence, info string) {
	b := &Block{
		Index: len(p.doc.Blocks), Line: f.open, EndLine: f.close,
		Chapter: len(p.doc.Chapters) - 1, Folded: p.details > 0,
		Script: string(n.Lines().Value(p.src)), info: info, prose: strings.Join(p.prose, "\n"),
	}
	if len(p.prose) > 0 {
		b.Description = p.prose[len(p.prose)-1]
	}
	p.prose = nil
	parseInfo(info, b, func(suggest, format string, args ...any) { p.bad(f.open, suggest, format, args...) })
	if strings.TrimSpace(b.Script) == "" {
		p.bad(f.open, "", "the block is empty")
	}
	p.doc.Blocks = append(p.doc.Blocks, b)
}

// stray is a line that a reader takes for the opening fence of a block.
var stray = regexp.MustCompile("^[ \t>]*(?:[-*+][ \t]+|[0-9]+[.)][ \t]+)?(`{3,}|~{3,})[ \t]*(\\S*@\\S*|\\S+\\s+@.*)$")

// anyFence is a line that opens or closes a fence.
var anyFence = regexp.MustCompile("^[ \t>]*(`{3,}|~{3,})")

// findStrays refuses lines that look like a block and are none to Markdown:
// they would silently not be run, or be run as part of another block.
func (p *parser) findStrays() {
	for line := 1; line <= len(p.lineStarts); line++ {
		if p.inComment(line) {
			continue
		}
		f, inside := p.around(line)
		if inside && f.executed && anyFence.MatchString(p.textOf(line)) {
			p.bad(line, "", "a fence inside the block that opens in line %d: that one is not closed", f.open)
			continue
		}
		m := stray.FindStringSubmatch(p.textOf(line))
		if m == nil || p.opensAt(line) {
			continue
		}
		switch {
		case !inside:
			p.bad(line, "", "this is not read as a block: it needs an empty line before it, at most three spaces in front, and no ` in its settings")
		case m[1][0] == f.mark[0] && len(m[1]) >= len(f.mark):
			p.bad(line, "", "this is not read as a block: the fence that opens in line %d is not closed", f.open)
		}
	}
}

func (p *parser) inComment(line int) bool {
	return slices.ContainsFunc(p.comments, func(c [2]int) bool { return c[0] <= line && line <= c[1] })
}

func (p *parser) opensAt(line int) bool {
	return slices.ContainsFunc(p.fences, func(f fence) bool { return f.open == line })
}

// around returns the fence whose content holds the line.
func (p *parser) around(line int) (fence, bool) {
	for _, f := range p.fences {
		if f.open < line && (line < f.close || f.close == 0 && p.endOf(f) >= line) && f.mark != "" {
			return f, true
		}
	}
	return fence{}, false
}

// endOf is the last line that an unclosed fence can swallow.
func (p *parser) endOf(f fence) int {
	for _, g := range p.fences {
		if g.open > f.open {
			return g.open - 1
		}
	}
	return len(p.lineStarts)
}

func oneLine(raw []byte) string { return strings.Join(strings.Fields(string(raw)), " ") }
