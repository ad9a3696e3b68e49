package lab

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/config"
	"labctl/internal/engine"
)

// madeLab are the records of a lab as it was made.
func madeLab(l *config.Lab) []MadeNode {
	var out []MadeNode
	for _, n := range l.Nodes {
		out = append(out, made(l, n))
	}
	return out
}

func TestChanges(t *testing.T) {
	const anew = "`labctl create --rebuild docker2` makes it anew"
	const back = "set it back, or `labctl destroy`, then `labctl create`"
	for _, tt := range []struct {
		name   string
		change func(*config.Lab) // of two managers and a worker, three managers for "managers"
		prune  bool
		want   []Change
	}{
		{name: "nothing", change: func(*config.Lab) {}},
		{name: "a new node", change: func(l *config.Lab) {
			l.Nodes = append(l.Nodes, config.Node{Name: "docker9", Role: config.Worker, IP: netip.MustParseAddr("192.168.33.99")})
		}},
		{name: "cpus and memory", change: func(l *config.Lab) { l.Nodes[1].CPUs, l.Nodes[1].MemoryMB = 2, 2048 }, want: []Change{
			{"docker2", "docker2 stands with cpus 1, lab.toml says 2: it keeps what it has", anew, false},
			{"docker2", "docker2 stands with memory 1024, lab.toml says 2048: it keeps what it has", anew, false}}},
		{name: "another hypervisor", change: func(l *config.Lab) { l.Nodes[1].URI = "qemu+ssh://two/system" }, want: []Change{
			{"docker2", "docker2 stands on qemu:///system, lab.toml says qemu+ssh://two/system", "set it back; " + anew, true}}},
		{name: "the same hypervisor, named", change: func(l *config.Lab) { l.Nodes[1].URI = config.LocalHypervisor }},
		{name: "a bridge", change: func(l *config.Lab) { l.Nodes[1].Bridge = "br0" }, want: []Change{
			{"docker2", "docker2 stands with bridge (the default), lab.toml says br0: it keeps what it has", anew, false}}},
		{name: "role", change: func(l *config.Lab) { l.Nodes[1].Role = config.Worker }, want: []Change{{"docker2", "docker2 is a manager and becomes a worker", "", false}}},
		{name: "address", change: func(l *config.Lab) { l.Nodes[1].IP = netip.MustParseAddr("192.168.33.77") }, want: []Change{
			{"docker2", "docker2 stands with the address 192.168.33.12, lab.toml says 192.168.33.77", "set it back; " + anew, true}}},
		{name: "name", change: func(l *config.Lab) { l.Name = "other" }, want: []Change{{"", `lab.toml: name is "other", but the lab that stands here is "lab"`, back, true}}},
		{name: "subnet", change: func(l *config.Lab) { l.Subnet = netip.MustParsePrefix("192.168.40.0/24") }, want: []Change{
			{"", "lab.toml: subnet is 192.168.40.0/24, but the lab that stands here has 192.168.33.0/24", back, true}}},
		{name: "gone", change: func(l *config.Lab) { l.Nodes = l.Nodes[:2] }, want: []Change{
			{"docker3", "docker3 stands, but lab.toml does not name it: it stays as it is", "`labctl create --prune` removes it", false}}},
		{name: "gone, with consent", change: func(l *config.Lab) { l.Nodes = l.Nodes[:2] }, prune: true},
		{name: "renamed", change: func(l *config.Lab) { l.Nodes[2].Name = "worker" }, want: []Change{
			{"docker3", "worker shall have 192.168.33.13, which docker3 has; it stands, though lab.toml does not name it", "`labctl create --prune` removes docker3 first, or give worker another address", true}}},
		{name: "renamed, with consent", change: func(l *config.Lab) { l.Nodes[2].Name = "worker" }, prune: true},
		{name: "another leader", change: func(l *config.Lab) { l.Nodes[0], l.Nodes[1] = l.Nodes[1], l.Nodes[0] }},
		{name: "a leader that is new", prune: true, change: func(l *config.Lab) {
			l.Nodes[0] = config.Node{Name: "boss", Role: config.Manager, IP: netip.MustParseAddr("192.168.33.50"), CPUs: 1, MemoryMB: 1024}
		}, want: []Change{{"boss", "boss is the first manager of lab.toml, but no manager of the swarm that stands",
			"list one of docker1, docker2 as the first manager; or `labctl destroy`, then `labctl create`", true}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			was, is := testLab(2, 1), testLab(2, 1)
			for _, l := range []*config.Lab{was, is} {
				for i := range l.Nodes {
					l.Nodes[i].CPUs, l.Nodes[i].MemoryMB = 1, 1024
				}
			}
			tt.change(is)
			if diff := cmp.Diff(tt.want, changes("lab", was.Subnet, madeLab(was), is, tt.prune)); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("box", func(t *testing.T) {
		was, is := testLab(1, 0), testLab(1, 0)
		is.Box.Name, is.Box.Version = "debian/trixie64", "1"
		got := changes("lab", was.Subnet, madeLab(was), is, false)
		if len(got) != 1 || got[0].Text != "docker1 stands with box (the default), lab.toml says debian/trixie64 1: it keeps what it has" {
			t.Errorf("%+v", got)
		}
	})
}

// standingEnv is a lab of which these nodes have VMs.
func standingEnv(t *testing.T, l *config.Lab, names ...string) *Env {
	t.Helper()
	e := &Env{Lab: l, Dir: t.TempDir(), Choice: engine.Choice{Provider: config.VirtualBox}}
	var err error
	if err = os.MkdirAll(e.StateDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if e.State, err = LoadState(e.StateDir()); err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		id := filepath.Join(e.StateDir(), ".vagrant", "machines", n, "virtualbox", "id")
		if err := errors.Join(os.MkdirAll(filepath.Dir(id), 0o700), os.WriteFile(id, []byte("x"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

// TestNoteNodes: what stands keeps its record, what does not gets a new one,
// and the record outlives lab.toml.
func TestNoteNodes(t *testing.T) {
	l := testLab(1, 1)
	e := standingEnv(t, l)
	if !e.noteNodes() || e.noteNodes() {
		t.Error("the first time alone is news")
	}
	for _, n := range []string{"docker1", "docker2"} {
		id := filepath.Join(e.StateDir(), ".vagrant", "machines", n, "virtualbox", "id")
		if err := errors.Join(os.MkdirAll(filepath.Dir(id), 0o700), os.WriteFile(id, []byte("x"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	was := l.Nodes[1]
	l.Nodes[1].MemoryMB = 4096
	l.Nodes = append(l.Nodes, config.Node{Name: "docker3", Role: config.Worker, IP: netip.MustParseAddr("192.168.33.13"), CPUs: 1, MemoryMB: 512})
	if !e.noteNodes() || e.State.Nodes[1].MemoryMB != was.MemoryMB || e.State.Nodes[2].Name != "docker3" {
		t.Errorf("%+v", e.State.Nodes)
	}
	if err := e.State.Save(); err != nil {
		t.Fatal(err)
	}
	again, err := LoadState(e.StateDir())
	if err != nil {
		t.Fatal(err)
	}
	made, ok := again.Remembered()
	if !ok || made.Name != l.Name || made.Subnet != l.Subnet || len(made.Nodes) != 3 || made.Nodes[1] != was {
		t.Errorf("%v, %+v", ok, made)
	}
	// docker3 was never made: it is no difference if lab.toml drops it again.
	l.Nodes = l.Nodes[:2]
	if len(e.gone()) != 0 || !e.noteNodes() || len(e.State.Nodes) != 2 {
		t.Errorf("gone %v, noted %+v", e.gone(), e.State.Nodes)
	}
}

// TestRolesDiffer: a snapshot with other roles is one of another swarm.
func TestRolesDiffer(t *testing.T) {
	l := testLab(2, 1)
	e := standingEnv(t, l, "docker1", "docker2", "docker3")
	e.noteNodes()
	if e.rolesDiffer() {
		t.Error("nothing has changed")
	}
	l.Nodes[1].Role = config.Worker
	if !e.rolesDiffer() {
		t.Error("docker2 is no manager any more")
	}
}

// TestCheckRebuild: the first manager holds the swarm.
func TestCheckRebuild(t *testing.T) {
	for _, tt := range []struct {
		name     string
		managers int
		node     string
		hint     string // "" for none: it can be made anew
	}{
		{"a worker", 1, "docker3", ""},
		{"another manager", 2, "docker2", ""},
		{"the only manager", 1, "docker1", "`labctl destroy` and `labctl create` make the whole lab anew"},
		{"the first of two", 2, "docker1", "list docker2 as the first manager, then `labctl create --rebuild docker1` makes it anew; or `labctl destroy` and `labctl create` make the whole lab anew"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := standingEnv(t, testLab(tt.managers, 3-tt.managers), "docker1", "docker2", "docker3")
			e.Rebuild = []string{tt.node}
			err := e.CheckRebuild()
			var first *FirstManagerError
			if tt.hint == "" && err != nil || tt.hint != "" && (!errors.As(err, &first) || first.Hint() != tt.hint) {
				t.Errorf("%v", err)
			}
			// Where it is made anew, nothing else keeps create from it.
			e.noteNodes()
			e.Lab.Nodes[len(e.Lab.Nodes)-1].IP = netip.MustParseAddr("192.168.33.77")
			if got := e.Changes(false); tt.node == "docker3" && len(got) != 0 || tt.node != "docker3" && len(got) != 1 {
				t.Errorf("changes %+v", got)
			}
		})
	}
}

// TestOldState: a lab that an older labctl made has no records, and changes
// nothing for that; nor can it be destroyed without its lab.toml.
func TestOldState(t *testing.T) {
	e := standingEnv(t, testLab(1, 1), "docker1", "docker2", "docker7")
	if _, ok := e.State.Remembered(); ok {
		t.Error("nothing is remembered")
	}
	want := []Change{{"docker7", "docker7 stands, but lab.toml does not name it: it stays as it is", "`labctl create --prune` removes it", false}}
	if diff := cmp.Diff(want, e.Changes(false)); diff != "" {
		t.Error(diff)
	}
	var names []string
	for _, n := range e.AsMade().Nodes {
		names = append(names, n.Name)
	}
	if diff := cmp.Diff([]string{"docker1", "docker2", "docker7"}, names); diff != "" {
		t.Error(diff)
	}
	if len(e.Lab.Nodes) != 2 {
		t.Error("the lab itself has changed")
	}
}

func TestAwaitFree(t *testing.T) {
	dir := filepath.Join(t.TempDir(), ".labctl")
	quiet := func(string) {}
	if err := AwaitFree(t.Context(), dir, 0, quiet); err != nil {
		t.Errorf("no folder: %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("looking made the folder")
	}
	lock, err := TakeLock(dir, "create")
	if err != nil {
		t.Fatal(err)
	}
	said := 0
	err = AwaitFree(t.Context(), dir, 300*time.Millisecond, func(string) { said++ })
	var locked *LockedError
	if !errors.As(err, &locked) || locked.Waited != 300*time.Millisecond || locked.Hint() != "--wait=30m waits longer" || said != 1 {
		t.Errorf("%v, said %d times", err, said)
	}
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	if err := AwaitFree(ctx, dir, time.Minute, quiet); !errors.Is(err, stop) {
		t.Errorf("interrupted: %v", err)
	}
	time.AfterFunc(50*time.Millisecond, lock.Release)
	if err := AwaitFree(t.Context(), dir, time.Minute, quiet); err != nil {
		t.Errorf("freed: %v", err)
	}
}

// TestLockOfADestroyedLab: a lock on a file that a destroy has removed since
// would protect nothing.
func TestLockOfADestroyedLab(t *testing.T) {
	dir := filepath.Join(t.TempDir(), ".labctl")
	first, err := TakeLock(dir, "destroy")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	second, err := TakeLock(dir, "create")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "lock")
	if isFile(first.f, name) || !isFile(second.f, name) {
		t.Error("the removed file is taken for the new one")
	}
	first.Release()
	if _, err := TakeLock(dir, "status"); err == nil {
		t.Error("two hold it")
	}
	second.Release()
}
