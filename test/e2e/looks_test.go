package e2e

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ping is a row of the table of who reaches whom.
var ping = regexp.MustCompile(`\| (A) +([BD]) +(ip|id|name) +172\.100\.0\.\d+ +(\S+) +[\d.]+ `)

// answer is a row of the table of who answered what.
var answer = regexp.MustCompile(`\| (192\.168\.33\.1[12]) +(test01\.[1-4]) +(docker[12]) +(\d+)\n`)

// checkAnswers reads the table in the scenario's output: 16 requests, eight an
// address, answered by all four replicas on both nodes.
func checkAnswers(t *testing.T, out string) {
	t.Helper()
	perAddress, perReplica, nodes := map[string]int{}, map[string]int{}, map[string]bool{}
	rows := answer.FindAllStringSubmatch(out, -1)
	for _, row := range rows {
		n, err := strconv.Atoi(row[4])
		if err != nil {
			t.Fatal(err)
		}
		if n < 1 || n > 3 {
			t.Errorf("%s asked, %s answered %d of 8", row[1], row[2], n)
		}
		perAddress[row[1]] += n
		perReplica[row[2]] += n
		nodes[row[3]] = true
	}
	if want := map[string]int{"192.168.33.11": 8, "192.168.33.12": 8}; !cmp.Equal(perAddress, want) {
		t.Errorf("requests per address %v, want %v\n%s", perAddress, want, out)
	}
	if len(perReplica) != 4 || len(nodes) != 2 {
		t.Errorf("answered by %v on %v", perReplica, nodes)
	}
}

// checkEvidence looks into a scenario's run folder.
func checkEvidence(t *testing.T, dir string) {
	t.Helper()
	var m struct {
		OK      bool
		Verdict string
		Files   []struct{ Name string }
		Missing []struct{ Name, Reason string }
	}
	data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	if !m.OK || m.Verdict != "PASS" {
		t.Errorf("manifest: ok %v, verdict %q", m.OK, m.Verdict)
	}
	var names []string
	for _, f := range m.Files {
		names = append(names, f.Name)
	}
	for _, want := range []string{
		"result.json", "transcript.md", "labctl.log", "events.jsonl", "host/Vagrantfile", "host/lab.toml",
		"nodes/docker1/docker/node-ls.txt", "nodes/docker1/docker/network-mynet01.json",
		"nodes/docker1/journal-docker.txt", "nodes/docker2/journal-docker.txt", "nodes/docker2/docker/network-mynet01.json",
	} {
		if !slices.Contains(names, want) {
			t.Errorf("no %s among\n%s", want, strings.Join(names, "\n"))
		}
	}
	if len(m.Missing) > 0 {
		t.Errorf("missing: %+v", m.Missing)
	}
	// The evidence was taken while the service stood.
	for name, want := range map[string]string{
		"nodes/docker1/docker/service-ps.txt":          "test01.4 ",
		"nodes/docker1/docker/logs/service-test01.log": "response:200",
	} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s lacks %q: %v", name, want, err)
		}
	}
	// Join tokens must be nowhere, in no file.
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), "SWMTKN-1-") {
			t.Errorf("%s holds a join token", path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}
