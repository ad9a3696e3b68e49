package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"labctl/internal/config"
	"labctl/internal/engine"
	"labctl/internal/fault"
	"labctl/internal/swarm"
)

// Pristine is the snapshot that create takes when the swarm stands, and to
// which reset goes back.
const Pristine = "pristine"

// Snapshot is a point to which the whole lab can go back.
type Snapshot struct {
	Name string `json:"name"`
	// Nodes have it. It is whole, and of use, if all nodes of the lab do.
	Nodes []string `json:"nodes"`
	Whole bool     `json:"whole"`
}

// snapshotName keeps to what every hypervisor takes and a file name can hold.
var snapshotName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,59}$`)

// SnapshotNameError is a name that cannot be used.
type SnapshotNameError struct{ Name, Reason string }

func (e *SnapshotNameError) Error() string {
	return fmt.Sprintf("snapshot name %q: %s", e.Name, e.Reason)
}

// CheckSnapshotName refuses names that a hypervisor may not take, and the one
// that labctl keeps for itself.
func CheckSnapshotName(name string) error {
	if !snapshotName.MatchString(name) {
		return &SnapshotNameError{name, "use up to 60 letters, digits, dots, dashes and underscores, a letter or digit first"}
	}
	if name == Pristine {
		return &SnapshotNameError{name, "is kept for `labctl reset`; choose another"}
	}
	return nil
}

// NoSnapshotError is a snapshot that not every node has.
type NoSnapshotError struct {
	Name   string
	Lacks  []string // nodes
	Others []string // whole snapshots
}

func (e *NoSnapshotError) Error() string {
	return fmt.Sprintf("there is no snapshot %q of %s", e.Name, strings.Join(e.Lacks, ", "))
}

// Hint names the snapshots that there are.
func (e *NoSnapshotError) Hint() string {
	if len(e.Others) == 0 {
		return "take one with `labctl snapshot save NAME`"
	}
	return "there are: " + strings.Join(e.Others, ", ")
}

func (e *Env) nodeNames() []string {
	var names []string
	for _, n := range e.Lab.Nodes {
		names = append(names, n.Name)
	}
	return names
}

// Snapshots lists the lab's snapshots by name.
func (e *Env) Snapshots(ctx context.Context) ([]Snapshot, error) {
	if e.existing() {
		return nil, nil // labctl has no say over the machines themselves
	}
	byNode, err := e.Vagrant().Snapshots(ctx, e.nodeNames())
	if err != nil {
		return nil, err
	}
	var out []Snapshot
	for _, node := range e.nodeNames() {
		for _, name := range byNode[node] {
			i := slices.IndexFunc(out, func(s Snapshot) bool { return s.Name == name })
			if i < 0 {
				out = append(out, Snapshot{Name: name})
				i = len(out) - 1
			}
			out[i].Nodes = append(out[i].Nodes, node)
			out[i].Whole = len(out[i].Nodes) == len(e.Lab.Nodes)
		}
	}
	slices.SortFunc(out, func(a, b Snapshot) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// FindSnapshot returns a *NoSnapshotError unless every node has it.
func (e *Env) FindSnapshot(ctx context.Context, name string) error {
	all, err := e.Snapshots(ctx)
	if err != nil {
		return err
	}
	missing := &NoSnapshotError{Name: name, Lacks: e.nodeNames()}
	for _, s := range all {
		switch {
		case s.Name == name && s.Whole:
			return nil
		case s.Name == name:
			missing.Lacks = slices.DeleteFunc(missing.Lacks, func(n string) bool { return slices.Contains(s.Nodes, n) })
		case s.Whole:
			missing.Others = append(missing.Others, s.Name)
		}
	}
	return missing
}

// SaveSnapshot takes a snapshot of all running nodes at one moment.
func (e *Env) SaveSnapshot(ctx context.Context, name string) error {
	if e.existing() {
		return errors.New("machines of the provider existing have no snapshots: `labctl reset` cleans the swarm instead")
	}
	return runSteps(ctx, e, []Step{{Name: "snapshot", Run: saveSnapshot(name)}})
}

func saveSnapshot(name string) func(context.Context, *Env, func(string)) (bool, error) {
	return func(ctx context.Context, e *Env, say func(string)) (bool, error) {
		say("saving the VMs with their memory as " + name)
		if err := e.Vagrant().SaveSnapshot(ctx, e.nodeNames(), name); err != nil {
			return false, err
		}
		if err := e.keepJournals(name); err != nil {
			return false, err
		}
		return true, setClocks(ctx, e) // they stood still meanwhile
	}
}

// journalDir holds the journals of scenarios that left something standing;
// those of a snapshot's time lie in a folder of its own.
func (e *Env) journalDir() string { return filepath.Join(e.StateDir(), "scenario") }

func (e *Env) snapshotDir(name string) string {
	return filepath.Join(e.StateDir(), "snapshots", name)
}

func (e *Env) keepJournals(name string) error {
	return copyFolder(e.snapshotDir(name), e.journalDir())
}

func (e *Env) restoreJournals(name string) error {
	return copyFolder(e.journalDir(), e.snapshotDir(name))
}

// copyFolder makes to a copy of from, which may be missing.
func copyFolder(to, from string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if _, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return os.CopyFS(to, os.DirFS(from))
}

// DeleteSnapshot removes a snapshot from the nodes that have it; if none has,
// it is a *NoSnapshotError.
func (e *Env) DeleteSnapshot(ctx context.Context, name string) error {
	err := e.FindSnapshot(ctx, name)
	var missing *NoSnapshotError
	if err != nil && (!errors.As(err, &missing) || len(missing.Lacks) == len(e.Lab.Nodes)) {
		return err
	}
	if err := e.Vagrant().DeleteSnapshot(ctx, e.nodeNames(), name); err != nil {
		return err
	}
	return os.RemoveAll(e.snapshotDir(name))
}

// RestoreSnapshot sets the whole lab back to a snapshot that it has (see
// FindSnapshot), sets the clocks, and verifies the swarm.
func (e *Env) RestoreSnapshot(ctx context.Context, name string) error {
	return runSteps(ctx, e, restoreSteps(e.Lab, name))
}

func restoreSteps(l *config.Lab, name string) []Step {
	steps := []Step{{Name: "revert", Run: func(ctx context.Context, e *Env, say func(string)) (bool, error) {
		say("setting the VMs back to " + name)
		if e.Choice.Provider == config.Embedded {
			if err := engine.ForwardAtOnce(ctx, e.Host); err != nil {
				return false, err
			}
		}
		e.dropLent(ctx) // the nodes will know nothing of those connections
		if err := e.Vagrant().RestoreSnapshot(ctx, e.nodeNames(), name); err != nil {
			return false, err
		}
		// What a scenario had begun is as it was then, and so is what is left
		// to undo. Of faults the nodes' own journals tell.
		return true, errors.Join(os.RemoveAll(fault.Dir(e.StateDir())), e.restoreJournals(name))
	}}}
	var last []string
	for _, n := range l.Nodes {
		steps = append(steps,
			Step{Name: "connect", Node: n.Name, After: []string{"revert"}, Run: connect(n)},
			Step{Name: "clock", Node: n.Name, After: []string{key("connect", n.Name)}, Run: func(ctx context.Context, e *Env, _ func(string)) (bool, error) {
				return true, setClock(ctx, e.Runner(n.Name), n.Name)
			}},
		)
		last = append(last, key("clock", n.Name))
	}
	return append(steps, Step{Name: "verify", After: last, Run: verify})
}

// outdate notes that a node is about to be changed, so that the snapshot
// pristine is taken anew, by a later create if this one is killed.
func (e *Env) outdate() error {
	e.mu.Lock() // many nodes come here at once, and once is enough
	defer e.mu.Unlock()
	if e.State.Outdated {
		return nil
	}
	return e.State.Change(func(s *State) { s.Outdated = true })
}

// pristine takes the snapshot to which reset goes back, once: a later create
// takes it anew only if a node was made or removed, had Docker installed or got
// another role since. Without it the lab is as good; reset then takes longer. So
// nothing that goes wrong here fails a create.
func pristine(ctx context.Context, e *Env, say func(string)) (bool, error) {
	err := e.FindSnapshot(ctx, Pristine)
	if err == nil && !e.State.Outdated && !e.rolesDiffer() {
		return false, nil
	}
	var missing *NoSnapshotError
	if err == nil || errors.As(err, &missing) {
		_ = e.boot.wait() // Vagrant must not find its VM paused; Create tells why it failed
		_, err = saveSnapshot(Pristine)(ctx, e, say)
	}
	if err == nil {
		err = e.State.Change(func(s *State) { s.Outdated = false })
	}
	if err != nil && ctx.Err() == nil {
		if e.Log != nil {
			e.Log.WithError(err).Warn("no snapshot taken")
		}
		say("not taken, so `labctl reset` will clean the swarm instead: " + err.Error())
		return false, nil
	}
	return err == nil, err
}

// Reset brings the lab back to the swarm as create left it. Without a
// snapshot, because the provider has none or it was deleted, it cleans the
// swarm instead: fallback says why. With clean it does so in any case.
func (e *Env) Reset(ctx context.Context, clean bool, fallback func(reason string)) error {
	if !clean {
		err := e.FindSnapshot(ctx, Pristine)
		var missing *NoSnapshotError
		switch {
		case err == nil && e.State.Outdated:
			err = errors.New("a create that was not finished has changed nodes since the snapshot \"pristine\" was taken, and `labctl create` takes it anew")
		case err == nil:
			return runSteps(ctx, e, restoreSteps(e.Lab, Pristine))
		case !errors.As(err, &missing):
			return err
		}
		fallback(err.Error() + ": cleaning the swarm instead; what was changed in the nodes themselves stays")
	}
	leader := e.Lab.Managers()[0]
	steps := connectSteps(e.Lab)
	var connected []string
	for _, n := range e.Lab.Nodes {
		connected = append(connected, key("connect", n.Name))
	}
	steps = append(steps, Step{Name: "clean", After: connected, Run: cleanSwarm})
	steps = append(steps, Step{Name: "swarm init", Node: leader.Name, After: []string{"clean"}, Run: swarmInit(leader)})
	return runSteps(ctx, e, append(steps, joinSteps(e.Lab, key("swarm init", leader.Name), "connect")...))
}

// cleanWithin bounds the end of all tasks and networks.
const cleanWithin = 3 * time.Minute

func cleanSwarm(ctx context.Context, e *Env, say func(string)) (bool, error) {
	removed, err := e.clean(ctx, e.Lab.Nodes, say)
	return removed > 0, err
}

// clean removes what was put onto the swarm and onto those of the nodes that
// are the lab's, and returns how much that was.
func (e *Env) clean(ctx context.Context, nodes []config.Node, say func(string)) (int, error) {
	var list []swarm.CleanNode
	for _, n := range nodes {
		if !e.ours(n) {
			continue
		}
		api, err := e.API(n)
		if err != nil {
			return 0, err
		}
		list = append(list, swarm.CleanNode{Name: n.Name, API: api, Spare: e.spare(n)})
	}
	removed, err := swarm.Clean(ctx, list, cleanWithin, say)
	if err != nil {
		return 0, err
	}
	if len(removed) > 0 {
		say("removed " + strings.Join(removed, ", "))
	}
	return len(removed), nil
}
