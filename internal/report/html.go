package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"regexp"
	"strings"
	"time"
	"unicode"
)

var (
	//go:embed style.css
	styleSheet string
	//go:embed report.html.tmpl
	pageText string
	//go:embed sections.html.tmpl
	sectionsText string
	//go:embed parts.html.tmpl
	partsText string
)

// page is what the template is given.
type page struct {
	*Report
	Style template.CSS

	Time, FaultTimes *chart // nil: nothing to draw
	Topology         *topology
	Answered         []answered
	Pinged           []pinged
	Listed           []fileGroup
}

type answered struct {
	Answers
	Chart *chart
}

type pinged struct {
	Pings
	Chart *chart
}

type fileGroup struct {
	Name  string
	Files []File
	Size  int64
}

// HTML is report.html: one page that needs nothing else.
func (r *Report) HTML() ([]byte, error) {
	p := page{Report: r, Style: template.CSS(styleSheet), Topology: topologyOf("topology", r), Listed: groups(r.Files)}
	if r.Scenario != nil {
		p.Time = blocksChart("time", r.Scenario)
	}
	if p.Time == nil {
		p.Time = stepsChart("time", r)
	}
	p.FaultTimes = faultsChart("faulttimes", r.Faults)
	for i, a := range r.Answers {
		p.Answered = append(p.Answered, answered{a, r.answersChart(fmt.Sprintf("answers-%d", i+1), a)})
	}
	for i, x := range r.Pings {
		p.Pinged = append(p.Pinged, pinged{x, pingsChart(fmt.Sprintf("pings-%d", i+1), x)})
	}
	return render(pageText, p)
}

// Headline are the versions that are told at the top.
func (r *Report) Headline() []Version {
	var out []Version
	for _, v := range r.Versions {
		if v.What == "Docker" || v.What == "system" || v.What == "provider" || v.What == "labctl" {
			out = append(out, v)
		}
	}
	return out
}

// Rest tells how many versions Headline leaves out.
func (r *Report) Rest() int { return len(r.Versions) - len(r.Headline()) }

// Crowd tells that the picture of the lab wants the whole width.
func (p page) Crowd() bool { return len(p.Nodes) > crowd }

// Short tells that the left of the two columns holds no more than the lab.
func (p page) Short() bool {
	return len(p.Answered) == 0 && len(p.Pinged) == 0 && p.FaultTimes == nil && p.Time != nil && !p.Crowd()
}

// render fills a page. html/template escapes all that is put into it, for the
// place where it stands.
func render(text string, data any) ([]byte, error) {
	t, err := template.New("page").Funcs(functions).Parse(partsText)
	for _, more := range []string{sectionsText, text} {
		if err == nil {
			_, err = t.Parse(more)
		}
	}
	var out bytes.Buffer
	if err == nil {
		err = t.Execute(&out, data)
	}
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", HTMLName, err)
	}
	return out.Bytes(), nil
}

var functions = template.FuncMap{
	"dur": dur,
	"durp": func(s *float64) string {
		if s == nil {
			return "–"
		}
		return dur(*s)
	},
	"ms":       func(ms *float64) string { return fmt.Sprintf("%.3g ms", *ms) },
	"much":     func(a, b float64) bool { return a-b > 1 },
	"size":     size,
	"join":     strings.Join,
	"sentence": sentence,
	"plain":    unmarked,
	"line":     line,
	"mood":     mood,
	"icon":     icon,
	"upper":    strings.ToUpper,
	"when": func(t time.Time) string {
		if t.IsZero() {
			return "unknown"
		}
		return t.UTC().Format("2006-01-02 15:04:05 UTC")
	},
	"iso":      func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"count":    count,
	"href":     func(f File) string { return f.href },
	"add":      func(a, b int) int { return a + b },
	"mul":      func(a, b int) int { return a * b },
	"language": language,
	"kinds": func(b Block) string {
		if b.Given {
			return "given check"
		}
		return b.Kind
	},
}

// language is that of a document's title, for screen readers; "" for that of
// the page.
func language(title string) string {
	if strings.ContainsFunc(title, func(r rune) bool { return unicode.In(r, unicode.Hiragana, unicode.Katakana) }) {
		return "ja"
	}
	return ""
}

// mood is how a verdict looks: pass, warn, fail or none.
func mood(verdict string) string {
	switch strings.ToUpper(verdict) {
	case "PASS", "PASSED", "OK", "READY", "DONE", "KEPT":
		return "pass"
	case "FAIL", "FAILED":
		return "fail"
	case "SKIPPED", "":
		return "none"
	}
	return "warn"
}

// icon is the sign beside a verdict, so that colour is not all that tells.
func icon(verdict string) string {
	return map[string]string{"pass": "✓", "fail": "✗", "warn": "!", "none": "–"}[mood(verdict)]
}

func size(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1e6:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

var (
	linkMark = regexp.MustCompile(`\[([^\]\n]*)\]\([^)\n]*\)`)
	emphasis = regexp.MustCompile(`\*{1,3}([^*\n]+)\*{1,3}`)
)

// unmarked takes Markdown's marks out of a paragraph.
func unmarked(s string) string {
	s = linkMark.ReplaceAllString(s, "$1")
	s = emphasis.ReplaceAllString(s, "$1")
	return strings.ReplaceAll(s, "`", "")
}

// sentence is the first sentence of a paragraph of Markdown, cut to n
// characters.
func sentence(s string, n int) string {
	s = unmarked(s)
	first := len(s)
	for _, end := range []string{". ", "? ", "! ", "。"} {
		// "The symptom." alone says little.
		const least = 24
		if len(s) <= least {
			break
		}
		if i := strings.Index(s[least:], end); i >= 0 {
			first = min(first, least+i+len(strings.TrimRight(end, " ")))
		}
	}
	return strings.TrimRight(words(s[:first], n), " :")
}

// words is line, cut between words.
func words(s string, n int) string {
	cut := line(s, n)
	if i := strings.LastIndexByte(cut, ' '); i > n/2 && strings.HasSuffix(cut, "…") {
		return cut[:i] + " …"
	}
	return cut
}

// groups puts files of one folder together, those of the run itself first.
func groups(files []File) []fileGroup {
	var out []fileGroup
	find := func(name string) *fileGroup {
		for i := range out {
			if out[i].Name == name {
				return &out[i]
			}
		}
		out = append(out, fileGroup{Name: name})
		return &out[len(out)-1]
	}
	find("the run")
	for _, f := range files {
		name := "the run"
		if parts := strings.Split(f.Name, "/"); len(parts) > 2 {
			name = parts[0] + "/" + parts[1]
		} else if len(parts) == 2 {
			name = parts[0]
		}
		if len(name) > 80 {
			name = name[:80]
		}
		g := find(strings.ToValidUTF8(name, ""))
		g.Files = append(g.Files, f)
		g.Size += f.Size
	}
	if len(out[0].Files) == 0 {
		out = out[1:]
	}
	return out
}
