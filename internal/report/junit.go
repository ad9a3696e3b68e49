package report

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strings"
	"time"
)

type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Skipped  int          `xml:"skipped,attr"`
		Time     string       `xml:"time,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name       string          `xml:"name,attr"`
		Tests      int             `xml:"tests,attr"`
		Failures   int             `xml:"failures,attr"`
		Errors     int             `xml:"errors,attr"`
		Skipped    int             `xml:"skipped,attr"`
		Time       string          `xml:"time,attr"`
		Timestamp  string          `xml:"timestamp,attr,omitempty"`
		Properties []junitProperty `xml:"properties>property,omitempty"`
		Cases      []junitCase     `xml:"testcase"`
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		Class   string       `xml:"classname,attr"`
		Name    string       `xml:"name,attr"`
		Time    string       `xml:"time,attr"`
		Failure *junitResult `xml:"failure"`
		Error   *junitResult `xml:"error"`
		Skipped *junitResult `xml:"skipped"`
		Out     string       `xml:"system-out,omitempty"`
	}
	junitResult struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// JUnit is the run as JUnit XML: one suite, with a case for each block of a
// scenario, or for each step of another command. A block that failed is a
// failure; a run that broke off otherwise has an error.
func (r *Report) JUnit() ([]byte, error) {
	s := junitSuite{Name: r.Title(), Time: fmt.Sprintf("%.3f", r.Seconds)}
	if !r.Started.IsZero() {
		s.Timestamp = r.Started.UTC().Format(time.RFC3339)
	}
	for _, v := range r.Versions {
		name := strings.Join(append([]string{v.What}, v.Nodes...), " ")
		s.Properties = append(s.Properties, junitProperty{name, v.Value})
	}
	if r.Scenario != nil {
		for _, c := range r.Scenario.Chapters {
			for _, b := range c.Blocks {
				s.Cases = append(s.Cases, junitBlock(r.Scenario.ID+"."+strings.ReplaceAll(c.Title, ".", " "), b))
			}
		}
	} else {
		for _, x := range r.Steps {
			s.Cases = append(s.Cases, junitStep(r.Command+"."+x.where(), x))
		}
	}
	if broke := !r.OK && r.Verdict != "READY"; broke && !anyFailed(s.Cases) {
		s.Cases = append(s.Cases, junitCase{Class: r.Title(), Name: "the run", Time: s.Time,
			Error: &junitResult{Message: r.Verdict + ": " + r.Summary, Text: r.Error}})
	}
	for _, c := range s.Cases {
		s.Tests++
		switch {
		case c.Failure != nil:
			s.Failures++
		case c.Error != nil:
			s.Errors++
		case c.Skipped != nil:
			s.Skipped++
		}
	}
	all := junitSuites{Name: s.Name, Tests: s.Tests, Failures: s.Failures, Errors: s.Errors, Skipped: s.Skipped, Time: s.Time, Suites: []junitSuite{s}}
	var out bytes.Buffer
	out.WriteString(xml.Header)
	enc := xml.NewEncoder(&out)
	enc.Indent("", "  ")
	if err := enc.Encode(all); err != nil {
		return nil, fmt.Errorf("write JUnit XML: %w", err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// Title is what the run is called: "4-1 Load balancing across hosts", "labctl create".
func (r *Report) Title() string {
	switch {
	case r.Scenario != nil && strings.ContainsAny(r.Scenario.ID, "0123456789"):
		return r.Scenario.ID + " " + r.Scenario.Title
	case r.Scenario != nil: // an id such as "drain" says nothing more
		return r.Scenario.Title
	case r.Command != "":
		return "labctl " + strings.Replace(r.Command, "-", " ", 1)
	}
	return r.Run
}

func anyFailed(cases []junitCase) bool {
	for _, c := range cases {
		if c.Failure != nil || c.Error != nil {
			return true
		}
	}
	return false
}

func junitBlock(class string, b Block) junitCase {
	c := junitCase{Class: class, Name: b.Name, Time: fmt.Sprintf("%.3f", b.Seconds)}
	if b.Text != "" {
		c.Name += ": " + sentence(b.Text, 100)
	}
	var output, why []string
	for _, n := range b.Nodes {
		output = append(output, fmt.Sprintf("%s: %s %s\n%s%s", n.Node, n.Verdict, n.Reason, n.Stdout, n.Stderr))
		if n.Reason != "" {
			why = append(why, n.Node+": "+n.Reason)
		}
	}
	text, message := strings.Join(output, "\n"), strings.Join(append(nonEmpty(b.Reason), why...), "; ")
	switch b.Verdict {
	case "passed":
		c.Out = text
	case "skipped":
		c.Skipped = &junitResult{Message: message}
	default:
		c.Failure = &junitResult{Message: message, Text: text}
	}
	return c
}

func junitStep(class string, x Step) junitCase {
	c := junitCase{Class: class, Name: x.Name, Time: fmt.Sprintf("%.3f", x.Seconds)}
	switch x.State {
	case "failed":
		c.Failure = &junitResult{Message: x.Detail}
	case "skipped":
		c.Skipped = &junitResult{Message: x.Detail}
	case "started":
		c.Error = &junitResult{Message: "it never ended", Text: x.Detail}
	default:
		c.Out = x.Detail
	}
	return c
}
