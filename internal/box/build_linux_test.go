package box

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/apt"
	"labctl/internal/remote"
)

// fakeHost answers apt, and makes of the build what a test wants.
type fakeHost struct {
	build func(work string, c remote.Command) (remote.Result, error)
	calls []string // first word of each
}

func (f *fakeHost) Run(_ context.Context, c remote.Command) (remote.Result, error) {
	f.calls = append(f.calls, c.Argv[0])
	switch c.Argv[0] {
	case "apt-get":
		return remote.Result{Argv: c.Argv, Stdout: "http://m.example/debian/|bookworm|bookworm|Debian|main\n"}, nil
	case "apt-config":
		return remote.Result{Argv: c.Argv, Stdout: "Acquire::http::Proxy \"http://p.example\";\n"}, nil
	case "unshare":
		return f.build(c.Argv[len(c.Argv)-3], c)
	}
	return remote.Result{}, fmt.Errorf("unexpected program %s", c.Argv[0])
}

// say writes what the build prints.
func say(t *testing.T, c remote.Command, stdout, stderr string) {
	t.Helper()
	for w, s := range map[*string]string{&stdout: stdout, &stderr: stderr} {
		out := c.Stdout
		if w == &stderr {
			out = c.Stderr
		}
		if _, err := out.Write([]byte(s)); err != nil {
			t.Error(err)
		}
	}
}

func newBuilder(t *testing.T, host *fakeHost) (builder, *[]string) {
	t.Helper()
	release := filepath.Join(t.TempDir(), "os-release")
	write(t, release, "ID=debian\nVERSION_CODENAME=bookworm\n")
	var progress []string
	return builder{
		Options: Options{
			CacheDir: t.TempDir(), Host: host,
			Progress: func(s string) { progress = append(progress, s) },
		},
		osRelease: release,
		lookup:    func(string) bool { return true },
	}, &progress
}

func cached(t *testing.T, b builder) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(b.CacheDir, "boxes"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestBuild(t *testing.T) {
	content := "first"
	host := &fakeHost{}
	b, progress := newBuilder(t, host)
	var log bytes.Buffer
	b.Log = &log
	host.build = func(work string, c remote.Command) (remote.Result, error) {
		want := []string{
			"unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
			"sh", "-eu", work + "/scripts/build.sh", work, "bookworm", "8",
		}
		if diff := cmp.Diff(want, c.Argv); diff != "" {
			t.Errorf("command of the build (-want +got):\n%s", diff)
		}
		for name, want := range map[string]os.FileMode{
			"":                                       0o755,
			"sources.list":                           0o600,
			"apt.conf":                               0o600,
			"packages.txt":                           0o644,
			"scripts/build.sh":                       0o755,
			"image/usr/local/sbin/labctl-hostkeys":   0o755,
			"image/etc/initramfs-tools/hooks/labctl": 0o755,
			"image/etc/fstab":                        0o644,
		} {
			if info, err := os.Stat(filepath.Join(work, name)); err != nil || info.Mode().Perm() != want {
				t.Errorf("work folder: %q: %v, want mode %o", name, err, want)
			}
		}
		list, _ := os.ReadFile(filepath.Join(work, "sources.list"))
		if want := "deb [signed-by=" + apt.Keyring + "] http://m.example/debian bookworm main\n"; string(list) != want {
			t.Errorf("sources.list is %q, want %q", list, want)
		}
		conf, _ := os.ReadFile(filepath.Join(work, "apt.conf"))
		if !strings.HasSuffix(string(conf), "\nAcquire::http::Proxy \"http://p.example\";\n") {
			t.Errorf("apt.conf lacks the host's proxy: %s", conf)
		}
		say(t, c, "progress: compress the disk\n", "")
		write(t, filepath.Join(work, "box.box"), content)
		return remote.Result{Argv: c.Argv}, nil
	}
	// The leavings of a build that was killed.
	write(t, filepath.Join(b.CacheDir, "boxes", ".build-42", "root", "x"), "x")

	got, err := b.build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const hash = "a7937b64b8ca" // sha256sum of "first"
	if got.Name != "labctl/debian12-"+hash || got.Hash != hash || !got.Built {
		t.Errorf("%+v", got)
	}
	if data, err := os.ReadFile(got.Path); err != nil || string(data) != "first" {
		t.Errorf("box file holds %q: %v", data, err)
	}
	if diff := cmp.Diff([]string{"build.log", filepath.Base(got.Path), "lock"}, cached(t, b)); diff != "" {
		t.Errorf("cache (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"reading apt's settings", "compress the disk"}, *progress); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}
	if want := "progress: compress the disk\n"; log.String() != want {
		t.Errorf("log %q, want %q", log.String(), want)
	}

	// The second time it is there.
	host.calls = nil
	again, err := b.build(t.Context())
	if err != nil || again.Built || again.Path != got.Path || len(host.calls) > 0 {
		t.Errorf("second build: %+v %v, ran %v", again, err, host.calls)
	}

	// Built anew, it has another name, and the old one goes.
	content = "second"
	b.Force = true
	anew, err := b.build(t.Context())
	if err != nil || !anew.Built || anew.Name == got.Name {
		t.Errorf("forced build: %+v %v", anew, err)
	}
	if diff := cmp.Diff([]string{"build.log", filepath.Base(anew.Path), "lock"}, cached(t, b)); diff != "" {
		t.Errorf("cache (-want +got):\n%s", diff)
	}
}

func TestBuildFails(t *testing.T) {
	host := &fakeHost{}
	b, _ := newBuilder(t, host)
	host.build = func(_ string, c remote.Command) (remote.Result, error) {
		say(t, c, "", "I: running apt-get update...\nE: Failed to fetch http://m.example\nE: setup failed\n")
		return remote.Result{Argv: c.Argv, ExitCode: 1}, nil
	}
	_, err := b.build(t.Context())
	var failed *BuildError
	if !errors.As(err, &failed) {
		t.Fatalf("error %v", err)
	}
	if want := "box: build failed: Failed to fetch http://m.example"; err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	log := filepath.Join(b.CacheDir, "boxes", "build.log")
	if want := "the whole output is in " + log; failed.Hint() != want {
		t.Errorf("hint %q, want %q", failed.Hint(), want)
	}
	if data, err := os.ReadFile(log); err != nil || !strings.Contains(string(data), "E: setup failed\n") {
		t.Errorf("log %q: %v", data, err)
	}
	if diff := cmp.Diff([]string{"build.log", "lock"}, cached(t, b)); diff != "" {
		t.Errorf("a failed build left something (-want +got):\n%s", diff)
	}
}

func TestBuildInterrupted(t *testing.T) {
	host := &fakeHost{}
	b, _ := newBuilder(t, host)
	ctx, cancel := context.WithCancel(t.Context())
	host.build = func(work string, c remote.Command) (remote.Result, error) {
		write(t, filepath.Join(work, "root", "half"), "x")
		cancel()
		return remote.Result{Argv: c.Argv, ExitCode: -1}, ctx.Err()
	}
	_, err := b.build(ctx)
	if want := "box: build interrupted: context canceled"; !errors.Is(err, context.Canceled) || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if diff := cmp.Diff([]string{"build.log", "lock"}, cached(t, b)); diff != "" {
		t.Errorf("an interrupted build left something (-want +got):\n%s", diff)
	}
}

func TestPreflight(t *testing.T) {
	for _, tt := range []struct {
		name       string
		change     func(*builder)
		fail, hint string
	}{
		{
			"not root", func(b *builder) { b.euid = 1000 },
			"box: building it needs root, for mounts and file owners", "run it with sudo",
		},
		{
			"tools lacking", func(b *builder) {
				b.euid = 1000 // what to install comes first: one sudo for both
				b.lookup = func(f string) bool { return !slices.Contains([]string{"mmdebstrap", "qemu-img", apt.Keyring}, f) }
			},
			"box: not installed on this host: mmdebstrap, qemu-img, " + apt.Keyring,
			"sudo apt-get install mmdebstrap qemu-utils debian-archive-keyring",
		},
		{
			"Ubuntu without a mirror", func(b *builder) {
				b.Release = "bookworm"
				write(t, b.osRelease, "ID=ubuntu\nVERSION_CODENAME=noble\nPRETTY_NAME=\"Ubuntu 24.04\"\n")
			},
			"box: this host is Ubuntu 24.04, so its apt settings say nothing about Debian", "set box.mirror in lab.toml",
		},
	} {
		host := &fakeHost{}
		b, _ := newBuilder(t, host)
		tt.change(&b)
		_, err := b.build(t.Context())
		var hinted interface {
			error
			Hint() string
		}
		if !errors.As(err, &hinted) || err.Error() != tt.fail || hinted.Hint() != tt.hint {
			t.Errorf("%s: error %v, want %q with hint %q", tt.name, err, tt.fail, tt.hint)
		}
		if len(host.calls) > 0 {
			t.Errorf("%s: ran %v", tt.name, host.calls)
		}
	}
}

func TestLookup(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	if lookup("labctl-test-tool") {
		t.Error("found a program that does not exist")
	}
	write(t, filepath.Join(dir, "labctl-test-tool"), "")
	if lookup("labctl-test-tool") {
		t.Error("took a file that cannot be run for a program")
	}
	if err := os.Chmod(filepath.Join(dir, "labctl-test-tool"), 0o755); err != nil {
		t.Fatal(err)
	}
	if !lookup("labctl-test-tool") {
		t.Error("did not find a program in PATH")
	}
}

func TestOutput(t *testing.T) {
	var log bytes.Buffer
	var progress []string
	o := &output{log: &log, progress: func(s string) { progress = append(progress, s) }}
	if got := o.reason(); got != "no output" {
		t.Errorf("reason %q", got)
	}
	w := o.stream()
	for _, part := range []string{"I: downloading pack", "ages with apt...\nI: success in 2 s\nprogress: pack\n", "plain words\n", "half"} {
		if n, err := w.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	if diff := cmp.Diff([]string{"downloading packages with apt", "pack"}, progress); diff != "" {
		t.Error(diff)
	}
	if got := o.reason(); got != "plain words" {
		t.Errorf("reason %q", got)
	}
	if want := "I: downloading packages with apt...\nI: success in 2 s\nprogress: pack\nplain words\nhalf"; log.String() != want {
		t.Errorf("log %q, want %q", log.String(), want)
	}
}
