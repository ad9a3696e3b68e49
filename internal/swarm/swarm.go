// Package swarm forms a Docker Swarm out of nodes that have an engine, keeps
// it as lab.toml wants it, and takes it apart. It asks and tells everything
// through the Engine API and never reads the text of a command. Join tokens
// travel in request bodies only; no error of this package holds one.
//
// Every function is check ▸ act ▸ verify: what stands is kept, so that an
// interrupted run is finished by the next one.
//
// Each node is told its own address of the lab's network. Without that the
// engine of a node with two network cards advertises the first one, which on
// VirtualBox is the same 10.0.2.15 everywhere, behind NAT; such a swarm shows
// all nodes Ready, but its overlays carry nothing.
package swarm

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"

	"labctl/internal/config"
)

// API is what this package needs of *client.Client.
type API interface {
	Info(context.Context, client.InfoOptions) (client.SystemInfoResult, error)
	SwarmInit(context.Context, client.SwarmInitOptions) (client.SwarmInitResult, error)
	SwarmInspect(context.Context, client.SwarmInspectOptions) (client.SwarmInspectResult, error)
	SwarmJoin(context.Context, client.SwarmJoinOptions) (client.SwarmJoinResult, error)
	SwarmLeave(context.Context, client.SwarmLeaveOptions) (client.SwarmLeaveResult, error)
	NodeList(context.Context, client.NodeListOptions) (client.NodeListResult, error)
	NodeInspect(context.Context, string, client.NodeInspectOptions) (client.NodeInspectResult, error)
	NodeUpdate(context.Context, string, client.NodeUpdateOptions) (client.NodeUpdateResult, error)
	NodeRemove(context.Context, string, client.NodeRemoveOptions) (client.NodeRemoveResult, error)
	NetworkCreate(context.Context, string, client.NetworkCreateOptions) (client.NetworkCreateResult, error)
}

var _ API = (*client.Client)(nil)

// Member is a node that shall be in the swarm.
type Member struct {
	Name string // as in lab.toml; the node's host name
	Role config.Role
	Addr netip.Addr // in the lab's own network
	API  API        // of this node's engine
}

// Options is what a swarm is given at its birth and keeps for life. The zero
// value takes the engine's defaults.
type Options struct {
	Pool         []netip.Prefix // for overlays; nil: 10.0.0.0/8
	SubnetSize   int            // prefix length cut from Pool; 0: 24
	DataPathPort uint16         // VXLAN, UDP; 0: 4789
	// Heartbeat is how often a node tells the managers that it lives; after
	// three that are missed its tasks move away. 0: 5 s.
	Heartbeat time.Duration
}

// NodeState is one line of the swarm's own node list.
type NodeState struct {
	ID           string      `json:"id"`
	Name         string      `json:"name"` // the host name
	Role         config.Role `json:"role"`
	Addr         netip.Addr  `json:"addr"` // zero if the swarm does not know it
	State        string      `json:"state"`
	Availability string      `json:"availability"`
	Leader       bool        `json:"leader,omitempty"`
	// Reachability and ManagerAddr (with port) are "" for workers.
	Reachability  string `json:"reachability,omitempty"`
	ManagerAddr   string `json:"manager_addr,omitempty"`
	EngineVersion string `json:"engine_version"`
}

// ControlPort is where managers listen, TCP.
const ControlPort = 2377

const listenAddr = "0.0.0.0:2377"

func controlAddr(a netip.Addr) string {
	return netip.AddrPortFrom(a, ControlPort).String()
}

// pace holds the rhythm and the limits of all waiting.
type pace struct {
	interval time.Duration
	call     time.Duration // one question to an engine
	act      time.Duration // one init, join or leave; a join alone may take the engine 20 s
	settle   time.Duration // for an engine that is just starting its swarm part
	join     time.Duration // from the join request to an active node
	role     time.Duration // from a promotion or demotion to its effect
	down     time.Duration // until a manager misses a node that has gone
}

func normal() pace {
	return pace{
		interval: 500 * time.Millisecond,
		call:     30 * time.Second,
		act:      2 * time.Minute,
		settle:   30 * time.Second,
		join:     90 * time.Second,
		role:     60 * time.Second,
		down:     45 * time.Second,
	}
}

// info asks m's engine about its part in a swarm.
func (p pace) info(ctx context.Context, m Member) (swarm.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, p.call)
	defer cancel()
	res, err := m.API.Info(ctx, client.InfoOptions{})
	if err != nil {
		return swarm.Info{}, failed(m, "ask the engine", err)
	}
	return res.Info.Swarm, nil
}

// nodes reads the swarm's node list from a manager.
func (p pace) nodes(ctx context.Context, manager Member) ([]swarm.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, p.call)
	defer cancel()
	res, err := manager.API.NodeList(ctx, client.NodeListOptions{})
	if err != nil {
		return nil, failed(manager, "list the swarm's nodes", err)
	}
	return res.Items, nil
}

// settled is info after giving an engine that has just started, and is still
// finding its swarm, time to do so.
func (p pace) settled(ctx context.Context, m Member) (swarm.Info, error) {
	var info swarm.Info
	_, err := p.poll(ctx, m, p.settle, func() (bool, error) {
		var err error
		info, err = p.info(ctx, m)
		return info.LocalNodeState != swarm.LocalNodeStatePending, err
	})
	return info, err
}

// gateway makes the bridge through which a node's overlays reach the world, as
// the engine would when it first needs it: so a lab's networks are the same
// before its first service as after it. An engine that will not, because it has
// one or for another reason, is left to make it itself.
func (p pace) gateway(ctx context.Context, m Member) {
	ctx, cancel := context.WithTimeout(ctx, p.call)
	defer cancel()
	_, _ = m.API.NetworkCreate(ctx, "docker_gwbridge", client.NetworkCreateOptions{Driver: "bridge", Options: map[string]string{
		"com.docker.network.bridge.name":                 "docker_gwbridge",
		"com.docker.network.bridge.enable_icc":           "false",
		"com.docker.network.bridge.enable_ip_masquerade": "true",
	}})
}

// poll calls done until it says so, fails, or within has passed, which is
// (false, nil). It is called at least once. whom names whose engine is asked.
func (p pace) poll(ctx context.Context, whom Member, within time.Duration, done func() (bool, error)) (bool, error) {
	deadline := time.Now().Add(within)
	for {
		ok, err := done()
		if ok || err != nil {
			return ok, err
		}
		if time.Until(deadline) <= 0 {
			return false, nil
		}
		t := time.NewTimer(p.interval)
		select {
		case <-ctx.Done():
			t.Stop()
			return false, fmt.Errorf("%s: wait for the swarm: %w", whom.Name, context.Cause(ctx))
		case <-t.C:
		}
	}
}

// List returns the swarm's node list as the engine orders it. leader may be
// any manager.
func List(ctx context.Context, leader Member) ([]NodeState, error) {
	return normal().list(ctx, leader)
}

func (p pace) list(ctx context.Context, leader Member) ([]NodeState, error) {
	nodes, err := p.nodes(ctx, leader)
	if err != nil {
		return nil, err
	}
	out := make([]NodeState, len(nodes))
	for i, n := range nodes {
		out[i] = nodeState(n)
	}
	return out, nil
}

func nodeState(n swarm.Node) NodeState {
	s := NodeState{
		ID:            n.ID,
		Name:          n.Description.Hostname,
		Role:          config.Role(n.Spec.Role),
		State:         string(n.Status.State),
		Availability:  string(n.Spec.Availability),
		EngineVersion: n.Description.Engine.EngineVersion,
	}
	s.Addr, _ = netip.ParseAddr(n.Status.Addr)
	if m := n.ManagerStatus; m != nil {
		s.Leader, s.Reachability, s.ManagerAddr = m.Leader, string(m.Reachability), m.Addr
		// Status.Addr is where the node's agent was seen to come from. A
		// manager's agent may talk to the manager within the same process;
		// then it is 127.0.0.1 or 0.0.0.0 (moby issues 30119 and 35437), and
		// the manager's own address is right.
		if !s.Addr.IsValid() || s.Addr.IsUnspecified() || s.Addr.IsLoopback() {
			own, _ := netip.ParseAddrPort(m.Addr)
			s.Addr = own.Addr()
		}
	}
	return s
}

func prefixes(ps []netip.Prefix) string {
	words := make([]string, len(ps))
	for i, p := range ps {
		words[i] = p.String()
	}
	return strings.Join(words, ", ")
}

// failed names node and action, and lets no token through.
func failed(m Member, action string, err error) error {
	if strings.Contains(err.Error(), "The swarm does not have a leader") {
		return &StateError{Node: m.Name, Problem: action + ": the swarm has no leader, since half of its managers or more are not there",
			Remedy: "labctl diagnose   (it tells what has become of them)"}
	}
	return fmt.Errorf("%s: %s: %w", m.Name, action, redact(err))
}
