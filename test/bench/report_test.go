//go:build linux

package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/ui"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (- it, + now):\n%s", file, diff)
	}
}

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// at is an event so many seconds after the start of the process.
func at(seconds float64, node, step string, state ui.State, detail string) ui.Event {
	return ui.Event{Time: start.Add(time.Duration(seconds * float64(time.Second))), Node: node, Step: step, State: state, Detail: detail}
}

// events are those of a small create: node n2 boots more slowly, but n1's
// install takes longest, and n2's join waits for n1.
func events() []ui.Event {
	return []ui.Event{
		at(0.1, "", "render", ui.Started, ""), at(0.2, "", "render", ui.Done, ""),
		at(0.2, "n1", "boot", ui.Started, ""), at(0.21, "n2", "boot", ui.Started, ""),
		at(0.3, "n1", "boot", ui.Progress, "creating"), at(8, "n1", "boot", ui.Progress, "waiting"),
		at(10, "n1", "boot", ui.Done, ""), at(10.01, "n1", "install", ui.Started, ""),
		at(12, "n2", "boot", ui.Done, ""), at(12.01, "n2", "install", ui.Started, ""),
		at(30, "n2", "install", ui.Done, ""), at(31, "n1", "install", ui.Done, ""),
		at(31.01, "n1", "init", ui.Started, ""), at(32, "n1", "init", ui.Done, ""),
		at(32.05, "n2", "join", ui.Started, ""), at(33, "n2", "join", ui.Done, ""),
		at(33.01, "", "verify", ui.Started, ""), at(33.5, "", "verify", ui.Kept, ""),
		at(33.5, "", "snapshot", ui.Skipped, ""), at(33.6, "n1", "evidence", ui.Progress, "gathering"), at(33.9, "n1", "evidence", ui.Done, ""),
	}
}

func TestTimeline(t *testing.T) {
	tl := newTimeline(1, coldCreate, start, 34*time.Second, events())
	var path []string
	for _, s := range tl.critical() {
		path = append(path, s.label())
	}
	if diff := cmp.Diff([]string{"render", "n1 boot", "n1 install", "n1 init", "n2 join", "verify", "n1 evidence"}, path); diff != "" {
		t.Errorf("critical path: %s", diff)
	}
	if diff := cmp.Diff([]Part{{"creating", 0.3, 8}, {"waiting", 8, 10}}, tl.Steps[1].Parts); diff != "" {
		t.Errorf("parts of n1's boot: %s", diff)
	}
	s := Step{Parts: []Part{{"looking", 0, 0.5}, {"sending packages: 4, 100.2 MB", 1, 2}, {"sent 12 of 100 MB", 2, 3}, {"sent 99 of 100 MB", 3, 4.5}, {"unpacking", 4.5, 30}}}
	if diff := cmp.Diff([]Part{{"sending packages", 1, 4.5}, {"unpacking", 4.5, 30}}, s.longParts()); diff != "" {
		t.Errorf("long parts: %s", diff)
	}
	if n := len(newTimeline(1, coldCreate, start, time.Second, nil).critical()); n != 0 {
		t.Errorf("no events, but %d critical steps", n)
	}
}

// result is one in which all targets but one are met.
func result() *Result {
	r := &Result{
		Schema: 1, Date: start, Command: command(options{rounds: 2}), Rounds: 2,
		Machine:  Machine{CPU: "A <CPU>", Cores: 2, MemoryMB: 4096, Acceleration: "tcg"},
		Versions: map[string]string{"vagrant": "2.3.4", "labctl": "abc"},
		Counts: []Count{
			{Round: 1, Side: sideLabctl, VagrantCalls: 5, Handshakes: 6, Commands: 10, Sent: 200e6, Logins: map[string]int{"docker1": 3, "docker2": 4}},
			{Round: 1, Side: sideParallel, Logins: map[string]int{"docker1": 9, "docker2": 8}},
		},
		Timelines: []Timeline{newTimeline(1, coldCreate, start, 34*time.Second, events())},
	}
	r.Samples = []Sample{
		{1, sideLabctl, coldCreate, 80, 1.5}, {2, sideLabctl, coldCreate, 100, 0.5}, {1, sideParallel, create, 200, 1}, {2, sideParallel, create, 180, 1},
		{1, sideSequential, create, 400, 1}, {1, sideLabctl, reset, 4, 1}, {1, sideLabctl, status, 0.3, 1}, {1, sideParallel, status, 2, 1},
		{1, sideLabctl, execTrue, 0.1, 1}, {1, sideParallel, execTrue, 2.5, 1}, {2, sideParallel, execTrue, 2.4, 1}, {2, sideParallel, execTrue, 9, 1},
	}
	return r
}

func TestReport(t *testing.T) {
	r := result()
	golden(t, "testdata/report.golden", r.report())
	golden(t, "testdata/report.svg", r.svg())
	d := xml.NewDecoder(strings.NewReader(r.svg()))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the drawing is no XML: %v", err)
		}
	}
}

// What is saved is what is shown again.
func TestSaveAndShow(t *testing.T) {
	r := result()
	r.Incomplete = "interrupted"
	dir := filepath.Join(t.TempDir(), "bench")
	file, err := r.save(dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "20260102T030405Z.json"); file != want {
		t.Errorf("saved as %s, want %s", file, want)
	}
	if _, err := os.Stat(strings.TrimSuffix(file, ".json") + ".svg"); err != nil {
		t.Error(err)
	}
	var out, errOut bytes.Buffer
	if code := run([]string{"-show", file}, &out, &errOut); code != 0 || errOut.Len() > 0 {
		t.Errorf("exit code %d, %s", code, &errOut)
	}
	if diff := cmp.Diff(r.report(), out.String()); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(out.String(), "\nNOT WHOLE: interrupted\n") {
		t.Error("it does not say that it is not whole")
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"word"}, {"-rounds", "0"}, {"-nonsense"}} {
		var out, errOut bytes.Buffer
		if code := run(args, &out, &errOut); code != 2 || errOut.Len() == 0 {
			t.Errorf("%v: exit code %d, %q", args, code, errOut.String())
		}
	}
	for _, sizes := range []string{"0", "2,", "two"} {
		var out, errOut bytes.Buffer
		if code := run([]string{"-sizes", sizes}, &out, &errOut); code != 2 || errOut.String() != "error: -sizes "+sizes+": want numbers of nodes with commas between, such as 2,4,6,8\n" {
			t.Errorf("%s: exit code %d, %q", sizes, code, errOut.String())
		}
	}
	if got, want := command(options{rounds: 2, sizes: []int{2, 8}}), "make bench BENCH='-rounds 2 -sizes 2,8'"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	var out, errOut bytes.Buffer
	if code := run([]string{"-show", "nothing.json"}, &out, &errOut); code != 1 || errOut.String() != "error: open nothing.json: no such file or directory\n" {
		t.Errorf("exit code %d, %q", code, errOut.String())
	}
}

func TestMedian(t *testing.T) {
	r := &Result{}
	if _, ok := r.median(sideLabctl, status); ok {
		t.Error("there is a median of nothing")
	}
	for i, want := range []float64{5, 4, 5, 6} { // of 5; 5 3; 5 3 9; 5 3 9 7
		r.Samples = append(r.Samples, Sample{1, sideLabctl, status, []float64{5, 3, 9, 7}[i], 0})
		if got, _ := r.median(sideLabctl, status); got != want {
			t.Errorf("median of %v is %v, want %v", r.values(sideLabctl, status), got, want)
		}
	}
}

func TestOrder(t *testing.T) {
	for _, tt := range []struct {
		round int
		quick bool
		want  []string
	}{
		{1, false, []string{sideLabctl, sideParallel, sideSequential}},
		{2, false, []string{sideSequential, sideParallel, sideLabctl}},
		{1, true, []string{sideLabctl, sideParallel}},
		{2, true, []string{sideParallel, sideLabctl}},
	} {
		if diff := cmp.Diff(tt.want, order(tt.round, tt.quick)); diff != "" {
			t.Errorf("round %d, quick %v: %s", tt.round, tt.quick, diff)
		}
	}
}

func TestReadEvents(t *testing.T) {
	got, rest := readEvents([]byte("provider embedded: yes\n" + `{"time":"2026-01-02T03:04:05Z","node":"n1","step":"boot","state":"started"}` + "\n{\"no\":1}\nlast"))
	if len(got) != 1 || got[0].Step != "boot" || rest != "provider embedded: yes\n{\"no\":1}\nlast" {
		t.Errorf("%+v, %q", got, rest)
	}
}
