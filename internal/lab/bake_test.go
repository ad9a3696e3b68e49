package lab

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/box"
	"labctl/internal/config"
	"labctl/internal/engine"
	"labctl/internal/remote"
)

func TestTakesMade(t *testing.T) {
	for _, tt := range []struct {
		name, used string
		noCache    bool
		want       bool
	}{
		{name: "a new lab", want: true},
		{name: "a new lab with --no-cache", noCache: true},
		{name: "a lab from the plain box", used: "labctl/debian12-0"},
		{name: "a lab from the baked box", used: "labctl/debian12-docker-1", want: true},
		{name: "it stays with it", used: "labctl/debian12-docker-1", noCache: true, want: true},
		{name: "a lab from an older baked box", used: "labctl/debian12-docker-0"},
	} {
		if got := takesMade("labctl/debian12-docker-1", tt.used, tt.noCache); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// onEngine is a lab on the embedded engine in a folder of its own.
func onEngine(t *testing.T) *Env {
	t.Helper()
	l := config.Default()
	l.Box.Release = "bookworm" // whatever this machine runs
	return &Env{
		Lab: l, Dir: t.TempDir(), Cache: t.TempDir(), State: &State{}, Host: remote.Host{},
		Choice: engine.Choice{Provider: config.Embedded, Accel: config.AccelTCG},
	}
}

// madeFrom makes it look as if Vagrant had made the node from a box.
func madeFrom(t *testing.T, e *Env, node, name string) {
	t.Helper()
	dir := filepath.Join(e.StateDir(), ".vagrant", "machines", node, "libvirt")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{"id": "u-u-i-d", "box_meta": `{"name":"` + name + `","version":"0","provider":"libvirt"}`} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBoxInUse(t *testing.T) {
	e := onEngine(t)
	if got := e.boxInUse(); got != "" {
		t.Errorf("without nodes: %q", got)
	}
	madeFrom(t, e, "docker2", "labctl/debian12-0")
	if got := e.boxInUse(); got != "labctl/debian12-0" {
		t.Errorf("%q", got)
	}
	// What Vagrant notes before there is a VM is no node yet.
	if err := os.Remove(filepath.Join(e.StateDir(), ".vagrant", "machines", "docker2", "libvirt", "id")); err != nil {
		t.Fatal(err)
	}
	if got := e.boxInUse(); got != "" {
		t.Errorf("of a VM that never was: %q", got)
	}
}

func TestNoDockerBox(t *testing.T) {
	for _, tt := range []struct {
		err  error
		hint string
	}{
		{errors.New("no room"), "`labctl create --no-cache` installs Docker on each node instead"},
		{&box.BuildError{Reason: "mount failed", Log: "build.log"}, "the whole output is in build.log; `labctl create --no-cache` installs Docker on each node instead"},
	} {
		err := &NoDockerBoxError{tt.err}
		if err.Error() != tt.err.Error() || err.Hint() != tt.hint {
			t.Errorf("%v, hint %q, want %q", err, err.Hint(), tt.hint)
		}
	}
}

func TestContents(t *testing.T) {
	e := onEngine(t)
	of := func(change func(d *config.Docker)) string {
		t.Helper()
		was := e.Lab.Docker
		defer func() { e.Lab.Docker = was }()
		change(&e.Lab.Docker)
		c, err := e.contents()
		if err != nil {
			t.Fatal(err)
		}
		return c.text
	}
	base := of(func(*config.Docker) {})
	for name, change := range map[string]func(*config.Docker){
		"nothing":   func(*config.Docker) {},
		"the proxy": func(d *config.Docker) { d.Proxy = "http://u:p@proxy:3128" },
	} {
		if got := of(change); got != base {
			t.Errorf("with another value of %s it is\n%s, was\n%s", name, got, base)
		}
	}
	seen := map[string]string{base: "the default"}
	for name, change := range map[string]func(*config.Docker){
		"version":         func(d *config.Docker) { d.Version = "20.10" },
		"apt":             func(d *config.Docker) { d.Source = config.SourceApt },
		"upstream":        func(d *config.Docker) { d.Source = config.SourceUpstream },
		"registry-mirror": func(d *config.Docker) { d.RegistryMirror = "http://mirror:5000" },
	} {
		got := of(change)
		if seen[got] != "" {
			t.Errorf("%s gives what %s gives: %s", name, seen[got], got)
		}
		seen[got] = name
	}
	// A bundle, and another one after it.
	for i, id := range []string{"bundle-bookworm-amd64-0", "bundle-bookworm-amd64-1", "bundle-trixie-amd64-2"} {
		dir := filepath.Join(e.Cache, id)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		release := strings.Split(id, "-")[1]
		text := `{"schema":1,"release":"` + release + `","arch":"amd64","created":"2026-11-25T10:00:0` + string(rune('0'+i)) + `Z"}`
		if err := os.WriteFile(filepath.Join(dir, "manifest.json"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		got := of(func(*config.Docker) {})
		if release != "bookworm" {
			if seen[got] == "" {
				t.Errorf("a bundle of another release counts: %s", got)
			}
			continue
		}
		if seen[got] != "" || !strings.Contains(got, id) {
			t.Errorf("with %s it is what %q gives: %s", id, seen[got], got)
		}
		if named := of(func(d *config.Docker) { d.Source = config.SourceBundle }); named != got {
			t.Errorf("source bundle gives\n%s, auto\n%s", named, got)
		}
		seen[got] = id
	}
}

func TestCannotBake(t *testing.T) {
	for _, tt := range []struct {
		name       string
		change     func(e *Env)
		fail, hint string
	}{
		{
			"VirtualBox", func(e *Env) { e.Choice.Provider = config.VirtualBox },
			"bake: it is there for the embedded engine only, and this lab lives on virtualbox",
			"`vagrant package` makes a box of one of its VMs; name that as box.name and box.url in lab.toml",
		},
		{
			"a box of one's own", func(e *Env) { e.Lab.Box.Name = "me/mine" },
			"bake: lab.toml names the box me/mine, and only labctl's own can be baked",
			"remove box.name from lab.toml, then make a new lab",
		},
		{
			"an old box", func(e *Env) { madeFrom(t, e, "docker1", "labctl/debian12-0") },
			"bake: the nodes were made from the box \"labctl/debian12-0\", and labctl makes another one by now",
			"`labctl destroy` and `labctl create` make the lab anew",
		},
	} {
		e := onEngine(t)
		tt.change(e)
		_, err := e.Bake(t.Context(), e.Lab.Nodes[1], false)
		var cannot *CannotBakeError
		if !errors.As(err, &cannot) || err.Error() != tt.fail || cannot.Hint() != tt.hint {
			t.Errorf("%s: %v, want %q with the hint %q", tt.name, err, tt.fail, tt.hint)
		}
	}
}

// fakeVM puts a virsh and a qemu-img first in PATH that write down what they
// are asked, and a VM that is running or paused.
func fakeVM(t *testing.T, convert string) (calls func() []string, state func() string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("needs a shell")
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"virsh": `#!/bin/sh
shift 3 # -q -c qemu:///system
echo "virsh $*" >>"$FAKE/calls"
case $1 in
suspend) echo paused >"$FAKE/state" ;;
resume) echo running >"$FAKE/state" ;;
domstate) cat "$FAKE/state" ;;
domblklist) printf ' file cdrom hdc -\n file disk vda /images/lab_docker2.img\n' ;;
esac
`,
		"qemu-img": "#!/bin/sh\necho \"qemu-img $*\" >>\"$FAKE/calls\"\n" + convert + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("FAKE", dir)
	read := func(name string) string {
		data, _ := os.ReadFile(filepath.Join(dir, name))
		return strings.TrimSpace(string(data))
	}
	return func() []string { return strings.Split(read("calls"), "\n") }, func() string { return read("state") }
}

func TestCopyDisk(t *testing.T) {
	copied := []string{
		"virsh domblklist lab_docker2 --details",
		"virsh suspend lab_docker2",
		"qemu-img convert --force-share -O raw /images/lab_docker2.img /copy/node.raw",
		"virsh resume lab_docker2",
	}
	t.Run("well", func(t *testing.T) {
		calls, state := fakeVM(t, `[ "$(cat "$FAKE/state")" = paused ]`)
		if err := pausedCopy(t.Context(), remote.Host{}, "lab_docker2", "/copy/node.raw"); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(copied, calls()); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
		if state() != "running" {
			t.Errorf("the VM is %s", state())
		}
	})
	t.Run("the copy fails", func(t *testing.T) {
		calls, state := fakeVM(t, "echo 'qemu-img: No space left on device' >&2; exit 1")
		err := pausedCopy(t.Context(), remote.Host{}, "lab_docker2", "/copy/node.raw")
		var exit *remote.ExitError
		if !errors.As(err, &exit) || exit.Output() != "qemu-img: No space left on device" {
			t.Errorf("error %v", err)
		}
		if diff := cmp.Diff(append(copied, "virsh domstate lab_docker2"), calls()); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
		if state() != "running" {
			t.Errorf("the VM is %s", state())
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		calls, state := fakeVM(t, `: >"$FAKE/begun"; exec sleep 60`)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			for ctx.Err() == nil {
				if _, err := os.Stat(filepath.Join(os.Getenv("FAKE"), "begun")); err == nil {
					cancel()
				}
				time.Sleep(10 * time.Millisecond)
			}
		}()
		begin := time.Now()
		err := pausedCopy(ctx, remote.Host{}, "lab_docker2", "/copy/node.raw")
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		if diff := cmp.Diff(append(copied, "virsh domstate lab_docker2"), calls()); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
		if state() != "running" || time.Since(begin) > 30*time.Second {
			t.Errorf("the VM is %s after %v", state(), time.Since(begin))
		}
	})
	t.Run("labctl is killed", func(t *testing.T) {
		_, state := fakeVM(t, `: >"$FAKE/begun"; sleep 1`)
		script := filepath.Join(t.TempDir(), "script")
		if err := os.WriteFile(script, []byte(copyDisk), 0o644); err != nil {
			t.Fatal(err)
		}
		// A shell stands for labctl, with the one that copies below it.
		above := exec.Command("sh", "-c", `sh -eu -s -- lab_docker2 /copy/node.raw <"$0"; :`, script)
		if err := above.Start(); err != nil {
			t.Fatal(err)
		}
		wait := func(what string, ready func() bool) {
			t.Helper()
			for begin := time.Now(); !ready(); time.Sleep(10 * time.Millisecond) {
				if time.Since(begin) > 20*time.Second {
					t.Fatalf("not %s after 20 s: the VM is %q", what, state())
				}
			}
		}
		wait("copying", func() bool {
			_, err := os.Stat(filepath.Join(os.Getenv("FAKE"), "begun"))
			return err == nil
		})
		if got := state(); got != "paused" {
			t.Errorf("the VM is %s while its disk is copied", got)
		}
		if err := above.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = above.Wait()
		wait("running", func() bool { return state() == "running" })
	})
	t.Run("no disk", func(t *testing.T) {
		calls, _ := fakeVM(t, "exit 1")
		if err := os.WriteFile(filepath.Join(os.Getenv("FAKE"), "virsh"), []byte("#!/bin/sh\nshift 3\necho \"virsh $*\" >>\"$FAKE/calls\"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		err := pausedCopy(t.Context(), remote.Host{}, "lab_docker2", "/copy/node.raw")
		var exit *remote.ExitError
		if !errors.As(err, &exit) || exit.Output() != "lab_docker2 has no disk" {
			t.Errorf("error %v", err)
		}
		if diff := cmp.Diff([]string{"virsh domblklist lab_docker2 --details", "virsh domstate lab_docker2"}, calls()); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
	})
}
