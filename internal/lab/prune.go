package lab

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"

	"labctl/internal/config"
	"labctl/internal/remote"
	labswarm "labctl/internal/swarm"
	"labctl/internal/vagrant"
)

// How long the parts of a node's removal may take, and how often they are
// looked at.
const (
	drainWithin  = 2 * time.Minute // tasks get ten seconds to end unless a service says more
	demoteWithin = time.Minute
	leaveWithin  = time.Minute // until the entry of a node that left can be removed
	pruneConnect = 20 * time.Second
	pruneEvery   = 500 * time.Millisecond
)

// Prune removes the nodes that stand and that lab.toml does not name, one
// after the other, so that managers go one at a time: drained, demoted, out of
// the swarm, then the VM; a machine that labctl did not make is given back. A
// manager that stays must answer.
func (e *Env) Prune(ctx context.Context) error { return e.remove(ctx, e.gone()) }

// rebuilt are the nodes that stand and that shall be made anew.
func (e *Env) rebuilt() []MadeNode {
	return slices.DeleteFunc(e.standing(), func(m MadeNode) bool { return !slices.Contains(e.Rebuild, m.Name) })
}

// CheckRebuild refuses nodes that cannot be made anew, before anything is done.
func (e *Env) CheckRebuild() error {
	for _, name := range e.Rebuild {
		if e.existing() {
			return errors.New("labctl did not make the machines of the provider existing, and makes none of them anew")
		}
		if name == e.Lab.Managers()[0].Name && len(e.standing()) > 0 {
			return &FirstManagerError{name, anew(e.Lab, name)}
		}
	}
	return nil
}

// FirstManagerError is the first manager, which shall be made anew.
type FirstManagerError struct{ Node, Remedy string }

func (e *FirstManagerError) Error() string {
	return fmt.Sprintf("%s is the first manager, to which all others join: it cannot be made anew alone", e.Node)
}

// Hint says what can be done in place of it.
func (e *FirstManagerError) Hint() string { return e.Remedy }

func (e *Env) remove(ctx context.Context, gone []MadeNode) error {
	var steps []Step
	for _, m := range gone {
		s := Step{Name: "remove", Node: m.Name, Run: pruneNode(m)}
		if e.existing() {
			s.Run = pruneMachine(m)
		}
		if len(steps) > 0 {
			s.After = []string{steps[len(steps)-1].Key()}
		}
		steps = append(steps, s)
	}
	return runSteps(ctx, e, steps)
}

// NoManagerError is a node that cannot leave the swarm properly, because no
// manager of the lab answers.
type NoManagerError struct{ Err error }

func (e *NoManagerError) Error() string {
	return fmt.Sprintf("no manager that stays answers, so no node can leave the swarm: %v", e.Err)
}

// Hint says how to get one.
func (e *NoManagerError) Hint() string {
	return "`labctl create` boots them, with the node in lab.toml; then take it out again for `labctl create --prune`, or leave it in for --rebuild"
}

func (e *NoManagerError) Unwrap() error { return e.Err }

func pruneNode(m MadeNode) func(context.Context, *Env, func(string)) (bool, error) {
	return func(ctx context.Context, e *Env, say func(string)) (bool, error) {
		leader, err := e.stayingManager(ctx, m.Name, say)
		if err != nil {
			return false, err
		}
		// The snapshot knows a swarm with this node.
		if err := e.outdate(); err != nil {
			return false, err
		}
		if err := e.leaveFor(ctx, leader, m, say); err != nil {
			return false, err
		}
		e.hangUp(m.Name)
		say("destroying the VM")
		if err := e.destroyOnly(ctx, m.node()); err != nil {
			return true, err
		}
		if err := remote.Forget(e.dialOptions().KnownHosts, m.Name); err != nil {
			return true, err
		}
		return true, e.forgetNode(m.Name)
	}
}

// stayingManager connects to the first manager, of those that stay, that leads
// or follows in a swarm; goes is the node that does not stay.
func (e *Env) stayingManager(ctx context.Context, goes string, say func(string)) (*client.Client, error) {
	var errs []error
	for _, n := range e.Lab.Managers() {
		if n.Name == goes || !slices.Contains(e.knownNodes(), n.Name) {
			continue
		}
		api, err := e.reach(ctx, n, say)
		if err == nil {
			var info client.SystemInfoResult
			if info, err = api.Info(ctx, client.InfoOptions{}); err == nil && info.Info.Swarm.ControlAvailable {
				return api, nil
			}
		}
		if err == nil {
			err = fmt.Errorf("%s: is no manager of a swarm", n.Name)
		}
		errs = append(errs, err)
	}
	if errs == nil {
		errs = append(errs, errors.New("none of them has a VM"))
	}
	return nil, &NoManagerError{errors.Join(errs...)}
}

// reach connects to a node that should run, without long patience.
func (e *Env) reach(ctx context.Context, n config.Node, say func(string)) (*client.Client, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, pruneConnect, fmt.Errorf("no answer within %v", pruneConnect))
	defer cancel()
	if _, err := e.Connect(ctx, n, say); err != nil {
		return nil, err
	}
	return e.API(n)
}

// hangUp ends the connection to a node, if there is one.
func (e *Env) hangUp(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if a := e.apis[name]; a != nil {
		_ = a.Close()
	}
	if c := e.conns[name]; c != nil {
		_ = c.Close()
	}
	delete(e.apis, name)
	delete(e.conns, name)
}

// leaveFor takes the node out of the swarm as leader's engine sees it. A node
// that is not in it any more is done.
func (e *Env) leaveFor(ctx context.Context, leader *client.Client, m MadeNode, say func(string)) error {
	list, err := leader.NodeList(ctx, client.NodeListOptions{})
	if err != nil {
		return fmt.Errorf("list the swarm's nodes: %w", err)
	}
	for _, n := range list.Items {
		if n.Description.Hostname != m.Name {
			continue
		}
		if err := e.takeOut(ctx, leader, m, n, say); err != nil {
			return err
		}
	}
	return nil
}

func (e *Env) takeOut(ctx context.Context, leader *client.Client, m MadeNode, n swarm.Node, say func(string)) error {
	if n.Status.State == swarm.NodeStateReady {
		say("draining")
		if err := changeNode(ctx, leader, n.ID, func(s *swarm.NodeSpec) { s.Availability = swarm.NodeAvailabilityDrain }); err != nil {
			return fmt.Errorf("drain: %w", err)
		}
		if err := drained(ctx, leader, n.ID, say); err != nil {
			return err
		}
	}
	if n.Spec.Role == swarm.NodeRoleManager {
		say("demoting")
		if err := changeNode(ctx, leader, n.ID, func(s *swarm.NodeSpec) { s.Role = swarm.NodeRoleWorker }); err != nil {
			return fmt.Errorf("demote: %w", err)
		}
		if err := demoted(ctx, leader, n.ID, say); err != nil {
			return err
		}
	}
	if n.Status.State == swarm.NodeStateReady {
		say("leaving the swarm")
		if api, err := e.reach(ctx, m.node(), say); err == nil {
			if _, err := labswarm.Leave(ctx, labswarm.Member{Name: m.Name, Role: m.Role, Addr: m.IP, API: api}, true); err != nil {
				return err
			}
		} else if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	say("removing its entry")
	return removeEntry(ctx, leader, n.ID)
}

// changeNode writes a node's spec. Somebody else may change it between our
// reading and writing; then it is read again.
func changeNode(ctx context.Context, leader *client.Client, id string, change func(*swarm.NodeSpec)) error {
	const tries = 5
	for try := 1; ; try++ {
		res, err := leader.NodeInspect(ctx, id, client.NodeInspectOptions{})
		if err != nil {
			return err
		}
		spec := res.Node.Spec
		change(&spec)
		_, err = leader.NodeUpdate(ctx, id, client.NodeUpdateOptions{Version: res.Node.Version, Spec: spec})
		if err == nil || try == tries || ctx.Err() != nil {
			return err
		}
	}
}

// until polls done until it is true, fails, or within has passed, which is an
// error with the reason that done gave last.
func until(ctx context.Context, within time.Duration, say func(string), done func() (ok bool, reason string, err error)) error {
	deadline := time.Now().Add(within)
	for {
		ok, reason, err := done()
		if err != nil || ok {
			return err
		}
		say(reason)
		if time.Until(deadline) <= 0 {
			return fmt.Errorf("%s after %v", reason, within)
		}
		t := time.NewTimer(pruneEvery)
		select {
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		case <-t.C:
		}
	}
}

func drained(ctx context.Context, leader *client.Client, id string, say func(string)) error {
	return until(ctx, drainWithin, say, func() (bool, string, error) {
		list, err := leader.TaskList(ctx, client.TaskListOptions{Filters: make(client.Filters).Add("node", id)})
		if err != nil {
			return false, "", fmt.Errorf("list the node's tasks: %w", err)
		}
		running := 0
		for _, t := range list.Items {
			if t.Status.State == swarm.TaskStateRunning {
				running++
			}
		}
		return running == 0, fmt.Sprintf("draining: %d tasks still run", running), nil
	})
}

func demoted(ctx context.Context, leader *client.Client, id string, say func(string)) error {
	return until(ctx, demoteWithin, say, func() (bool, string, error) {
		res, err := leader.NodeInspect(ctx, id, client.NodeInspectOptions{})
		if err != nil {
			return false, "", fmt.Errorf("ask for its role: %w", err)
		}
		return res.Node.ManagerStatus == nil, "demoting: it is still a manager", nil
	})
}

// removeEntry removes the node from the swarm's list; the managers need some
// seconds to see that it has left.
func removeEntry(ctx context.Context, leader *client.Client, id string) error {
	var last error
	err := until(ctx, leaveWithin, func(string) {}, func() (bool, string, error) {
		_, last = leader.NodeRemove(ctx, id, client.NodeRemoveOptions{Force: true})
		return last == nil || errdefs.IsNotFound(last), "its entry cannot be removed", nil
	})
	if err != nil && last != nil {
		return fmt.Errorf("%w: %w", err, last)
	}
	return err
}

// destroyOnly destroys the VM of one node that is in no lab.toml any more:
// Vagrant destroys what its Vagrantfile names. Whatever happens, the lab's own
// Vagrantfile is back afterwards.
func (e *Env) destroyOnly(ctx context.Context, n config.Node) error {
	err := e.writeVagrantfile(n)
	if err == nil {
		err = e.Vagrant().Destroy(ctx)
	}
	return errors.Join(err, e.writeVagrantfile(e.Lab.Nodes...))
}

// writeVagrantfile writes a Vagrantfile with just these nodes.
func (e *Env) writeVagrantfile(nodes ...config.Node) error {
	o, err := e.renderOptions()
	if err != nil {
		return err
	}
	l := e.AsMade()
	l.Nodes = nodes
	text, err := vagrant.Render(l, o)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(e.StateDir(), "Vagrantfile"), text)
}
