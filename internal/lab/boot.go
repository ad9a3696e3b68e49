package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"labctl/internal/apt"
	"labctl/internal/box"
	"labctl/internal/config"
	"labctl/internal/remote"
	"labctl/internal/vagrant"
)

// bootRun is the one `vagrant up` that the boot steps of all nodes share.
type bootRun struct {
	once    sync.Once
	running map[string]bool          // before this run
	ready   map[string]chan struct{} // closed when labctl can go on with the node
	done    chan struct{}            // closed when Vagrant has ended
	err     error                    // why, valid after done
	mu      sync.Mutex
	say     map[string]func(string)
	address map[string]string // of nodes that boot, as soon as it is known
}

// boot waits for its node; the first one to come starts Vagrant for all.
func boot(n config.Node) func(context.Context, *Env, func(string)) (bool, error) {
	return func(ctx context.Context, e *Env, say func(string)) (bool, error) {
		b := &e.boot
		b.mu.Lock()
		if b.say == nil {
			b.say = map[string]func(string){}
		}
		b.say[n.Name] = say
		b.mu.Unlock()
		b.once.Do(func() { b.start(ctx, e) })
		select {
		case <-b.ready[n.Name]:
		case <-b.done:
			select {
			case <-b.ready[n.Name]: // both at once: it is up
			default:
				if b.err == nil {
					return false, errors.New("vagrant up ended without a word about this node")
				}
				return false, b.err
			}
		}
		return !b.running[n.Name], nil
	}
}

// Boot deadlines for a whole lab: booting takes about a minute a pair of
// nodes, several times that without KVM; downloading a public box can take
// most of the rest.
const (
	bootDeadline    = 15 * time.Minute
	bootDeadlineTCG = 30 * time.Minute
)

func (b *bootRun) start(ctx context.Context, e *Env) {
	b.done = make(chan struct{})
	b.ready = map[string]chan struct{}{}
	b.running = map[string]bool{}
	for _, n := range e.Lab.Nodes {
		b.ready[n.Name] = make(chan struct{})
	}
	ended, err := e.Vagrant().EndOrphans(ctx)
	if ended > 0 {
		for _, n := range e.Lab.Nodes {
			b.tell(n.Name, "ended the Vagrant that a killed labctl had left at work")
		}
	}
	var states map[string]vagrant.State
	if err == nil {
		states, err = e.Vagrant().Status(ctx)
	}
	if err != nil {
		b.err = err
		close(b.done)
		return
	}
	var names []string
	for _, n := range e.Lab.Nodes {
		// Vagrant has work left to do on a VM that runs if it was interrupted.
		if states[n.Name] == vagrant.Running && !slices.Contains(e.State.Booting, n.Name) {
			b.running[n.Name] = true
			close(b.ready[n.Name])
			continue
		}
		names = append(names, n.Name)
		if s := states[n.Name]; s == vagrant.NotCreated || s == "" {
			// A new VM has a new host key, and perhaps another address.
			_ = os.Remove(e.endpointFile(n))
			if err := remote.Forget(e.dialOptions().KnownHosts, n.Name); err != nil {
				b.err = err
				close(b.done)
				return
			}
		}
	}
	go func() {
		defer close(b.done)
		if len(names) > 0 {
			b.err = b.up(ctx, e, names)
		}
	}()
}

// wait waits until Vagrant has ended, if it was started, and returns why it
// failed.
func (b *bootRun) wait() error {
	if b.done == nil {
		return nil
	}
	<-b.done
	return b.err
}

// found notes a node's address. What Vagrant says of the node from here on is
// no news of its boot.
func (b *bootRun) found(node, host string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.address == nil {
		b.address = map[string]string{}
	}
	b.address[node] = host
	delete(b.say, node)
}

// at is the node's address, "" if it is not known.
func (b *bootRun) at(node string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.address[node]
}

func (b *bootRun) up(ctx context.Context, e *Env, names []string) error {
	if err := e.clearLeftovers(ctx, names); err != nil {
		return err
	}
	if err := e.defineManagement(ctx); err != nil {
		return err
	}
	hasBox, err := e.boxTurn(ctx, func(text string) {
		for _, n := range names {
			b.tell(n, text)
		}
	})
	if err != nil {
		return err
	}
	defer hasBox()
	if err := e.State.Change(func(s *State) { s.Booting = slices.Clone(names) }); err != nil {
		return err
	}
	deadline := bootDeadline
	if e.Choice.Accel == config.AccelTCG {
		deadline = bootDeadlineTCG
	}
	if e.BootWithin > 0 {
		deadline = e.BootWithin
	}
	up := map[string]func(){}
	for _, n := range names {
		up[n] = sync.OnceFunc(func() { close(b.ready[n]) })
	}
	goOn := func(node string) {
		if ready := up[node]; ready != nil { // else it is none of ours
			ready()
		}
	}
	// With other boxes Vagrant still has keys and addresses to set. Here nothing
	// is left for it to do.
	address := func(node, host string) {
		if e.ownBox() {
			b.found(node, host)
			goOn(node)
		}
	}
	booting, booted := context.WithCancel(ctx)
	defer booted()
	err = e.Vagrant().Up(ctx, names, deadline, vagrant.UpEvents{
		Line: func(node, line string) {
			b.tell(node, line)
			if strings.HasPrefix(line, "Creating image") { // of the box
				hasBox()
			}
			if e.ownBox() && strings.HasPrefix(line, "Waiting for domain to get an IP address") {
				go e.awaitLease(booting, node, func(host string) { address(node, host) })
			}
		},
		Address: address,
		Ready: func(node string) {
			// If it cannot be written, the next create asks Vagrant once more.
			_ = e.State.Change(func(s *State) {
				s.Booting = slices.DeleteFunc(s.Booting, func(n string) bool { return n == node })
			})
			goOn(node)
		},
	})
	if err != nil {
		return err
	}
	for _, n := range names {
		goOn(n)
	}
	return e.State.Change(func(s *State) { s.Booting = nil })
}

// boxTurn waits until no other lab's Vagrant adds a box of labctl's: both would
// fetch it by way of one temporary file. Others wait in turn until done is
// called.
func (e *Env) boxTurn(ctx context.Context, say func(string)) (done func(), err error) {
	if !e.ownBox() {
		return func() {}, nil
	}
	b, _, ok, err := e.nodeBox()
	if err != nil || !ok {
		return func() {}, err
	}
	return turn(ctx, b, say)
}

// turn is boxTurn for a box from the cache.
func turn(ctx context.Context, b box.Box, say func(string)) (done func(), err error) {
	if vagrant.KnowsBox(b.Name) {
		return func() {}, nil
	}
	done, err = apt.Lock(ctx, filepath.Join(filepath.Dir(b.Path), "adding.lock"), func() { say("waiting for the Vagrant of another lab, which adds a box") })
	if err != nil {
		return nil, err
	}
	return sync.OnceFunc(done), nil
}

// tell shows what Vagrant does for a node.
func (b *bootRun) tell(node, line string) {
	b.mu.Lock()
	say := b.say[node]
	b.mu.Unlock()
	if say != nil {
		say(line)
	}
}
