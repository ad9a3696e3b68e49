package cli

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/artifact"
)

// reportLab makes a folder with two runs of scenario 4-1 and a create, goes
// there, and returns a function that runs labctl in it.
func reportLab(t *testing.T) func(line string) (code int, out, errOut string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("makes links")
	}
	fixtures, err := filepath.Abs("../report/testdata/runs")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	for to, from := range map[string]string{
		"artifacts/20261125T102615Z-create": "create", "artifacts/20261125T102747Z-scenario-lb": "lb", "handed-in/trainee1/artifacts/20261124T090000Z-scenario-lb": "lb",
	} {
		if err := os.CopyFS(to, os.DirFS(filepath.Join(fixtures, from))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("20261125T102747Z-scenario-lb", "artifacts/latest"); err != nil {
		t.Fatal(err)
	}
	return func(line string) (int, string, string) {
		t.Helper()
		var out, errOut strings.Builder
		code := Run(context.Background(), append([]string{"labctl"}, strings.Fields(line)...), Streams{In: strings.NewReader(""), Out: &out, Err: &errOut})
		return code, out.String(), errOut.String()
	}
}

func TestReportCommand(t *testing.T) {
	labctl := reportLab(t)
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	lb := filepath.Join(wd, "artifacts/20261125T102747Z-scenario-lb/report.html") + "\n"
	for _, tt := range []struct {
		line, out, errOut string
		code              int
	}{
		{"report", lb, "", 0},
		{"report latest", lb, "", 0},
		{"report 20261125T102747Z", lb, "", 0},
		{"report artifacts/20261125T102615Z-create", "artifacts/20261125T102615Z-create/report.html\n", "", 0},
		{"report artifacts/latest", "artifacts/latest/report.html\n", "", 0},
		{"report none", "", "error: there is no run \"none\" in " + filepath.Join(wd, "artifacts") + "\nhint: `labctl artifacts list` shows the runs\n", 1},
		{"report ./none", "", "error: read the run's folder: lstat none: no such file or directory\n", 1},
		{"report ./handed-in", "", "error: handed-in is no run's folder: it has neither manifest.json nor result.json nor events.jsonl\n" +
			"hint: a run's folder lies in artifacts/ and is called like 20261125T095838Z-scenario-lb; `latest` is the newest\n", 1},
		{"report a b", "", "error: labctl report: accepts at most 1 arg(s), received 2; see `labctl report --help`\n", 2},
		{"report --junit", "", "error: labctl report: flag needs an argument: --junit; see `labctl report --help`\n", 2},
		{"report compare", "", "error: labctl report compare: requires at least 1 arg(s), only received 0; see `labctl report compare --help`\n", 2},
	} {
		code, out, errOut := labctl(tt.line)
		if code != tt.code || out != tt.out || errOut != tt.errOut {
			t.Errorf("labctl %s: exit code %d, want %d\nstdout %q\nwant   %q\nstderr %q\nwant   %q", tt.line, code, tt.code, out, tt.out, errOut, tt.errOut)
		}
	}
	for _, name := range []string{"20261125T102747Z-scenario-lb", "20261125T102615Z-create"} {
		for _, f := range []string{"report.html", "report.json"} {
			if _, err := os.Stat(filepath.Join("artifacts", name, f)); err != nil {
				t.Error(err)
			}
		}
	}
}

// A path needs no lab.toml, not even a sound one.
func TestReportWithoutLab(t *testing.T) {
	labctl := reportLab(t)
	if err := os.WriteFile("lab.toml", []byte("wokers = 3\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, out, errOut := labctl("report ./artifacts/20261125T102615Z-create"); code != 0 || errOut != "" {
		t.Errorf("exit code %d, %q, %q", code, out, errOut)
	}
	if code, _, errOut := labctl("report"); code != 2 || !strings.HasPrefix(errOut, "error: lab.toml:1: wokers: unknown key") {
		t.Errorf("exit code %d, %q", code, errOut)
	}
}

func TestReportFormats(t *testing.T) {
	labctl := reportLab(t)
	code, out, errOut := labctl("report --json --junit lb.xml")
	if code != 0 || errOut != "" {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	var r struct{ Verdict, Summary string }
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if r.Verdict != "PASS" || r.Summary != "5 of 5 checks held; 16 answers from 4 replicas on 2 nodes" {
		t.Errorf("report.json says %q, %q", r.Verdict, r.Summary)
	}
	data, err := os.ReadFile("artifacts/latest/report.json")
	if err != nil {
		t.Fatal(err)
	}
	if string(data) != out {
		t.Error("--json prints something else than report.json")
	}
	data, err = os.ReadFile("lb.xml")
	if err != nil {
		t.Fatal(err)
	}
	var suites struct {
		XMLName xml.Name `xml:"testsuites"`
		Tests   int      `xml:"tests,attr"`
	}
	if err := xml.Unmarshal(data, &suites); err != nil || suites.Tests != 12 {
		t.Errorf("JUnit: %d tests, %v", suites.Tests, err)
	}
	if code, _, errOut := labctl("report --junit none/lb.xml"); code != 1 || errOut != "error: open none/lb.xml: no such file or directory\n" {
		t.Errorf("exit code %d, %q", code, errOut)
	}
}

func TestReportCompareCommand(t *testing.T) {
	labctl := reportLab(t)
	labctl("report")
	code, out, errOut := labctl("report compare latest handed-in/trainee1/artifacts/20261124T090000Z-scenario-lb -o page.html")
	if code != 0 || errOut != "" {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	head, _, _ := strings.Cut(out, "\n\n")
	want := `   RUN                                    WHAT                             VERDICT  CHECKS  TOOK   NODES  DOCKER          LABCTL
1  20261125T102747Z-scenario-lb           4-1 Load balancing across hosts  PASS     5 of 5  1m09s  2      20.10.24+dfsg1  (devel)
2  trainee1/20261124T090000Z-scenario-lb  4-1 Load balancing across hosts  PASS     5 of 5  1m09s  2      20.10.24+dfsg1  (devel)`
	if d := cmp.Diff(want, head); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	data, err := os.ReadFile("page.html")
	if err != nil {
		t.Fatal(err)
	}
	// Only of the one that has a report there is a link.
	if n := strings.Count(string(data), `href="./artifacts/20261125T102747Z-scenario-lb/report.html"`); n != 1 || strings.Count(string(data), `href="./`) != 1 {
		t.Errorf("%d links to the first report, %d in all", n, strings.Count(string(data), `href="./`))
	}
	code, out, errOut = labctl("report compare latest none ./nowhere")
	if want := "error: there is no run \"none\" in "; code != 1 || out != "" || !strings.HasPrefix(errOut, want) || !strings.Contains(errOut, "lstat nowhere: no such file or directory") {
		t.Errorf("exit code %d\n%s\n%s", code, out, errOut)
	}
}

// An archive can be compared and read, and nothing is left of unpacking it.
func TestReportArchive(t *testing.T) {
	labctl := reportLab(t)
	t.Setenv("TMPDIR", t.TempDir())
	file, err := artifact.Archive("artifacts/20261125T102747Z-scenario-lb")
	if err != nil {
		t.Fatal(err)
	}
	code, out, errOut := labctl("report compare " + file)
	if want := "1  20261125T102747Z-scenario-lb  4-1 Load balancing across hosts  PASS "; code != 0 || errOut != "" || !strings.Contains(out, want) {
		t.Errorf("exit code %d\n%s\n%s", code, out, errOut)
	}
	code, out, _ = labctl("report --json " + file)
	_, folder, _ := labctl("report --json latest")
	if code != 0 || out != folder {
		t.Errorf("exit code %d; report.json of the archive differs from the folder's:\n%s", code, cmp.Diff(folder, out))
	}
	code, out, errOut = labctl("report " + file)
	if want := "error: " + file + " is an archive, in which no report can be put; unpack it first: tar -xzf " + file + "\n"; code != 2 || out != "" || errOut != want {
		t.Errorf("exit code %d\n%s\n%s", code, out, errOut)
	}
	if left, _ := os.ReadDir(os.TempDir()); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestReportOpen(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("fakes xdg-open")
	}
	labctl := reportLab(t)
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	if code, _, errOut := labctl("report --open artifacts/latest"); code != 1 || !strings.HasPrefix(errOut, "error: open artifacts/latest/report.html with xdg-open: ") {
		t.Errorf("without a program to open it: exit code %d, %q", code, errOut)
	}
	if err := os.WriteFile(filepath.Join(bin, "xdg-open"), []byte("#!/bin/sh\necho \"$1\" >opened\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if code, out, errOut := labctl("report --open artifacts/latest"); code != 0 || out != "artifacts/latest/report.html\n" || errOut != "" {
		t.Errorf("exit code %d, %q, %q", code, out, errOut)
	}
	if data, err := os.ReadFile("opened"); err != nil || string(data) != "artifacts/latest/report.html\n" {
		t.Errorf("opened %q, %v", data, err)
	}
}
