package report

import (
	"bytes"
	"encoding/xml"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Folders of runs that were killed, are old, or were damaged still make a
// report, which says what is wrong with them.
func TestBrokenFolders(t *testing.T) {
	remove := func(names ...string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			for _, n := range names {
				if err := os.RemoveAll(filepath.Join(dir, n)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	put := func(name, text string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	const noManifest = "there is no manifest.json that can be read: the command was killed, or is still at work"
	for _, c := range []struct {
		name, run        string
		spoil            func(*testing.T, string)
		verdict, summary string
		notes            []string
	}{
		{"killed while it created", "create", func(t *testing.T, dir string) {
			remove("manifest.json")(t, dir)
			events := read(t, filepath.Join(dir, "events.jsonl"))
			put("events.jsonl", string(events[:len(events)*3/4]))(t, dir)
		}, "UNFINISHED", "it ended while at work; the last that was heard: docker2: install docker done", []string{
			noManifest, "events.jsonl, line 18, is no event, and what follows it is not read: unexpected end of JSON input",
		}},
		{"nothing but a log", "create", remove("manifest.json", "events.jsonl", "vagrant.log"), "UNFINISHED", "it ended while at work", []string{noManifest}},
		{"killed after the verdict", "lb", remove("manifest.json", "events.jsonl"), "PASS",
			"5 of 5 checks held; 16 answers from 4 replicas on 2 nodes", []string{noManifest}},
		{"of a later labctl", "create", func(t *testing.T, dir string) {
			m := read(t, filepath.Join(dir, "manifest.json"))
			put("manifest.json", strings.Replace(string(m), `"schema":1`, `"schema":99,"new":[1]`, 1))(t, dir)
		}, "OK", "the lab is ready: 2 nodes", []string{
			"manifest.json has the schema 99, and this labctl knows those up to 1: the report may lack something",
		}},
		{"another type than expected", "create", func(t *testing.T, dir string) {
			m := read(t, filepath.Join(dir, "manifest.json"))
			put("manifest.json", strings.Replace(string(m), `"tools":{}`, `"tools":[]`, 1))(t, dir)
		}, "OK", "the lab is ready: 2 nodes", []string{
			"manifest.json is not as it should be: json: cannot unmarshal array into Go struct field manifest.tools of type map[string]string",
		}},
		{"cut in the middle", "lb", put("result.json", `{"file":"lb.md","blocks":[{"name":"lb.m`), "PASS", "it ended as it should", []string{
			"result.json is not as it should be: unexpected end of JSON input",
		}},
		{"files are gone", "create", remove("vagrant.log"), "OK", "the lab is ready: 2 nodes", []string{
			"vagrant.log is listed in manifest.json, but it is not there",
		}},
		{"another page's transcript", "lb", put("transcript.md", "# Hello\n"), "PASS", "5 of 5 checks held; 16 answers from 4 replicas on 2 nodes", []string{
			"transcript.md does not fit result.json: the blocks are shown without their commands",
		}},
		{"a file that is no file", "create", func(t *testing.T, dir string) {
			remove("events.jsonl")(t, dir)
			if err := os.Mkdir(filepath.Join(dir, "events.jsonl"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, "OK", "the lab is ready: 2 nodes", []string{
			"events.jsonl is listed in manifest.json, but it is not there", "events.jsonl is not read: it is no regular file",
		}},
		{"a link that leads out", "create", func(t *testing.T, dir string) {
			remove("events.jsonl")(t, dir)
			outside := filepath.Join(t.TempDir(), "secret")
			if err := os.WriteFile(outside, []byte("secret"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(outside, filepath.Join(dir, "events.jsonl")); err != nil {
				t.Fatal(err)
			}
		}, "OK", "the lab is ready: 2 nodes", []string{
			"events.jsonl is listed in manifest.json, but it is not there", "events.jsonl is not read: it is no regular file",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "a link that leads out" && runtime.GOOS == "windows" {
				t.Skip("links need rights there")
			}
			dir := filepath.Join(t.TempDir(), "20261125T102615Z-"+c.run)
			if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata/runs", c.run))); err != nil {
				t.Fatal(err)
			}
			c.spoil(t, dir)
			if err := Write(dir); err != nil {
				t.Fatal(err)
			}
			r, err := Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			if r.Verdict != c.verdict || r.Summary != c.summary {
				t.Errorf("verdict %q, summary %q; want %q, %q", r.Verdict, r.Summary, c.verdict, c.summary)
			}
			if d := cmp.Diff(c.notes, r.Notes); d != "" {
				t.Errorf("notes (-want +got):\n%s", d)
			}
			_, _, text := markup(t, read(t, filepath.Join(dir, HTMLName)))
			for _, n := range append(c.notes, "What is wrong with this folder") {
				if !strings.Contains(text, n) {
					t.Errorf("the page does not say: %s", n)
				}
			}
		})
	}
}

// A create that was killed shows which step did not end.
func TestUnfinishedStep(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "20261125T102615Z-create")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	events := `{"time":"2026-11-25T10:26:16Z","node":"docker1","step":"boot","state":"started"}
{"time":"2026-11-25T10:26:46Z","node":"docker1","step":"boot","state":"progress","detail":"waiting for SSH","elapsed_ns":30000000000}
`
	if err := os.WriteFile(filepath.Join(dir, "events.jsonl"), []byte(events), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []Step{{Node: "docker1", Name: "boot", State: "started", Detail: "waiting for SSH", Seconds: 30}}
	if d := cmp.Diff(want, r.Steps); d != "" {
		t.Errorf("steps (-want +got):\n%s", d)
	}
	if r.Command != "create" || r.Seconds != 30 || r.Started.Format("15:04:05") != "10:26:16" {
		t.Errorf("command %q, %v s, started %v", r.Command, r.Seconds, r.Started)
	}
	c := stepsChart("x", r)
	if got := c.Rows[1].Value; got != "not ended, 30 s" {
		t.Errorf("the chart says %q", got)
	}
}

// FuzzLoad puts two files of somebody else's making into a folder. Whatever
// they hold, there is a report, and it is well-formed.
func FuzzLoad(f *testing.F) {
	names := []string{manifestName, resultName, eventsName, transcriptName, diagnoseName,
		"nodes/docker1/docker/nodes.json", "nodes/docker1/docker/services.json", "nodes/docker1/docker/tasks.json",
		"nodes/docker1/docker/networks.json", "nodes/docker1/docker/network-mynet01.json", "nodes/docker1/docker/version.json"}
	for i, name := range names {
		data, err := os.ReadFile(filepath.Join("testdata/runs/lb", filepath.FromSlash(name)))
		if err != nil {
			data = []byte(`{"findings":[{"id":"a-b","severity":"error","symptom":"s","cause":"c","evidence":["e"],"remedy":"r"}]}`)
		}
		f.Add(uint8(i), data)
		f.Add(uint8(i), data[:len(data)/2])
	}
	f.Add(uint8(1), []byte(`{"blocks":[{"start":"9999-01-01T00:00:00Z","duration_ns":-5,"nodes":[{"stdout":"ASKED REPLICA NODE ANSWERS\n1 2 3 99999999999\n"}]}]}`))
	f.Add(uint8(2), []byte(`{"time":"9999-01-01T00:00:00Z","step":"x","state":"weird","elapsed_ns":-9223372036854775808}`+"\n"))
	dir := f.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/runs/lb")); err != nil {
		f.Fatal(err)
	}
	format := schema(f, schemaFile)
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		file := filepath.Join(dir, filepath.FromSlash(names[int(which)%len(names)]))
		was, err := os.ReadFile(file)
		defer func() {
			if err == nil {
				_ = os.WriteFile(file, was, 0o600)
			} else {
				_ = os.Remove(file)
			}
		}()
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		page, err := r.HTML()
		if err != nil {
			t.Fatal(err)
		}
		if foreign, _, _ := markup(t, page); len(foreign) > 0 {
			t.Errorf("the page has markup that is not its own: %q", foreign)
		}
		if bytes.Contains(page, []byte("NaN")) || bytes.Contains(page, []byte("Inf%")) {
			t.Error("the page has places that are no numbers")
		}
		out, err := r.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if err := valid(t, format, out); err != nil {
			t.Error(err)
		}
		junit, err := r.JUnit()
		if err != nil {
			t.Fatal(err)
		}
		if err := xml.Unmarshal(junit, &junitSuites{}); err != nil {
			t.Error(err)
		}
		c := Comparison{Runs: []Compared{{Report: r, Label: "a"}, {Report: r, Label: "b"}}}
		if _, err := c.HTML(); err != nil {
			t.Error(err)
		}
		if err := c.Text(writer(func([]byte) {})); err != nil {
			t.Error(err)
		}
	})
}
