package cli

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/artifact"
	"labctl/internal/config"
	"labctl/internal/lab"
)

// What must be taken out by value: passwords as they are and as they are
// written, and the keys that lead to the nodes.
func TestSecrets(t *testing.T) {
	for _, name := range []string{"http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY"} {
		t.Setenv(name, "")
	}
	t.Setenv("HTTPS_PROXY", "me:0f-env@proxy:3128")
	dir := filepath.Join(t.TempDir(), "a [lab]*")
	for name, text := range map[string]string{
		"keys/lab": "-----BEGIN RSA PRIVATE KEY-----\nlab's\n", "keys/lab.pub": "ssh-rsa AAAA\n", "keys/notes": "x\n",
		".vagrant/machines/docker1/virtualbox/private_key": "-----BEGIN OPENSSH PRIVATE KEY-----\ndocker1's\n",
		".vagrant/machines/docker1/virtualbox/id":          "5f3b\n",
	} {
		file := filepath.Join(dir, ".labctl", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l := config.Default()
	l.Docker.Proxy = "http://me:p%40ss@proxy:3128"
	l.Docker.RegistryMirror = "https://mirror.example"
	l.Box.URL = "https://me@boxes.example/x.box"
	l.Box.Mirror = "https://me:m1rr0r@mirror.example/debian"
	got := secrets(&lab.Env{Lab: l, Dir: dir})
	want := []string{
		"p@ss", "p%40ss", "m1rr0r", "m1rr0r", "0f-env",
		"-----BEGIN RSA PRIVATE KEY-----\nlab's\n", "-----BEGIN OPENSSH PRIVATE KEY-----\ndocker1's\n",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("secrets (-want +got):\n%s", d)
	}
	if got := keySecrets(&lab.Env{Dir: filepath.Join(dir, "none")}); got != nil {
		t.Errorf("keys of no lab: %q", got)
	}
}

func TestBoxName(t *testing.T) {
	dir := t.TempDir()
	e := &lab.Env{Dir: dir}
	if got := boxName(e); got != "" {
		t.Errorf("without a Vagrantfile: %q", got)
	}
	if err := os.Mkdir(e.StateDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	text := "# config.vm.box = 'no'\nVagrant.configure('2') do |config|\n  config.vm.box = 'labctl/debian12-0123'\n  config.vm.box_url = 'x'\n"
	if err := os.WriteFile(filepath.Join(e.StateDir(), "Vagrantfile"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := boxName(e); got != "labctl/debian12-0123" {
		t.Errorf("box %q", got)
	}
}

func TestRunInWords(t *testing.T) {
	for want, e := range map[string]artifact.Entry{
		"unfinished": {}, "damaged": {Err: os.ErrInvalid}, "ok": {Manifest: &artifact.Manifest{OK: true}},
		"failed": {Manifest: &artifact.Manifest{}}, "FAIL": {Manifest: &artifact.Manifest{Verdict: "FAIL"}},
	} {
		if got := result(e); got != want {
			t.Errorf("result = %q, want %q", got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1 kB", 999400: "999 kB", 1e6: "1.0 MB", 123456789: "123.5 MB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
	if got := join("a", "", "b"); got != "a, b" {
		t.Errorf("join = %q", got)
	}
	if got := artifactsRoot(&config.Lab{Artifacts: "artifacts"}, "dir"); got != filepath.Join("dir", "artifacts") {
		t.Errorf("artifactsRoot = %q", got)
	}
	abs := t.TempDir()
	if got := artifactsRoot(&config.Lab{Artifacts: abs}, "dir"); got != abs {
		t.Errorf("artifactsRoot = %q", got)
	}
}

// The order in which missing evidence is told: whole nodes before files.
func TestWarnMissing(t *testing.T) {
	var missing []artifact.Missing
	for _, name := range []string{"host/state.json", "nodes/docker1/a.txt", "nodes/docker1/docker/b.json", "nodes/docker2"} {
		missing = append(missing, artifact.Missing{Name: name, Reason: "why"})
	}
	for range 8 {
		missing = append(missing, artifact.Missing{Name: "nodes/docker3/x/y", Reason: "why"})
	}
	var errs told
	a := &app{streams: Streams{Err: &errs}}
	a.warnMissing(artifact.Entry{Manifest: &artifact.Manifest{Missing: missing}})
	want := []string{
		"warning: missing: host/state.json: why\n", "warning: missing: nodes/docker2: why\n",
		"warning: missing: nodes/docker1/a.txt: why\n", "warning: missing: nodes/docker1/docker/b.json: why\n",
	}
	want = append(want, slices.Repeat([]string{"warning: missing: nodes/docker3/x/y: why\n"}, 6)...)
	want = append(want, "warning: missing: 2 more, see `labctl artifacts show`\n")
	if d := cmp.Diff(want, []string(errs)); d != "" {
		t.Errorf("told (-want +got):\n%s", d)
	}
}

// told keeps what is written, one entry a Write.
type told []string

func (l *told) Write(p []byte) (int, error) {
	*l = append(*l, string(p))
	return len(p), nil
}

// What the manifest says of the lab, its nodes and the versions.
func TestInfo(t *testing.T) {
	l := config.Default()
	e := &lab.Env{Lab: l, Dir: t.TempDir(), Cache: t.TempDir(), Version: "v1", State: &lab.State{Provider: config.Embedded, Accel: config.AccelTCG}}
	s := &session{e: e, verdict: "PASS", versions: make(chan map[string]string, 1), stopVersions: func() {}}
	s.versions <- map[string]string{"vagrant": "2.3.4"}
	s.facts = []artifact.NodeFacts{{Docker: "20.10.24", Kernel: "6.1"}, {Docker: "26.1.5"}}
	got := s.info(t.Context(), nil)
	want := artifact.Info{
		OK: true, Verdict: "PASS", Version: "v1", Tools: map[string]string{"vagrant": "2.3.4", "docker": "20.10.24, 26.1.5"},
		Lab: &artifact.LabInfo{Name: "lab", Provider: "embedded", Acceleration: "tcg", Subnet: "192.168.33.0/24"},
		Nodes: []artifact.NodeInfo{
			{Name: "docker1", Role: "manager", LabIP: "192.168.33.11", NodeFacts: s.facts[0]},
			{Name: "docker2", Role: "worker", LabIP: "192.168.33.12", NodeFacts: s.facts[1]},
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("info (-want +got):\n%s", d)
	}

	// Interrupted, nobody waits for a program that does not answer.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.versions, s.facts = make(chan map[string]string), nil
	got = s.info(ctx, context.Canceled)
	if d := cmp.Diff(map[string]string{}, got.Tools); d != "" || got.OK || got.Err == nil || len(got.Nodes) != 2 {
		t.Errorf("interrupted: %+v", got)
	}
}
