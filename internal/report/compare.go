package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

//go:embed compare.html.tmpl
var compareText string

// Comparison puts several runs side by side.
type Comparison struct{ Runs []Compared }

// Compared is one run of a comparison.
type Compared struct {
	*Report
	Label string // how the caller calls it, such as a trainee's name
	Href  string // of its report.html, as seen from the comparison; "" for none
}

// Parts are what a run consists of: chapters, or the steps of each node.
func (c Compared) Parts() []Part {
	var out []Part
	if c.Scenario != nil {
		for _, x := range c.Scenario.Chapters {
			out = append(out, Part{x.Title, x.Verdict, x.Seconds})
		}
		return out
	}
	// Of nodes that work side by side the slowest counts.
	for _, s := range c.Steps {
		i := slices.IndexFunc(out, func(p Part) bool { return p.Name == s.Name })
		if i < 0 {
			out = append(out, Part{s.Name, s.State, s.Seconds})
			continue
		}
		out[i].Seconds = max(out[i].Seconds, s.Seconds)
		if s.State == "failed" {
			out[i].Verdict = s.State
		}
	}
	return out
}

// Part is a chapter or a step of a run.
type Part struct {
	Name    string
	Verdict string
	Seconds float64
}

// Docker lists the versions of Docker, the same once.
func (c Compared) Docker() string {
	var out []string
	for _, v := range c.Versions {
		if v.What == "Docker" {
			out = append(out, v.Value)
		}
	}
	return strings.Join(out, ", ")
}

// Took is how long the run took that is judged, in seconds.
func (c Compared) Took() float64 {
	if c.Scenario != nil {
		return c.Scenario.Seconds
	}
	return c.Seconds
}

// Held is "5 of 5", or "" where nothing was checked.
func (c Compared) Held() string {
	if c.Scenario == nil {
		return ""
	}
	return fmt.Sprintf("%d of %d", c.Scenario.Held, c.Scenario.Checks)
}

// Names are the parts of all runs: the order is that of the first run that
// has them.
func (c *Comparison) Names() []string {
	var out []string
	for _, r := range c.Runs {
		for _, p := range r.Parts() {
			if !slices.Contains(out, p.Name) {
				out = append(out, p.Name)
			}
		}
	}
	return out
}

// Cells are the parts of that name of all runs; nil where a run has none.
func (c *Comparison) Cells(name string) []*Part {
	out := make([]*Part, len(c.Runs))
	for i, r := range c.Runs {
		for _, p := range r.Parts() {
			if p.Name == name {
				out[i] = &p
				break
			}
		}
	}
	return out
}

// Text writes the comparison as two tables.
func (c *Comparison) Text(w io.Writer) error {
	c.cleanLabels()
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "\tRUN\tWHAT\tVERDICT\tCHECKS\tTOOK\tNODES\tDOCKER\tLABCTL")
	for i, r := range c.Runs {
		_, _ = fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", i+1, cell(r.Label), cell(r.Title()), r.Verdict, dash(r.Held()), dur(r.Took()),
			len(r.Nodes), dash(cell(r.Docker())), dash(cell(r.Labctl)))
	}
	_, _ = fmt.Fprintln(t)
	_, _ = fmt.Fprint(t, "\tPART")
	for i := range c.Runs {
		_, _ = fmt.Fprintf(t, "\t%d", i+1)
	}
	_, _ = fmt.Fprintln(t)
	for _, name := range c.Names() {
		_, _ = fmt.Fprintf(t, "\t%s", cell(name))
		for _, p := range c.Cells(name) {
			_, _ = fmt.Fprintf(t, "\t%s", p)
		}
		_, _ = fmt.Fprintln(t)
	}
	return t.Flush()
}

// String is how long it took, and its verdict if it is not the usual one.
func (p *Part) String() string {
	switch {
	case p == nil:
		return "-"
	case p.Verdict == "skipped":
		return p.Verdict
	case mood(p.Verdict) == "pass":
		return dur(p.Seconds)
	}
	return dur(p.Seconds) + " " + p.Verdict
}

// cell is a text that fits into a cell of a table.
func cell(s string) string { return dash(line(s, 60)) }

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// cleanLabels cleans what does not come from a Report.
func (c *Comparison) cleanLabels() {
	for i := range c.Runs {
		c.Runs[i].Label = line(clean(c.Runs[i].Label), 80)
	}
}

// chart draws what each run's parts took.
func (c *Comparison) chart() *chart {
	out := &chart{ID: "compared", Title: "How long each run took, by part", Desc: "A bar for each run. The tables have the numbers."}
	longest := 0.0
	names := c.Names()
	sums := make([]float64, len(c.Runs))
	for i, r := range c.Runs {
		for _, p := range r.Parts() {
			sums[i] += p.Seconds
		}
		longest = max(longest, sums[i])
	}
	if longest == 0 {
		return nil
	}
	for i, r := range c.Runs {
		var bars []bar
		at := 0.0
		for _, p := range r.Parts() {
			w := 100 * p.Seconds / longest
			if w >= 0.05 {
				class := series(slices.Index(names, p.Name))
				if mood(p.Verdict) == "fail" {
					class = "bad"
				}
				bars = append(bars, bar{X: at, W: max(w-0.3, minBar), Class: class, Title: fmt.Sprintf("%s: %s", p.Name, dur(p.Seconds))})
			}
			at += w
		}
		value := dur(r.Took())
		if mood(r.Verdict) != "pass" {
			value = r.Verdict + ", " + value
		}
		out.row(fmt.Sprintf("%d %s", i+1, r.Label), value, bars...)
	}
	for i, name := range names {
		if i < 6 { // the colours come again after that
			out.Legend = append(out.Legend, legend{series(i), name})
		}
	}
	return out
}

// HTML is the comparison as one page that needs nothing else.
func (c *Comparison) HTML() ([]byte, error) {
	c.cleanLabels()
	return render(compareText, struct {
		*Comparison
		Style template.CSS
		Chart *chart
	}{c, template.CSS(styleSheet), c.chart()})
}
