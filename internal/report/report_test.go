package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/scenario"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func read(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func load(t *testing.T, name string) *Report {
	t.Helper()
	r, err := Load(filepath.Join("testdata/runs", name))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// What is made of real runs. Of the blocks only names, times and verdicts are
// compared: the rest is in the run's own files, as it is in the report.
func TestGolden(t *testing.T) {
	for _, name := range []string{"lb", "ping", "subnet", "quorum", "create"} {
		t.Run(name, func(t *testing.T) {
			r := load(t, name)
			if r.Scenario != nil {
				for i := range r.Scenario.Chapters {
					for j := range r.Scenario.Chapters[i].Blocks {
						b := &r.Scenario.Chapters[i].Blocks[j]
						if b.Verdict != "skipped" && (b.Script == "" || b.Text == "" || len(b.Nodes) == 0) {
							t.Errorf("%s lacks script, text or nodes", b.Name)
						}
						b.Script, b.Text, b.Nodes = "", "", []Output{}
					}
				}
			}
			got, err := r.JSON()
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".golden.json")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if d := cmp.Diff(string(read(t, file)), string(got)); d != "" {
				t.Errorf("report.json (-golden +got):\n%s", d)
			}
		})
	}
}

// The same folder gives the same bytes, wherever it lies and however often it
// was reported on.
func TestSameBytes(t *testing.T) {
	var pages, data [][]byte
	for range 2 {
		dir := filepath.Join(t.TempDir(), "lb")
		if err := os.CopyFS(dir, os.DirFS("testdata/runs/lb")); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("lb", filepath.Join(filepath.Dir(dir), "latest")); err != nil {
			t.Fatal(err)
		}
		for _, d := range []string{dir, filepath.Join(filepath.Dir(dir), "latest")} {
			if err := Write(d); err != nil {
				t.Fatal(err)
			}
			pages = append(pages, read(t, filepath.Join(dir, HTMLName)))
			data = append(data, read(t, filepath.Join(dir, JSONName)))
		}
		list, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if strings.HasPrefix(e.Name(), ".") {
				t.Errorf("left behind: %s", e.Name())
			}
			if info, _ := e.Info(); strings.HasPrefix(e.Name(), "report.") && runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
				t.Errorf("%s has the mode %v", e.Name(), info.Mode())
			}
		}
	}
	for i := range pages {
		if !bytes.Equal(pages[0], pages[i]) || !bytes.Equal(data[0], data[i]) {
			t.Errorf("report %d differs from the first", i)
		}
	}
}

// The page of scenario 4-1 answers what one asks first.
func TestPageAnswers(t *testing.T) {
	page, err := load(t, "lb").HTML()
	if err != nil {
		t.Fatal(err)
	}
	_, _, text := markup(t, page)
	text = strings.Join(strings.Fields(text), " ")
	for _, s := range []string{
		"✓ PASS 4-1 Load balancing across hosts 5 of 5 checks held; 16 answers from 4 replicas on 2 nodes took 1m09s checks held 5 of 5 nodes 2 docker1, docker2 Docker 20.10.24+dfsg1",
		"192.168.33.11: 8 answers, 2 from each of 4 replicas on 2 nodes 192.168.33.12: 8 answers, 2 from each of 4 replicas on 2 nodes",
		"docker1 manager, leader 192.168.33.11 Docker 20.10.24",
		"test01: port 8080 to 80/tcp",
		"mynet01 · 172.100.0.0/24 · overlay",
		"passed on docker1, 34 s, 8 tries",
	} {
		if !strings.Contains(text, s) {
			t.Errorf("the page does not say: %s", s)
		}
	}
	if t.Failed() {
		t.Logf("it says:\n%s", text)
	}
}

// Logs are linked, not read: a folder with a huge one is reported on at once.
func TestHugeLogs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lb")
	if err := os.CopyFS(dir, os.DirFS("testdata/runs/lb")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"labctl.log", "vagrant.log", "nodes/docker1/docker/containers.json"} {
		if err := os.Truncate(filepath.Join(dir, name), 1<<40); err != nil && !os.IsNotExist(err) {
			t.Skip(err) // a file system without holes
		}
	}
	if err := os.Truncate(filepath.Join(dir, "transcript.md"), 1<<40); err != nil {
		t.Skip(err)
	}
	start := time.Now()
	r, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	want := []string{"transcript.md is not read: it has 1048576 MiB, more than 16"}
	if d := cmp.Diff(want, r.Notes); d != "" {
		t.Errorf("notes (-want +got):\n%s", d)
	}
	if b := r.Scenario.Chapters[0].Blocks[0]; b.Script != "" || b.Nodes[0].Stdout == "" {
		t.Errorf("without its transcript the block has the script %q and the output %q", b.Script, b.Nodes[0].Stdout)
	}
}

func TestLongOutput(t *testing.T) {
	got := clip(strings.Repeat("a", 100)+"é the end", 9)
	if got != "… (the beginning is left out)\n the end" {
		t.Errorf("clip cut to %q", got)
	}
	if got := clip("short", 9); got != "short" {
		t.Errorf("clip made %q", got)
	}
}

func TestWriteFails(t *testing.T) {
	if err := Write(filepath.Join(t.TempDir(), "none")); err == nil || !strings.HasPrefix(err.Error(), "read the run's folder: ") {
		t.Errorf("a folder that is not there: %v", err)
	}
	empty := t.TempDir()
	err := Write(empty)
	if want := empty + " is no run's folder: it has neither manifest.json nor result.json nor events.jsonl"; err == nil || err.Error() != want {
		t.Errorf("an empty folder: %v", err)
	}
	if list, _ := os.ReadDir(empty); len(list) > 0 {
		t.Errorf("something was written: %v", list)
	}
	taken := filepath.Join(t.TempDir(), "run")
	if err := os.MkdirAll(filepath.Join(taken, HTMLName, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(taken, "labctl.log"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Write(taken); err == nil || !strings.HasPrefix(err.Error(), "write the report: ") {
		t.Errorf("a folder in the way: %v", err)
	}
}

func TestJSONIsOwnFormat(t *testing.T) {
	data, err := load(t, "subnet").JSON()
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	again, err := back.JSON()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(data, again) {
		t.Error("report.json does not read back as it was written")
	}
}

// failed makes scenario 4-1 fail in a copy of its run: one replica gave no
// answer.
func failed(t *testing.T, dir string) {
	t.Helper()
	file := filepath.Join(dir, resultName)
	var res scenario.Result
	if err := json.Unmarshal(read(t, file), &res); err != nil {
		t.Fatal(err)
	}
	for i := range res.Blocks {
		b := &res.Blocks[i]
		if b.Line == 217 {
			n := &b.Nodes[0]
			n.Stdout = strings.Replace(n.Stdout, "test01.3         docker2          2", "test01.3         docker2          0", 1) +
				"192.168.33.11: test01.3 on docker2 answered none of 8 requests\n"
			n.Verdict, n.Reason, n.ExitCode, n.Tries, b.Verdict = scenario.Failed, "exit code 1", 1, 12, scenario.Failed
			res.Failure = &scenario.Failure{File: "lb.md", Line: 217, Block: b.Name, Chapter: b.Chapter, Node: "docker1", Command: "docker service logs …",
				Output: n.Stdout, Reason: n.Reason, Tries: 12, Deadline: scenario.Span(90 * time.Second)}
		}
		if b.Line == 290 {
			b.Verdict, b.Reason, b.Nodes = scenario.Skipped, "the run had failed", nil
		}
	}
	res.Passed = false
	data, err := json.Marshal(res)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, manifestName)
	m := bytes.Replace(read(t, file), []byte(`"ok":true,"verdict":"PASS"`), []byte(`"ok":false,"verdict":"FAIL","error":"exit code 3"`), 1)
	if err := os.WriteFile(file, m, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A failed run says first why, and shows the block that failed unfolded, the
// others folded.
func TestFailedPage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	if err := os.CopyFS(dir, os.DirFS("testdata/runs/lb")); err != nil {
		t.Fatal(err)
	}
	failed(t, dir)
	if err := Write(dir); err != nil {
		t.Fatal(err)
	}
	page := read(t, filepath.Join(dir, HTMLName))
	_, _, text := markup(t, page)
	text = strings.Join(strings.Fields(text), " ")
	at := 0
	for _, s := range []string{
		"✗ FAIL 4-1 Load balancing across hosts", "4 of 5 checks held; 192.168.33.11: test01.3 on docker2 answered none of 8 requests (lb.md:217 check on docker1); 14 answers from 4 replicas on 2 nodes",
		"Why it failed lb.md:217 check in “The requests” on docker1: exit code 1 (12 attempts, deadline 1m30s)",
		"192.168.33.11: test01.3 on docker2 answered none of 8 requests",
		"192.168.33.11: 6 answers, 0 to 2 from each, from 3 of 4 replicas on 2 nodes",
	} {
		i := strings.Index(text[at:], s)
		if i < 0 {
			t.Fatalf("the page does not say, or not in this place: %s\nafter: %.300s", s, text[at:])
		}
		at += i
	}
	open := strings.Count(string(page), `<details class="block fail" open>`)
	folded := strings.Count(string(page), `<details class="block pass">`) + strings.Count(string(page), `<details class="block none">`)
	if open != 1 || folded != 11 {
		t.Errorf("%d blocks are open and %d folded", open, folded)
	}
}

// All blocks together cannot make the page too large for a browser.
func TestManyOutputs(t *testing.T) {
	r := &Report{room: maxOutputs}
	total := 0
	for range 1000 {
		total += len(r.output(strings.Repeat("x", 100<<10)))
	}
	if most := maxOutputs + 1001*(lastOutput+64) + maxOutput; total > most || total < maxOutputs {
		t.Errorf("%d bytes were taken in, want %d at most", total, most)
	}
	if s := r.output("short"); s != "short" {
		t.Errorf("a short output became %q", s)
	}
}
