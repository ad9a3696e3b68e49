package vagrant

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/config"
	"labctl/internal/remote"
)

// libvirt is a hypervisor with two VMs that answers virsh as the real one
// does, and notes what it was told.
type libvirt struct {
	mu        sync.Mutex
	state     map[string]string
	snapshots map[string][]string
	calls     []string
	asked     map[string]bool // "URI VERB"
	fails     string          // a call that fails
	leases    string          // what domifaddr says
}

// listing asks for UUIDs and states of all VMs.
const listing = "list --all --uuid --name; list --all"

func (l *libvirt) Run(_ context.Context, c remote.Command) (remote.Result, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	args := c.Argv[4:] // virsh -q -c URI
	call := strings.Join(args, " ")
	l.calls = append(l.calls, call)
	if l.asked == nil {
		l.asked = map[string]bool{}
	}
	l.asked[c.Argv[3]+" "+args[0]+" "+strings.Join(args[1:min(2, len(args))], "")] = true
	res := remote.Result{Argv: c.Argv}
	if call == l.fails {
		res.ExitCode, res.Stderr = 1, "error: operation failed"
		return res, nil
	}
	id := ""
	if len(args) > 1 {
		id = args[1]
	}
	switch args[0] {
	case listing:
		table := ""
		for id, state := range l.state {
			number := "-"
			if state != "shut off" {
				number = "7"
			}
			res.Stdout += id + " vm-" + id + "\n"
			table += " " + number + "    vm-" + id + "    " + state + "\n"
		}
		res.Stdout += "\n" + table + "\n"
	case "domstate":
		res.Stdout = l.state[id] + "\n\n"
	case "domifaddr":
		res.Stdout = l.leases
	case "suspend":
		l.state[id] = "paused"
	case "resume":
		l.state[id] = "running"
	case "snapshot-list":
		res.Stdout = strings.Join(l.snapshots[id], "\n") + "\n"
	case "snapshot-create-as":
		l.snapshots[id] = append(l.snapshots[id], args[2])
	case "snapshot-delete":
		l.snapshots[id] = slices.DeleteFunc(l.snapshots[id], func(s string) bool { return s == args[2] })
	case "snapshot-revert":
		l.state[id] = "paused"
	default:
		res.ExitCode, res.Stderr = 1, "error: unknown command: '"+args[0]+"'"
	}
	return res, nil
}

// verbs returns the calls that change something, without their questions.
func (l *libvirt) verbs() (out []string) {
	for _, c := range l.calls {
		if w, _, _ := strings.Cut(c, " "); w != "list" && w != "domstate" && w != "snapshot-list" {
			out = append(out, c)
		}
	}
	return out
}

func twoVMs(t *testing.T) (*Client, *libvirt) {
	t.Helper()
	l := &libvirt{state: map[string]string{"id-1": "running", "id-2": "running"}, snapshots: map[string][]string{}}
	c := &Client{Dir: t.TempDir(), Provider: config.Embedded, Host: l}
	for node, id := range map[string]string{"docker1": "id-1", "docker2": "id-2"} {
		dir := filepath.Join(c.Dir, ".vagrant", "machines", node, "libvirt")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "id"), []byte(id+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(c.Dir, "Vagrantfile"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return c, l
}

var both = []string{"docker1", "docker2"}

// order says that no call that begins with before comes after one with after.
func order(t *testing.T, calls []string, before, after string) {
	t.Helper()
	first := slices.IndexFunc(calls, func(c string) bool { return strings.HasPrefix(c, after) })
	for i, c := range calls {
		if strings.HasPrefix(c, before) && i > first {
			t.Errorf("%q after the first %s in %q", c, after, calls)
		}
	}
}

func count(calls []string, prefix string) (n int) {
	for _, c := range calls {
		if strings.HasPrefix(c, prefix) {
			n++
		}
	}
	return n
}

func TestDomainStates(t *testing.T) {
	c, l := twoVMs(t)
	l.state["id-1"] = "shut off"
	delete(l.state, "id-2") // destroyed behind Vagrant's back
	got, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]State{"docker1": PowerOff, "docker2": NotCreated}, got); diff != "" {
		t.Error(diff)
	}
	l.fails = listing
	_, err = c.Status(t.Context())
	if want := "host: virsh -q -c qemu:///system " + listing + ": exit code 1"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestSnapshot(t *testing.T) {
	c, l := twoVMs(t)
	if err := c.SaveSnapshot(t.Context(), both, "one"); err != nil {
		t.Fatal(err)
	}
	// All stand still before the first is saved, and none goes on before the
	// last is.
	calls := l.verbs()
	order(t, calls, "suspend", "snapshot-create-as")
	order(t, calls, "snapshot-create-as", "resume")
	if count(calls, "suspend") != 2 || count(calls, "snapshot-create-as") != 2 || count(calls, "resume") != 2 {
		t.Errorf("calls %q", calls)
	}
	got, err := c.Snapshots(t.Context(), both)
	if diff := cmp.Diff(map[string][]string{"docker1": {"one"}, "docker2": {"one"}}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}

	l.calls = nil
	if err := c.SaveSnapshot(t.Context(), both, "one"); err != nil {
		t.Fatal(err)
	}
	order(t, l.verbs(), "snapshot-delete id-1", "snapshot-create-as id-1")
	if len(l.snapshots["id-1"]) != 1 || count(l.verbs(), "snapshot-delete") != 2 {
		t.Errorf("not replaced: %q, %q", l.snapshots, l.verbs())
	}

	l.calls = nil
	l.state["id-2"] = "shut off"
	if err := c.RestoreSnapshot(t.Context(), both, "one"); err != nil {
		t.Fatal(err)
	}
	order(t, l.verbs(), "snapshot-revert", "resume")
	if diff := cmp.Diff(map[string]string{"id-1": "running", "id-2": "running"}, l.state); diff != "" {
		t.Error(diff)
	}

	if err := c.DeleteSnapshot(t.Context(), both, "one"); err != nil || len(l.snapshots["id-1"])+len(l.snapshots["id-2"]) != 0 {
		t.Errorf("%v, left %q", err, l.snapshots)
	}
}

// Each VM is asked for where it lies.
func TestSnapshotOnTwoHypervisors(t *testing.T) {
	c, l := twoVMs(t)
	c.URI = func(node string) string {
		return map[string]string{"docker1": "qemu:///system", "docker2": "qemu+ssh://two/system"}[node]
	}
	if err := c.SaveSnapshot(t.Context(), both, "one"); err != nil {
		t.Fatal(err)
	}
	if err := c.RestoreSnapshot(t.Context(), both, "one"); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"suspend", "snapshot-create-as", "resume", "snapshot-revert", "domstate"} {
		for id, uri := range map[string]string{"id-1": "qemu:///system", "id-2": "qemu+ssh://two/system"} {
			if !l.asked[uri+" "+verb+" "+id] {
				t.Errorf("%s of %s was not asked of %s: %v", verb, id, uri, l.asked)
			}
		}
		if l.asked["qemu:///system "+verb+" id-2"] || l.asked["qemu+ssh://two/system "+verb+" id-1"] {
			t.Errorf("%s: one was asked for the other's VM: %v", verb, l.asked)
		}
	}
	if !l.asked["qemu:///system "+listing+" "] || !l.asked["qemu+ssh://two/system "+listing+" "] {
		t.Errorf("not both were asked for their VMs: %v", l.asked)
	}
}

// A snapshot that fails on one node is of no use on the other, and the VMs
// must not stay paused.
func TestSnapshotFails(t *testing.T) {
	c, l := twoVMs(t)
	l.fails = "snapshot-create-as id-2 one --atomic"
	err := c.SaveSnapshot(t.Context(), both, "one")
	if want := "docker2: virsh -q -c qemu:///system " + l.fails + ": exit code 1"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if len(l.snapshots["id-1"]) != 0 {
		t.Errorf("left %q", l.snapshots)
	}
	if l.state["id-1"] != "running" || l.state["id-2"] != "running" {
		t.Errorf("states %q", l.state)
	}

	ctx, cancel := context.WithCancel(t.Context())
	l.fails = "snapshot-revert id-2 one --paused"
	l.state["id-2"] = "paused" // it was interrupted here
	cancel()
	if err := c.RestoreSnapshot(ctx, both, "one"); err == nil || l.state["id-2"] != "running" {
		t.Errorf("error %v, states %q", err, l.state)
	}
}

func TestSnapshotWithoutVM(t *testing.T) {
	c, _ := twoVMs(t)
	err := c.SaveSnapshot(t.Context(), []string{"docker1", "docker3"}, "one")
	if err == nil || err.Error() != "docker3: there is no VM" {
		t.Errorf("error %v", err)
	}
}

func TestAddress(t *testing.T) {
	c, l := twoVMs(t)
	l.leases = " vnet0      52:54:00:4a:46:bc    ipv6         fd00::35/64\n vnet0      52:54:00:4a:46:bc    ipv4         192.168.121.35/24\n"
	got, err := c.Address(t.Context(), "docker1")
	if err != nil || got != "192.168.121.35" {
		t.Errorf("%q, %v", got, err)
	}
	refused := func(node, want string) {
		t.Helper()
		if got, err := c.Address(t.Context(), node); err == nil || err.Error() != want || got != "" {
			t.Errorf("%q, error %v, want %s", got, err, want)
		}
	}
	l.leases = ""
	refused("docker1", "docker1: libvirt has given it no address yet")
	l.state["id-1"] = "shut off"
	refused("docker1", "docker1: its VM is shut off")
	refused("docker9", "docker9: there is no VM")
}
