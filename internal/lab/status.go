package lab

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/moby/moby/client"

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

// Status asks Vagrant, then every running node side by side.
func (e *Env) Status(ctx context.Context) (Status, error) {
	st := Status{Lab: e.Lab.Name, Provider: e.State.Provider}
	vms := map[string]vagrant.State{}
	if e.State.Provider != "" && !e.existing() && (e.State.Provider != config.Embedded || e.Engine().Inside()) {
		var err error
		if vms, err = e.Vagrant().Status(ctx); err != nil {
			return st, err
		}
	}
	st.Nodes = make([]NodeStatus, len(e.Lab.Nodes))
	var wg sync.WaitGroup
	for i, n := range e.Lab.Nodes {
		s := &st.Nodes[i]
		*s = NodeStatus{Name: n.Name, Role: n.Role, IP: n.IP.String(), VM: vms[n.Name]}
		if s.VM == "" {
			s.VM = vagrant.NotCreated
			if e.Lab.Provider == config.Existing {
				s.VM = notInUse
			}
			if e.State.Provider == config.Embedded && e.vagrantKnows(n.Name) {
				s.VM = vagrant.PowerOff // the engine is not running
			}
		}
		if s.VM != vagrant.Running && !e.existing() {
			continue
		}
		wg.Go(func() {
			if err := e.askDocker(ctx, n, s); err != nil {
				s.Error = err.Error()
			}
			if e.existing() {
				s.VM = unreachable
				if e.Runner(n.Name) != nil {
					s.VM = reachable
				}
			}
		})
	}
	wg.Wait()
	e.askSwarm(ctx, &st)
	return st, nil
}

func (e *Env) askDocker(ctx context.Context, n config.Node, s *NodeStatus) error {
	ctx, cancel := context.WithTimeout(ctx, statusWithin)
	defer cancel()
	if _, err := e.Connect(ctx, n, func(string) {}); err != nil {
		return err
	}
	api, err := e.API(n)
	if err != nil {
		return err
	}
	begin := time.Now()
	v, err := api.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return &dockerapi.NotReadyError{Node: n.Name, Within: time.Since(begin).Round(time.Millisecond), Err: err}
	}
	s.Docker = v.Version
	return nil
}

// askSwarm lets the first manager that answers tell about all nodes.
func (e *Env) askSwarm(ctx context.Context, st *Status) {
	ctx, cancel := context.WithTimeout(ctx, statusWithin)
	defer cancel()
	for i, n := range e.Lab.Nodes {
		if n.Role != config.Manager || st.Nodes[i].Docker == "" {
			continue
		}
		m, err := e.member(n)
		if err != nil {
			continue
		}
		states, err := swarm.List(ctx, m)
		if err != nil {
			continue
		}
		st.Ready = true
		for j := range st.Nodes {
			s := &st.Nodes[j]
			k := slices.IndexFunc(states, func(x swarm.NodeState) bool { return x.Name == s.Name && x.Addr.String() == s.IP })
			if k < 0 {
				st.Ready = false
				continue
			}
			s.Swarm, s.Leader = states[k].State, states[k].Leader
			// A manager takes a while to notice that a node has gone.
			st.Ready = st.Ready && s.Swarm == "ready" && s.Docker != ""
		}
		return
	}
}
