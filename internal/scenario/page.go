package scenario

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"github.com/mattn/go-runewidth"
)

// Style is how a page is made readable in a terminal.
type Style struct {
	Width int  // in columns; 0 means 80
	Color bool // bold, italic and code by escape sequences
	// Hide leaves a block out, with a text in its place, "" for none; nil
	// shows all. Hints are <details>, which are left out but for their summary
	// unless Hints is set.
	Hide  func(b *Block) (instead string, hide bool)
	Hints bool
	// Where says in words on what a block runs; nil gives its place.
	Where func(place string) string
}

// Page renders the lines from, to (from 1, both included) of the document for
// a terminal.
func (d *Document) Page(from, to int, s Style) string {
	if s.Width <= 0 {
		s.Width = 80
	}
	p := &renderer{Style: s, doc: d, blocks: map[int]*Block{}}
	for _, b := range d.Blocks {
		p.blocks[b.Line] = b
	}
	lines := strings.Split(string(d.Source), "\n")
	for i := from; i <= to && i <= len(lines); i++ {
		p.line(i, lines[i-1])
	}
	p.flush()
	text := strings.Trim(manyEmpty.ReplaceAllString(p.out.String(), "\n\n"), "\n")
	return p.colored(text) + "\n"
}

var (
	manyEmpty  = regexp.MustCompile(`\n{3,}`)
	openFence  = regexp.MustCompile("^[ \t>]*(?:[-*+][ \t]+|[0-9]+[.)][ \t]+)?(`{3,}|~{3,})[ \t]*(.*)$")
	mdHeading  = regexp.MustCompile(`^(#{1,6})\s+(.*?)\s*#*$`)
	mdItem     = regexp.MustCompile(`^(\s*(?:[-*+]|[0-9]+[.)]|>)\s+)(.*)$`)
	mdSummary  = regexp.MustCompile(`<summary>(.*?)</summary>`)
	mdTag      = regexp.MustCompile(`</?[a-z]+[^>]*>`)
	mdLink     = regexp.MustCompile(`!?\[([^\]]*)\]\([^)]*\)`)
	mdStrong   = regexp.MustCompile(`\*\*([^*]+)\*\*`)
	mdEmphasis = regexp.MustCompile(`\*([^*\s][^*]*)\*`)
	mdCode     = regexp.MustCompile("`([^`]+)`")
)

// Runes of a private area stand for colors until the lines are filled, for
// they take no room.
const (
	boldOn = '\uE000' + iota
	boldOff
	italicOn
	italicOff
	codeOn
	codeOff
	noBreak // a space at which no line is broken
)

var colors = map[rune]string{boldOn: "\x1b[1m", boldOff: "\x1b[22m", italicOn: "\x1b[3m", italicOff: "\x1b[23m", codeOn: "\x1b[36m", codeOff: "\x1b[39m", noBreak: " "}

type renderer struct {
	Style
	doc    *Document
	blocks map[int]*Block
	out    strings.Builder

	fence   string // the mark that ends it; "" outside
	hidden  bool   // of the fence
	details int    // depth of <details> that are left out
	comment bool
	lead    string // of the paragraph
	text    []string
}

func (p *renderer) line(number int, line string) {
	trimmed := strings.TrimSpace(line)
	switch {
	case p.fence != "":
		if strings.HasPrefix(strings.Trim(trimmed, "> \t"), p.fence) {
			p.fence = ""
			if !p.hidden {
				p.out.WriteString("\n")
			}
		} else if !p.hidden {
			p.out.WriteString(strings.TrimRight("    "+line, " ") + "\n")
		}
	case p.comment || strings.HasPrefix(trimmed, "<!--"):
		p.flush()
		p.comment = !strings.Contains(trimmed, "-->")
	case strings.HasPrefix(trimmed, "<details") && !p.Hints:
		p.flush()
		if m := mdSummary.FindStringSubmatch(line); m != nil && p.details == 0 {
			p.out.WriteString("(hint: " + m[1] + ")\n")
		}
		p.details += 1 - strings.Count(trimmed, "</details>")
	case strings.HasPrefix(trimmed, "</details>"):
		p.flush()
		p.details = max(0, p.details-1)
	case openFence.MatchString(line):
		p.open(number, openFence.FindStringSubmatch(line))
	case p.details > 0:
	default:
		p.prose(line, trimmed)
	}
}

// open begins a fence: a block with where it runs, prose as it stands.
func (p *renderer) open(number int, m []string) {
	p.flush()
	p.fence = m[1]
	b := p.blocks[number]
	p.hidden = p.details > 0 || strings.HasPrefix(m[2], "toml scenario")
	if p.hidden || b == nil {
		return
	}
	if p.Hide != nil {
		instead := ""
		if instead, p.hidden = p.Hide(b); p.hidden {
			if instead != "" {
				p.out.WriteString("  (" + instead + ")\n")
			}
			return
		}
	}
	where := "@" + b.Place
	if p.Where != nil {
		where = p.Where(b.Place)
	}
	switch b.Kind {
	case Step, Solve:
	case Check:
		where += ", a check"
	default:
		where += ", " + string(b.Kind) + " by labctl"
	}
	fmt.Fprintf(&p.out, "%c  %s:%c\n", boldOn, where, boldOff)
}

func (p *renderer) prose(line, trimmed string) {
	switch m := mdHeading.FindStringSubmatch(line); {
	case m != nil:
		p.flush()
		p.out.WriteString(string(boldOn) + strings.Repeat("#", len(m[1])) + " " + p.inline(m[2]) + string(boldOff) + "\n")
	case trimmed == "":
		p.flush()
		p.out.WriteString("\n")
	case strings.HasPrefix(trimmed, "|"):
		p.flush()
		p.out.WriteString(p.inline(line) + "\n")
	default:
		if strings.HasPrefix(trimmed, "<") {
			line = strings.TrimSpace(mdTag.ReplaceAllString(line, ""))
		}
		if m := mdItem.FindStringSubmatch(line); m != nil {
			p.flush()
			p.lead, line = m[1], m[2]
		}
		p.text = append(p.text, strings.TrimSpace(line))
	}
}

// flush writes the paragraph that has been gathered, its lines filled.
func (p *renderer) flush() {
	if len(p.text) == 0 {
		return
	}
	hang := strings.Repeat(" ", len(p.lead))
	lines := fill(p.inline(joinLines(p.text)), p.Width-len(p.lead))
	for i, l := range lines {
		lead := hang
		if i == 0 {
			lead = p.lead
		}
		p.out.WriteString(lead + l + "\n")
	}
	p.lead, p.text = "", nil
}

// inline turns Markdown's marks within a line into colors.
func (p *renderer) inline(s string) string {
	s = mdLink.ReplaceAllString(s, "$1")
	// Code first: its stars are no emphasis.
	var out strings.Builder
	rest := s
	for {
		at := mdCode.FindStringSubmatchIndex(rest)
		if at == nil {
			return out.String() + emphasis(rest)
		}
		out.WriteString(emphasis(rest[:at[0]]))
		code := strings.ReplaceAll(rest[at[2]:at[3]], " ", string(noBreak))
		if !p.Color {
			code = "`" + code + "`"
		}
		out.WriteString(string(codeOn) + code + string(codeOff))
		rest = rest[at[1]:]
	}
}

func emphasis(s string) string {
	s = mdStrong.ReplaceAllString(s, string(boldOn)+"$1"+string(boldOff))
	return mdEmphasis.ReplaceAllString(s, string(italicOn)+"$1"+string(italicOff))
}

func (p *renderer) colored(s string) string {
	var out strings.Builder
	for _, r := range s {
		seq, isColor := colors[r]
		switch {
		case !isColor:
			out.WriteRune(r)
		case p.Color || r == noBreak:
			out.WriteString(seq)
		}
	}
	return out.String()
}

// joinLines puts the lines of a paragraph together; scripts without spaces
// between their words get none at the seam.
func joinLines(lines []string) string {
	out := lines[0]
	for _, l := range lines[1:] {
		last, first := []rune(out), []rune(l)
		if len(last) == 0 || len(first) == 0 || !wide(last[len(last)-1]) || !wide(first[0]) {
			out += " "
		}
		out += l
	}
	return out
}

func wide(r rune) bool { return runewidth.RuneWidth(r) == 2 }

// fill breaks text into lines of at most width columns: at spaces, and
// between wide characters, but not before a mark that ends a sentence.
func fill(text string, width int) []string {
	var lines []string
	var line, word strings.Builder
	cols := func(s string) int {
		return runewidth.StringWidth(strings.Map(func(r rune) rune {
			if _, isColor := colors[r]; !isColor {
				return r
			}
			if r == noBreak {
				return ' '
			}
			return -1
		}, s))
	}
	space := ""
	end := func() {
		if word.Len() == 0 {
			return
		}
		if line.Len() > 0 && cols(line.String())+len(space)+cols(word.String()) > width {
			lines = append(lines, line.String())
			line.Reset()
			space = ""
		}
		line.WriteString(space + word.String())
		word.Reset()
		space = ""
	}
	runes := []rune(text)
	for i, r := range runes {
		if unicode.IsSpace(r) {
			end()
			if line.Len() > 0 {
				space = " "
			}
			continue
		}
		if i > 0 && (wide(r) || wide(runes[i-1])) && !strings.ContainsRune("、。，．」）』！？：ー", r) && !strings.ContainsRune("「（『", runes[i-1]) {
			end()
		}
		word.WriteRune(r)
	}
	end()
	return append(lines, line.String())
}
