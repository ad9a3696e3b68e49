package swarm

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"labctl/internal/config"
)

// Verify waits until the swarm is as all wants it: every member listed once
// under its host name, ready, active, in its role, and at its own address of
// the lab's network; managers reachable at port 2377 of that address, one of
// them leading. A second entry of the same name that is down is a former self
// (see PruneFormer) and does no harm; any other is a deviation. waiting, which may be nil, is told what lacks whenever that
// changes. When within has passed, the error is a *DeviationError. Nodes that
// all does not name are no deviation.
//
// The states come back in the order of all, then the others, also with a
// DeviationError.
func Verify(ctx context.Context, leader Member, all []Member, within time.Duration, waiting func(reason string)) ([]NodeState, error) {
	return normal().verify(ctx, leader, all, within, waiting)
}

func (p pace) verify(ctx context.Context, leader Member, all []Member, within time.Duration, waiting func(string)) ([]NodeState, error) {
	var states []NodeState
	var lacks []string
	var said string
	_, err := p.poll(ctx, leader, within, func() (bool, error) {
		list, err := p.list(ctx, leader)
		switch {
		case errdefs.IsUnavailable(err): // no leader yet, after a change of role
			lacks = []string{err.Error()}
		case err != nil:
			return false, err
		default:
			states, lacks = judge(list, all)
		}
		if why := strings.Join(lacks, "; "); why != said && why != "" && waiting != nil {
			waiting(why)
			said = why
		}
		return len(lacks) == 0, nil
	})
	switch {
	case err != nil:
		return states, err
	case len(lacks) > 0:
		return states, &DeviationError{Deviations: lacks, Within: within}
	}
	return states, nil
}

// judge compares a node list with what is wanted. It is pure.
func judge(list []NodeState, all []Member) (ordered []NodeState, lacks []string) {
	used := make([]bool, len(list))
	leads := false
	for _, m := range all {
		best := -1
		var spare []string
		for i, n := range list {
			if n.Name != m.Name {
				continue
			}
			if best < 0 || n.State == "ready" && list[best].State != "ready" {
				i, best = best, i
			}
			if i >= 0 && list[i].State != "down" {
				spare = append(spare, describe(list[i]))
			}
		}
		if best < 0 {
			lacks = append(lacks, m.Name+": not in the swarm's node list")
			continue
		}
		used[best] = true
		ordered = append(ordered, list[best])
		leads = leads || list[best].Leader
		lacks = append(lacks, deviations(m, list[best])...)
		for _, s := range spare {
			lacks = append(lacks, fmt.Sprintf("%s: listed once more, as %s", m.Name, s))
		}
	}
	for i, n := range list {
		if !used[i] {
			ordered = append(ordered, n)
			leads = leads || n.Leader
		}
	}
	if !leads {
		lacks = append(lacks, "the swarm has no leader")
	}
	return ordered, lacks
}

func describe(n NodeState) string { return n.ID + " in state " + n.State }

// deviations compares one node with what is wanted of it.
func deviations(m Member, n NodeState) []string {
	var out []string
	compare := func(what, is, want string) {
		if is == "" {
			is = "unknown"
		}
		if is != want {
			out = append(out, fmt.Sprintf("%s: %s %s, want %s", m.Name, what, is, want))
		}
	}
	compare("state", n.State, "ready")
	compare("availability", n.Availability, "active")
	compare("role", string(n.Role), string(m.Role))
	addr := ""
	if n.Addr.IsValid() {
		addr = n.Addr.String()
	}
	compare("address", addr, m.Addr.String())
	if m.Role == config.Manager && n.Role == config.Manager {
		compare("manager address", n.ManagerAddr, controlAddr(m.Addr))
		compare("manager reachability", n.Reachability, "reachable")
	}
	return out
}
