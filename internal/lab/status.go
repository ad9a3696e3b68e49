package lab

import (
	"context"
	"slices"
	"sync"
	"time"

	"labctl/internal/config"
	"labctl/internal/dockerapi"
	"labctl/internal/swarm"
	"labctl/internal/vagrant"
)

// Status is what a lab is at this moment: asked, not remembered.
type Status struct {
	Lab      string          `json:"lab"`
	Provider config.Provider `json:"provider,omitempty"` // "" before create
	Nodes    []NodeStatus    `json:"nodes"`
	// Ready says that every node is a Ready member of one swarm at its
	// address.
	Ready bool `json:"ready"`
}

// NodeStatus is one node's part of Status.
type NodeStatus struct {
	Name   string        `json:"name"`
	Role   config.Role   `json:"role"`
	IP     string        `json:"ip"`
	VM     vagrant.State `json:"vm"`
	Docker string        `json:"docker,omitempty"` // Engine version; "" if it does not answer
	Swarm  string        `json:"swarm,omitempty"`  // "ready", "down", …; "" outside the swarm
	Leader bool          `json:"leader,omitempty"`
	Error  string        `json:"error,omitempty"` // why something could not be asked
}

// What is known of machines that labctl did not make.
const (
	reachable   vagrant.State = "reachable"
	unreachable vagrant.State = "unreachable"
	notInUse    vagrant.State = "not in use" // create was not run
)

// statusWithin bounds what a node that does not answer costs.
const statusWithin = 40 * time.Second

// nodeAsked is one node that Status asks.
type nodeAsked struct {
	runs   chan struct{} // closed once its VM is known to run
	give   func()        // gives it up: its VM does not run
	done   chan struct{} // closed when docker and err are there
	docker string
	err    error
}

// Status asks for the VMs, every node and a manager's view of the swarm, all
// side by side. What a node says counts only if its VM runs.
func (e *Env) Status(ctx context.Context) (Status, error) {
	st := Status{Lab: e.Lab.Name, Provider: e.State.Provider, Nodes: make([]NodeStatus, len(e.Lab.Nodes))}
	hasVMs := e.State.Provider != "" && !e.existing() && (e.State.Provider != config.Embedded || e.Engine().Inside())
	var asked []*nodeAsked
	var members []swarm.NodeState
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer wg.Wait() // cancel comes first
	defer cancel()
	if hasVMs || e.existing() {
		for _, n := range e.Lab.Nodes {
			ctx, give := context.WithCancel(ctx)
			a := &nodeAsked{runs: make(chan struct{}), give: give, done: make(chan struct{})}
			asked = append(asked, a)
			wg.Go(func() {
				defer give()
				defer close(a.done)
				a.docker, a.err = e.askDocker(ctx, n, a.runs)
			})
		}
		wg.Go(func() { members = e.askSwarm(ctx, asked) })
	}
	vms := map[string]vagrant.State{}
	if hasVMs {
		var err error
		if vms, err = e.Vagrant().Status(ctx); err != nil {
			return st, err
		}
	}
	for i, n := range e.Lab.Nodes {
		st.Nodes[i] = NodeStatus{Name: n.Name, Role: n.Role, IP: n.IP.String(), VM: e.vmState(n, vms)}
		switch {
		case len(asked) == 0:
		case e.existing() || vms[n.Name] == vagrant.Running:
			close(asked[i].runs)
		default:
			asked[i].give()
		}
	}
	wg.Wait()
	for i, a := range asked {
		s := &st.Nodes[i]
		switch {
		case e.existing():
			s.VM = unreachable
			if e.Runner(s.Name) != nil {
				s.VM = reachable
			}
		case s.VM != vagrant.Running:
			continue
		}
		if s.Docker = a.docker; a.err != nil {
			s.Error = a.err.Error()
		}
	}
	st.judge(members)
	return st, nil
}

// vmState is the state of a node's VM as vms or, without them, the lab's state
// has it.
func (e *Env) vmState(n config.Node, vms map[string]vagrant.State) vagrant.State {
	switch {
	case vms[n.Name] != "":
		return vms[n.Name]
	case e.State.Provider == config.Embedded && e.vagrantKnows(n.Name):
		return vagrant.PowerOff // the engine is not running
	case e.Lab.Provider == config.Existing:
		return notInUse
	}
	return vagrant.NotCreated
}

// askDocker asks for the Engine's version. Where the node answered last time
// it can be tried at once; to find out where it is now only makes sense once
// its VM is known to run.
func (e *Env) askDocker(ctx context.Context, n config.Node, runs <-chan struct{}) (string, error) {
	known := !e.existing() && e.redial(ctx, n) != nil
	if !known {
		select {
		case <-runs:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	ctx, cancel := context.WithTimeout(ctx, statusWithin)
	defer cancel()
	var err error
	switch {
	case e.existing():
		_, err = e.Connect(ctx, n, func(string) {})
	case !known:
		_, err = e.connectAnew(ctx, n, func(string) {})
	}
	if err != nil {
		return "", err
	}
	api, err := e.API(n)
	if err != nil {
		return "", err
	}
	begin := time.Now()
	v, err := dockerapi.Version(ctx, api)
	if err != nil {
		return "", &dockerapi.NotReadyError{Node: n.Name, Within: time.Since(begin).Round(time.Millisecond), Err: err}
	}
	return v, nil
}

// askSwarm lets the first manager whose engine answers tell about all nodes.
// It does not wait for the other nodes.
func (e *Env) askSwarm(ctx context.Context, asked []*nodeAsked) []swarm.NodeState {
	for i, n := range e.Lab.Nodes {
		if n.Role != config.Manager {
			continue
		}
		<-asked[i].done
		if asked[i].docker == "" {
			continue
		}
		m, err := e.member(n)
		if err != nil {
			continue
		}
		within, cancel := context.WithTimeout(ctx, statusWithin)
		members, err := swarm.List(within, m)
		cancel()
		if err == nil {
			return members
		}
	}
	return nil
}

// judge adds what the swarm says of the nodes; it is nil if no manager told.
func (st *Status) judge(members []swarm.NodeState) {
	st.Ready = members != nil
	for i := range st.Nodes {
		s := &st.Nodes[i]
		k := slices.IndexFunc(members, func(x swarm.NodeState) bool { return x.Name == s.Name && x.Addr.String() == s.IP })
		if k < 0 {
			st.Ready = false
			continue
		}
		s.Swarm, s.Leader = members[k].State, members[k].Leader
		// A manager takes a while to notice that a node has gone.
		st.Ready = st.Ready && s.Swarm == "ready" && s.Docker != ""
	}
}
