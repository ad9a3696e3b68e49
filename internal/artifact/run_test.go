package artifact

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var begun = time.Date(2024, 5, 6, 9, 8, 9, 0, time.FixedZone("", 7200))

func newRun(t *testing.T, command string) *Run {
	t.Helper()
	r, err := New(filepath.Join(t.TempDir(), "artifacts"), command, begun)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close(Info{}) })
	return r
}

func write(t *testing.T, r *Run, name, text string) {
	t.Helper()
	if err := r.Write(name, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestFolders(t *testing.T) {
	root := filepath.Join(t.TempDir(), "a", "artifacts")
	var got []string
	for _, command := range []string{"scenario lb", "scenario lb", "scenario ../x/ÄB.md", ""} {
		r, err := New(root, command, begun)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, filepath.Base(r.Dir()))
		write(t, r, "nodes/docker1/uname.txt", "x")
		if err := r.Close(Info{}); err != nil {
			t.Fatal(err)
		}
		err = filepath.WalkDir(r.Dir(), func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			want := fs.FileMode(0o600)
			if d.IsDir() {
				want = 0o700
			}
			if err == nil && runtime.GOOS != "windows" && info.Mode().Perm() != want {
				t.Errorf("%s has mode %v, want %v", p, info.Mode().Perm(), want)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	want := []string{
		"20240506T070809Z-scenario-lb", "20240506T070809Z-scenario-lb-2",
		"20240506T070809Z-scenario-x-b-md", "20240506T070809Z-run",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("folders (-want +got):\n%s", d)
	}
	latest := filepath.Join(root, "latest")
	if runtime.GOOS == "windows" {
		if s := read(t, latest); s != want[3]+"\n" {
			t.Errorf("latest says %q", s)
		}
	} else if to, err := os.Readlink(latest); to != want[3] || err != nil {
		t.Errorf("latest points at %q, %v, want %q", to, err, want[3])
	}
}

func TestNamesStayInside(t *testing.T) {
	r := newRun(t, "create")
	for _, name := range []string{"", ".", "..", "../x", "a/../../x", "a/../x", "/etc/x", "a//b", "a/", `a\b`, `..\x`, "C:x", "a\x00b"} {
		want := fmt.Sprintf("artifact name %q: must be a relative path within the run's folder", name)
		if err := r.Write(name, nil); err == nil || err.Error() != want {
			t.Errorf("Write(%q) = %v, want %s", name, err, want)
		}
		if _, err := r.Create(name); err == nil || err.Error() != want {
			t.Errorf("Create(%q) = %v, want %s", name, err, want)
		}
	}
	want := `artifact name "Manifest.json": is kept for the manifest`
	if err := r.Write("Manifest.json", nil); err == nil || err.Error() != want {
		t.Errorf("Write = %v, want %s", err, want)
	}
	if runtime.GOOS == "windows" {
		return
	}
	// Nor through a link that somebody put there.
	outside := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(r.Dir(), "link")); err != nil {
		t.Fatal(err)
	}
	if err := r.Write("link/x", nil); err == nil {
		t.Error("Write followed a link out of the folder")
	}
	if left, _ := os.ReadDir(outside); len(left) > 0 {
		t.Errorf("%v lies outside", left)
	}
}

func TestStream(t *testing.T) {
	r := newRun(t, "create")
	s, err := r.Create("logs/a.log")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(r.Dir(), "logs", "a.log")
	say := func(text string) {
		t.Helper()
		if n, err := io.WriteString(s, text); n != len(text) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	say("one\ntwo")
	if got := read(t, file); got != "one\n" {
		t.Errorf("complete lines: %q", got)
	}
	long := strings.Repeat("0123456789abcde ", longestLine/16-1) + token
	say("\n" + long)
	say(" and the end")
	if err := r.Close(Info{}); err != nil {
		t.Fatal(err)
	}
	say("dropped")
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	want := "one\ntwo\n" + strings.ReplaceAll(long, token, redacted) + " and the end"
	if got := read(t, file); got != want {
		t.Errorf("%d bytes ending with %q, want %d", len(got), got[max(0, len(got)-80):], len(want))
	}
	if err := r.Write("late.txt", nil); err == nil || err.Error() != "write artifact late.txt: the run is closed" {
		t.Errorf("Write after Close = %v", err)
	}
}

func TestManifest(t *testing.T) {
	r := newRun(t, "scenario lb")
	write(t, r, "transcript.md", "# <4-1>\n")
	write(t, r, "nodes/docker1/uname.txt", "Linux\n")
	write(t, r, "nodes/docker1/uname.txt", "Linux docker1\n")
	r.Missing("nodes/docker2", "no answer within 2m0s")
	r.Missing("nodes/docker1/boot.txt", "exit code 1: <bootup> is not yet finished")
	r.Missing("nodes/docker2", "no answer within 2m0s")
	err := r.Close(Info{
		Finished: begun.Add(90 * time.Second), Verdict: "FAIL", Err: errors.New("lb.md:12: check failed"), Version: "v0.1.0",
		Tools: map[string]string{"vagrant": "2.3.4", "docker": "20.10.24"},
		Nodes: []NodeInfo{{Name: "docker1", Role: "manager", LabIP: "192.168.33.11"}, {Name: "docker2", Role: "worker", LabIP: "192.168.33.12"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(Info{OK: true}); err != nil {
		t.Error(err)
	}
	golden(t, "manifest.json", read(t, filepath.Join(r.Dir(), "manifest.json")))

	empty := newRun(t, "status")
	if err := empty.Close(Info{Finished: begun, OK: true, Version: "v0.1.0"}); err != nil {
		t.Fatal(err)
	}
	golden(t, "manifest-empty.json", read(t, filepath.Join(empty.Dir(), "manifest.json")))
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := bytes.ReplaceAll([]byte(read(t, file)), []byte("\r\n"), []byte("\n"))
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got), -update rewrites it:\n%s", name, d)
	}
}

func TestLatestInTheWay(t *testing.T) {
	r := newRun(t, "create")
	latest := filepath.Join(filepath.Dir(r.Dir()), "latest")
	if err := os.MkdirAll(filepath.Join(latest, "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	err := r.Close(Info{})
	if err == nil || !strings.HasPrefix(err.Error(), "point "+latest+" at this run: ") {
		t.Errorf("Close = %v", err)
	}
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(latest), ".latest*"))
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	read(t, filepath.Join(r.Dir(), "manifest.json"))
}
