package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/moby/moby/client"

	"labctl/internal/config"
	"labctl/internal/existing"
	"labctl/internal/provision"
	"labctl/internal/remote"
	"labctl/internal/swarm"
)

// existing says whether the lab's machines are there without labctl.
func (e *Env) existing() bool { return e.Choice.Provider == config.Existing }

// existingWithin is how long a machine that should be on may take to answer.
const existingWithin = 20 * time.Second

func (e *Env) connectExisting(ctx context.Context, n config.Node, say func(string)) (*remote.Conn, error) {
	ep, err := e.endpoint(ctx, n, say)
	if err != nil {
		return nil, err
	}
	return e.dial(ctx, n, ep, say)
}

// takeOverSteps is create for machines that are there already. Nothing is
// changed on any before all of them have been looked at.
func takeOverSteps(l *config.Lab) []Step {
	steps := connectSteps(l)
	var seen []string
	for _, s := range steps {
		seen = append(seen, s.Key())
	}
	for _, n := range l.Nodes {
		steps = append(steps,
			Step{Name: "prepare", Node: n.Name, After: seen, Run: prepare(n)},
			Step{Name: "install docker", Node: n.Name, After: []string{key("prepare", n.Name)}, Run: installDocker(n)},
		)
	}
	leader := l.Managers()[0]
	steps = append(steps, Step{Name: "swarm init", Node: leader.Name, After: []string{key("install docker", leader.Name)}, Run: swarmInit(leader)})
	return append(steps, joinSteps(l, key("swarm init", leader.Name), "install docker")...)
}

// HostNameError is a machine whose name is not the one that lab.toml gives it.
type HostNameError struct{ Node, Has string }

func (e *HostNameError) Error() string {
	return fmt.Sprintf("%s: the machine calls itself %s", e.Node, e.Has)
}

// Hint says how the two become one.
func (e *HostNameError) Hint() string {
	return fmt.Sprintf("labctl renames no machine of yours: set its name in lab.toml, or on the machine: sudo hostnamectl set-hostname %s", e.Node)
}

// TakenError is a machine that another lab has.
type TakenError struct{ Node, Lab string }

func (e *TakenError) Error() string {
	return fmt.Sprintf("%s: belongs to the lab %q", e.Node, e.Lab)
}

// Hint says who can give it back.
func (e *TakenError) Hint() string {
	return "`labctl destroy` in that lab's folder gives it back; or name this lab the same to take it over"
}

// look connects to a machine and refuses what labctl must not touch; if it is
// only to be given back, what is not this lab's is passed over. It changes
// nothing.
func (e *Env) look(ctx context.Context, n config.Node, leaving bool, say func(string)) error {
	say("looking at what is there")
	c, err := e.Connect(ctx, n, say)
	if err != nil {
		return err
	}
	f, err := existing.Look(ctx, c, n.Name)
	if err != nil {
		return err
	}
	switch {
	case leaving && (f.Made == nil || f.Made.Lab != e.Lab.Name):
		// Nothing here is this lab's, but for the Docker that labctl installed
		// and an earlier destroy left.
		if !e.Purge || f.Made == nil || f.Made.Lab != "" || f.Foreign() {
			f.Made = nil
		}
	case f.Hostname != n.Name && !leaving:
		return &HostNameError{Node: n.Name, Has: f.Hostname}
	case f.Made != nil && f.Made.Lab != "" && f.Made.Lab != e.Lab.Name:
		return &TakenError{Node: n.Name, Lab: f.Made.Lab}
	case f.Foreign():
		return &swarm.ForeignSwarmError{Node: n.Name, Managers: f.Managers, Existing: true}
	}
	e.setFacts(n, f)
	return nil
}

func (e *Env) setFacts(n config.Node, f existing.Facts) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.facts == nil {
		e.facts = map[string]existing.Facts{}
	}
	e.facts[n.Name] = f
}

func (e *Env) factsOf(n config.Node) existing.Facts {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.facts[n.Name]
}

// ours are the nodes that this lab has taken over and whose Docker answers: all
// of them, but on machines that labctl did not make.
func (e *Env) ours(n config.Node) bool {
	f := e.factsOf(n)
	return !e.existing() || f.Made != nil && f.Made.Lab == e.Lab.Name && f.Swarm != ""
}

// takeOver notes on the machine what was there, before anything is changed,
// and in the state that the machine is the lab's.
func (e *Env) takeOver(ctx context.Context, n config.Node) error {
	err := e.State.Change(func(s *State) {
		if !slices.ContainsFunc(s.Nodes, func(m MadeNode) bool { return m.Name == n.Name }) {
			s.Nodes = append(s.Nodes, made(e.Lab, n))
		}
	})
	if err != nil {
		return err
	}
	f := e.factsOf(n)
	if f.Made != nil && f.Made.Lab == e.Lab.Name {
		return nil
	}
	made := &existing.Made{Lab: e.Lab.Name, Docker: !f.Docker || f.Made != nil && f.Made.Docker, Spare: f.Things}
	return e.note(ctx, n, made)
}

func (e *Env) note(ctx context.Context, n config.Node, made *existing.Made) error {
	if err := made.Write(ctx, e.Runner(n.Name), n.Name); err != nil {
		return err
	}
	f := e.factsOf(n)
	f.Made = made
	e.setFacts(n, f)
	return nil
}

// theirDocker says whether the node had Docker before labctl came.
func (e *Env) theirDocker(n config.Node) bool {
	m := e.factsOf(n).Made
	return e.existing() && m != nil && !m.Docker
}

// spare are the things of the node that no cleaning takes.
func (e *Env) spare(n config.Node) []string {
	if m := e.factsOf(n).Made; m != nil {
		return m.Spare
	}
	return nil
}

// noted changes the node's part in the swarm, and on a machine that labctl did
// not make keeps a note of it there: before, since the change may be cut
// short, and after.
func (e *Env) noted(ctx context.Context, m swarm.Member, n config.Node, change func() (bool, error)) (bool, error) {
	if !e.existing() {
		return change()
	}
	made := existing.Made{Lab: e.Lab.Name}
	if f := e.factsOf(n); f.Made != nil {
		made = *f.Made
	}
	if made.Swarm == "" {
		made.Swarm = existing.Forming
		if err := e.note(ctx, n, &made); err != nil {
			return false, err
		}
	}
	changed, err := change()
	info, ierr := m.API.Info(ctx, client.InfoOptions{})
	if ierr != nil {
		return changed, errors.Join(err, ierr)
	}
	now := made
	now.Swarm = info.Info.Swarm.NodeID
	if now.Swarm == made.Swarm {
		return changed, err
	}
	return changed, errors.Join(err, e.note(ctx, n, &now))
}

// giveBackSteps is destroy for machines that labctl did not make. Of those in
// gone lab.toml does not speak any more: they may be gone themselves.
func (e *Env) giveBackSteps(gone []MadeNode) []Step {
	steps := connectSteps(e.Lab)
	var seen, left []string
	for i, s := range steps {
		if slices.ContainsFunc(gone, func(m MadeNode) bool { return m.Name == s.Node }) {
			steps[i].Run = ifThere(s)
		}
		seen = append(seen, s.Key())
	}
	steps = append(steps, Step{Name: "clean", After: seen, Run: cleanSwarm})
	after := "clean"
	for _, n := range append(e.Lab.Workers(), e.Lab.Managers()...) {
		s := Step{Name: "swarm leave", Node: n.Name, After: []string{after}, Run: swarmLeave(n)}
		steps = append(steps, s)
		after = s.Key()
	}
	for _, n := range e.Lab.Nodes {
		s := Step{Name: "give back", Node: n.Name, After: []string{after}, Run: giveBack(n)}
		steps = append(steps, s)
		left = append(left, s.Key())
	}
	steps = append(steps, Step{Name: "remove exports", After: left, Run: removeExports})
	return append(steps, Step{Name: "remove state", After: []string{"remove exports"}, Run: removeState})
}

// ifThere is the step connect, which passes over a machine that does not
// answer.
func ifThere(s Step) func(context.Context, *Env, func(string)) (bool, error) {
	return func(ctx context.Context, e *Env, say func(string)) (bool, error) {
		changed, err := s.Run(ctx, e, say)
		if err != nil && ctx.Err() == nil && e.Runner(s.Node) == nil {
			e.passOver(s.Node, err, say)
			err = nil
		}
		return changed, err
	}
}

func (e *Env) passOver(node string, why error, say func(string)) {
	say("it does not answer: what labctl made there stays")
	if e.Log != nil {
		e.Log.WithError(why).Warn(node + ": passed over; what labctl made there stays")
	}
}

// pruneMachine takes a machine that labctl did not make, and that lab.toml does
// not name any more, out of the swarm, and gives it back. One that does not
// answer only leaves the swarm's list.
func pruneMachine(m MadeNode) func(context.Context, *Env, func(string)) (bool, error) {
	return func(ctx context.Context, e *Env, say func(string)) (bool, error) {
		leader, err := e.stayingManager(ctx, m.Name, say)
		if err != nil {
			return false, err
		}
		n := m.node()
		silent := e.look(ctx, n, true, say)
		if silent != nil && (ctx.Err() != nil || e.Runner(n.Name) != nil) {
			return false, silent
		}
		if err := e.leaveFor(ctx, leader, m, say); err != nil {
			return false, err
		}
		if silent != nil {
			e.passOver(n.Name, silent, say)
			return true, e.forgetNode(m.Name)
		}
		if _, err := e.clean(ctx, []config.Node{n}, say); err != nil {
			return true, err
		}
		if _, err := giveBack(n)(ctx, e, say); err != nil {
			return true, err
		}
		return true, e.forgetNode(m.Name)
	}
}

func giveBack(n config.Node) func(context.Context, *Env, func(string)) (bool, error) {
	return func(ctx context.Context, e *Env, say func(string)) (bool, error) {
		m := e.factsOf(n).Made
		if m == nil {
			return false, nil // never taken over
		}
		return provision.GiveBack(ctx, e.Runner(n.Name), n.Name, m.Docker, e.Purge, say)
	}
}
