//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/config"
	"labctl/internal/engine"
	"labctl/internal/vagrant"
)

// fakeLabctl notes every command line in calls, and fails at the one in fail.
const fakeLabctl = `#!/bin/sh
shift 2 # --progress json
echo "$*" >>"$CALLS"
case "$*" in
"$FAIL") echo 'error: as told' >&2; exit 1 ;;
create*)
	mkdir -p artifacts/latest
	echo 'ssh_commands=1 ssh_handshakes=1 ssh_sent=1 vagrant_calls=1
ssh_commands=8 ssh_handshakes=4 ssh_sent=123 vagrant_calls=3' >artifacts/latest/labctl.log
	echo '{"time":"2026-01-02T03:04:05Z","step":"render","state":"started"}' >&2
	;;
engine*) echo '{"running":true,"netns":"net:[1]"}' ;;
*journalctl*) echo 5 ;;
*'docker node ls'*) printf 'Ready\nReady\n' ;;
esac
`

func newBench(t *testing.T, fail string) (b *bench, calls func() []string) {
	t.Helper()
	dir := t.TempDir()
	b = &bench{work: dir, binary: filepath.Join(dir, "labctl"), say: t.Logf}
	file := filepath.Join(dir, "calls")
	b.env = append(os.Environ(), "CALLS="+file, "FAIL="+fail)
	if err := os.WriteFile(b.binary, []byte(fakeLabctl), 0o755); err != nil {
		t.Fatal(err)
	}
	var err error
	if b.log, err = os.Create(filepath.Join(dir, "log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.log.Close() })
	return b, func() []string {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for line := range strings.Lines(string(data)) {
			line = strings.TrimSpace(line)
			if strings.Contains(line, "network create") {
				line = "(a mess)"
			} else if strings.Contains(line, "journalctl") || strings.Contains(line, "node ls") || strings.HasPrefix(line, "engine") {
				continue // they look, and change nothing
			}
			if n := len(out); n > 0 && out[n-1] == line {
				continue
			}
			out = append(out, line)
		}
		return out
	}
}

func TestLabctlSide(t *testing.T) {
	b, calls := newBench(t, "none")
	b.canBake = true
	boxes := filepath.Join(b.work, "cache", "labctl", "boxes")
	if err := os.MkdirAll(boxes, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"debian12-0-1.box", "baked-debian12-2-3.box", "docker-debian12-4-5.box"} {
		if err := os.WriteFile(filepath.Join(boxes, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.labctlSide(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	questions := strings.Split(strings.Repeat("status,exec docker1 -- true,", asked), ",")
	want := append([]string{"create"}, questions[:2*asked]...)
	want = append(want, "snapshot save bench", "(a mess)", "snapshot restore bench", "(a mess)", "reset", "bake --force", "destroy --force", "create", "destroy --force")
	if diff := cmp.Diff(want, calls()); diff != "" {
		t.Errorf("calls: %s", diff)
	}
	if left, err := filepath.Glob(filepath.Join(boxes, "*")); err != nil || len(left) != 1 || filepath.Base(left[0]) != "debian12-0-1.box" {
		t.Errorf("a cold create begins with the boxes %q, %v", left, err)
	}
	times := map[string]int{}
	for _, s := range b.result.Samples {
		times[s.What]++
	}
	wantTimes := map[string]int{coldCreate: 1, secondCreate: 1, warmCreate: 1, status: asked, execTrue: asked, snapshotSave: 1, snapshotRestore: 1, reset: 1, bake: 1, destroy: 1}
	if diff := cmp.Diff(wantTimes, times); diff != "" {
		t.Errorf("samples: %s", diff)
	}
	wantCount := []Count{{Round: 1, Side: sideLabctl, VagrantCalls: 3, Handshakes: 4, Commands: 8, Sent: 123, Logins: map[string]int{"docker1": 4, "docker2": 4}}}
	if diff := cmp.Diff(wantCount, b.result.Counts); diff != "" {
		t.Errorf("counts: %s", diff)
	}
	if len(b.result.Timelines) != 2 || b.result.Timelines[0].What != coldCreate || b.result.Timelines[1].What != warmCreate {
		t.Errorf("timelines: %+v", b.result.Timelines)
	}
	toml, err := os.ReadFile(filepath.Join(b.work, "labctl-1/lab.toml"))
	if err != nil || string(toml) != "provider = \"embedded\"\n" {
		t.Errorf("lab.toml %q, %v", toml, err)
	}
}

// The first create, of which the box comes, does not count.
func TestSizes(t *testing.T) {
	b, calls := newBench(t, "none")
	if err := b.sizes(t.Context(), 1, []int{1, 4}); err != nil {
		t.Fatal(err)
	}
	want := []string{"create", "destroy --force", "create", "destroy --force", "create", "destroy --force"}
	if diff := cmp.Diff(want, calls()); diff != "" {
		t.Errorf("calls: %s", diff)
	}
	var whats []string
	for _, s := range b.result.Samples {
		whats = append(whats, s.What)
	}
	if diff := cmp.Diff([]string{"create of 1", "create of 4"}, whats); diff != "" {
		t.Errorf("samples: %s", diff)
	}
	if got, want := b.result.counts(), "labctl, round 1: 3 starts of Vagrant, 4 SSH handshakes, 8 commands, 0.0 MB sent; 1 nodes, whose VMs hold 0 MB\n"+
		"labctl, round 1: 3 starts of Vagrant, 4 SSH handshakes, 8 commands, 0.0 MB sent; 4 nodes, whose VMs hold 0 MB\n"; got != want {
		t.Errorf("counts:\n%swant\n%s", got, want)
	}
	toml, err := os.ReadFile(filepath.Join(b.work, "size-1-4-true/lab.toml"))
	if err != nil || string(toml) != "provider = \"embedded\"\nworkers = 3\n" {
		t.Errorf("lab.toml %q, %v", toml, err)
	}
}

// Whatever fails, the lab is destroyed.
func TestLabctlSideFails(t *testing.T) {
	for _, at := range []string{"create", "snapshot save bench", "reset"} {
		b, calls := newBench(t, at)
		err := b.labctlSide(t.Context(), 1)
		var failed *programError
		if !errors.As(err, &failed) || !strings.HasSuffix(err.Error(), " --progress json "+at+": exit status 1\nerror: as told") {
			t.Errorf("%s: error %v", at, err)
		}
		if all := calls(); all[len(all)-1] != "destroy --force" {
			t.Errorf("%s: calls %q", at, all)
		}
	}
	b, calls := newBench(t, "none")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.labctlSide(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: error %v", err)
	}
	if diff := cmp.Diff([]string{"destroy --force"}, calls()); diff != "" {
		t.Errorf("interrupted: calls %s", diff)
	}
}

func TestIncomplete(t *testing.T) {
	err := &roundError{"round 1, labctl", errors.New("/tmp/work/labctl create: exit status 1\nerror: as told")}
	if got, want := incomplete(t.Context(), err, "/tmp/work"), "round 1, labctl: labctl create: exit status 1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, want := incomplete(ctx, err, "/tmp/work"), "round 1, labctl: interrupted"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A reset that leaves something is no reset.
func TestPristine(t *testing.T) {
	b, _ := newBench(t, "none")
	if err := os.WriteFile(b.binary, []byte("#!/bin/sh\nprintf 'Ready\\nDown\\n'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	want := `after labctl reset the swarm says "Ready\nDown\n", want two Ready nodes and nothing else`
	if err := b.pristine(t.Context(), b.work); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestRunProgram(t *testing.T) {
	b, _ := newBench(t, "none")
	f, err := runProgram(t.Context(), b.log, b.work, nil, time.Minute, "/bin/sh", "-c", "echo out; echo err >&2; pwd")
	if err != nil || string(f.stdout) != "out\n"+b.work+"\n" || string(f.stderr) != "err\n" || f.took <= 0 {
		t.Errorf("%+v, %v", f, err)
	}
	// It is interrupted, with all that it has started, and may leave in order.
	script := `trap 'echo left >left; exit 3' INT; echo ready >ready; while :; do sleep 0.05; done`
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	go func() {
		for {
			if _, err := os.Stat(filepath.Join(b.work, "ready")); err == nil {
				cancel(enough)
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	_, err = runProgram(ctx, b.log, b.work, os.Environ(), time.Minute, "sh", "-c", script)
	if _, serr := os.Stat(filepath.Join(b.work, "left")); !errors.Is(err, enough) || serr != nil {
		t.Errorf("error %v; %v", err, serr)
	}
	_, err = runProgram(t.Context(), b.log, b.work, os.Environ(), 10*time.Millisecond, "sleep", "60")
	if err == nil || err.Error() != "sleep 60: not done within 10ms" {
		t.Errorf("error %v", err)
	}
}

func TestProcessesOf(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("sh", "-c", "read line", dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{fmt.Sprintf("%d sh", cmd.Process.Pid)}, processesOf(dir, nil)); diff != "" {
		t.Error(diff)
	}
	_ = in.Close()
	_ = cmd.Wait()
	if left := processesOf(dir, nil); left != nil {
		t.Errorf("left %q", left)
	}
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	if left := processesOf(dir, []string{own}); len(left) == 0 {
		t.Error("this very process is not found by its namespace")
	}
}

// Both ways have the same VMs: what labctl tells Vagrant of them stands in the
// plain Vagrantfile, too.
func TestPlainVagrantfile(t *testing.T) {
	data, err := plainFiles.ReadFile("plain/Vagrantfile")
	if err != nil {
		t.Fatal(err)
	}
	plain := string(data)
	b := &bench{choice: engine.Choice{Accel: config.AccelTCG, CPU: "qemu64"}}
	b.box.Name = "labctl/box"
	for _, kv := range b.plainEnv() {
		name, value, _ := strings.Cut(kv, "=")
		plain = strings.ReplaceAll(plain, "ENV.fetch('"+name+"')", "'"+value+"'")
		plain = strings.ReplaceAll(plain, "ENV['"+name+"'] if ENV['"+name+"']", "'"+value+"'")
	}
	if strings.Contains(plain, "ENV") {
		t.Errorf("the benchmark does not set all that the Vagrantfile asks for:\n%s", plain)
	}
	own, err := vagrant.Render(config.Default(), vagrant.RenderOptions{Provider: config.Embedded, Accel: config.AccelTCG, CPU: "qemu64", BoxName: "labctl/box"})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"config.vm.box = ", "libvirt.driver = ", "libvirt.cpu_mode = ", "libvirt.cpu_model = ", "libvirt.cpus = ", "libvirt.memory = ",
		"libvirt.nic_model_type = ", "libvirt.graphics_type = ", "libvirt.uri = ", "config.vm.synced_folder ",
	} {
		if a, b := lineWith(string(own), line), lineWith(plain, line); a == "" || a != b {
			t.Errorf("labctl's Vagrantfile has %q, the plain one %q", a, b)
		}
	}
	for _, n := range config.Default().Nodes {
		if want := "'" + n.Name + "' => '" + n.IP.String() + "'"; !strings.Contains(plain, want) {
			t.Errorf("no %s in the plain Vagrantfile", want)
		}
	}
}

func lineWith(text, begin string) string {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, begin) {
			return line
		}
	}
	return ""
}

func TestPlainFolder(t *testing.T) {
	b, _ := newBench(t, "none")
	for _, p := range plainPackages() {
		deb := filepath.Join(b.work, p+"_1_amd64.deb")
		if err := os.WriteFile(deb, []byte(p), 0o644); err != nil {
			t.Fatal(err)
		}
		b.debs = append(b.debs, deb)
	}
	dir, err := b.folder("plain")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.plainFolder(dir); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, pattern := range []string{"*", "debs/*"} {
		names, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, n := range names {
			rel, _ := filepath.Rel(dir, n)
			got = append(got, rel)
		}
	}
	want := []string{"Vagrantfile", "create.sh", "debs", "install.sh",
		"debs/containerd_1_amd64.deb", "debs/docker.io_1_amd64.deb", "debs/runc_1_amd64.deb", "debs/tini_1_amd64.deb"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
