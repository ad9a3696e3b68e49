package report

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestJUnitCreate(t *testing.T) {
	r := load(t, "create")
	r.Steps = r.Steps[:3]
	r.Steps[1].State, r.Steps[1].Detail = "failed", "no answer within 5m: <see> the console"
	r.Steps[2].State, r.Steps[2].Detail = "started", "waiting for SSH"
	r.OK, r.Verdict = false, VerdictFailed
	got, err := r.JUnit()
	if err != nil {
		t.Fatal(err)
	}
	want := `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="labctl create" tests="3" failures="1" errors="1" skipped="0" time="89.108">
  <testsuite name="labctl create" tests="3" failures="1" errors="1" skipped="0" time="89.108" timestamp="2026-11-25T10:26:15Z">
    <properties>
      <property name="labctl" value="(devel)"></property>
    </properties>
    <testcase classname="create.lab" name="render" time="0.165"></testcase>
    <testcase classname="create.docker2" name="boot" time="29.273">
      <failure message="no answer within 5m: &lt;see&gt; the console"></failure>
    </testcase>
    <testcase classname="create.docker1" name="boot" time="29.264">
      <error message="it never ended">waiting for SSH</error>
    </testcase>
  </testsuite>
</testsuites>
`
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Errorf("JUnit XML (-want +got):\n%s", d)
	}
}

func TestJUnitScenario(t *testing.T) {
	parse := func(r *Report) junitSuite {
		t.Helper()
		data, err := r.JUnit()
		if err != nil {
			t.Fatal(err)
		}
		var all junitSuites
		if err := xml.Unmarshal(data, &all); err != nil {
			t.Fatal(err)
		}
		if len(all.Suites) != 1 || all.Tests != all.Suites[0].Tests || len(all.Suites[0].Cases) != all.Tests {
			t.Fatalf("%d suites, %d tests", len(all.Suites), all.Tests)
		}
		return all.Suites[0]
	}
	s := parse(load(t, "lb"))
	if s.Name != "4-1 Load balancing across hosts" || s.Tests != 12 || s.Failures+s.Errors+s.Skipped != 0 {
		t.Errorf("%s: %d tests, %d failures, %d errors, %d skipped", s.Name, s.Tests, s.Failures, s.Errors, s.Skipped)
	}
	c := s.Cases[4]
	if c.Class != "4-1.The service" || c.Name != "lb.md:97 check: The command returns at once, but the copies take their time." || c.Time != "34.477" ||
		!strings.HasPrefix(c.Out, "docker1: passed \ntest01.1 docker2 Running") {
		t.Errorf("the fifth case is %+v", c)
	}

	dir := filepath.Join(t.TempDir(), "run")
	if err := os.CopyFS(dir, os.DirFS("testdata/runs/lb")); err != nil {
		t.Fatal(err)
	}
	failed(t, dir)
	r, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	s = parse(r)
	if s.Tests != 12 || s.Failures != 1 || s.Skipped != 1 || s.Errors != 0 {
		t.Errorf("a failed run: %d tests, %d failures, %d errors, %d skipped", s.Tests, s.Failures, s.Errors, s.Skipped)
	}
	for _, c := range s.Cases {
		if c.Failure != nil && (c.Failure.Message != "docker1: exit code 1" || !strings.Contains(c.Failure.Text, "test01.3 on docker2 answered none of 8 requests")) {
			t.Errorf("the failure is %+v", *c.Failure)
		}
		if c.Skipped != nil && c.Skipped.Message != "the run had failed" {
			t.Errorf("skipped because: %s", c.Skipped.Message)
		}
	}

	r = load(t, "lb")
	r.OK, r.Verdict, r.Summary, r.Error = false, "INTERRUPTED", "interrupted", "context canceled"
	s = parse(r)
	if last := s.Cases[len(s.Cases)-1]; s.Errors != 1 || last.Name != "the run" || last.Error == nil || last.Error.Message != "INTERRUPTED: interrupted" {
		t.Errorf("an interrupted run ends with %+v", last)
	}
}
