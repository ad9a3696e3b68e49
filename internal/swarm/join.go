package swarm

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"

	"labctl/internal/config"
)

// Join makes m an active node of leader's swarm, in m's role. The token comes
// from leader's engine and goes into m's, in request bodies.
//
//   - A node of this very swarm is kept, and promoted or demoted if its role
//     differs.
//   - A join that hangs (pending) or broke (error), for instance because
//     2377/tcp was blocked, is left by force and done again.
//   - A worker of a swarm whose only manager was at leader's address is an
//     orphan of this lab's own former swarm, and moves over.
//   - A node of any other swarm is a *ForeignSwarmError.
//
// A join that does not become active is a *JoinError. free says that Ahead has
// found m in no swarm.
func Join(ctx context.Context, leader, m Member, free bool) (changed bool, err error) {
	return normal().joinNode(ctx, leader, m, free)
}

// Ahead does for a node that will join a swarm what can be done as long as that
// is still being formed, since each question costs an emulated node a third of
// a second. free is false if the node is in a swarm, or may be.
func Ahead(ctx context.Context, m Member) (free bool, err error) { return normal().ahead(ctx, m) }

func (p pace) ahead(ctx context.Context, m Member) (bool, error) {
	info, err := p.info(ctx, m)
	if err != nil || info.LocalNodeState != swarm.LocalNodeStateInactive {
		return false, err
	}
	p.gateway(ctx, m)
	return true, nil
}

func (p pace) joinNode(ctx context.Context, leader, m Member, free bool) (bool, error) {
	lead, err := p.lead(ctx, leader, m)
	if err != nil {
		return false, err
	}
	if free {
		return true, p.join1(ctx, leader, m, lead)
	}
	info, err := p.settled(ctx, m)
	if err != nil {
		return false, err
	}
	switch info.LocalNodeState {
	case swarm.LocalNodeStateInactive:
	case swarm.LocalNodeStateLocked:
		return false, locked(m)
	case swarm.LocalNodeStateActive:
		ours, err := p.isOurs(ctx, leader, m, lead, info)
		if err != nil {
			return false, err
		}
		if ours {
			return p.keep(ctx, leader, m, info)
		}
		if err := p.leave(ctx, m, true); err != nil {
			return false, err
		}
	default: // pending, error, and what later engines may think of
		if err := p.leave(ctx, m, true); err != nil {
			return false, err
		}
	}
	p.gateway(ctx, m)
	return true, p.join1(ctx, leader, m, lead)
}

// lead is the leader's swarm, with its tokens. Why there is none is asked only
// then.
func (p pace) lead(ctx context.Context, leader, m Member) (swarm.Swarm, error) {
	s, err := p.inspect(ctx, leader)
	if err == nil {
		return s, nil
	}
	info, ierr := p.settled(ctx, leader)
	if ierr != nil {
		return swarm.Swarm{}, ierr
	}
	if info.LocalNodeState != swarm.LocalNodeStateActive || !info.ControlAvailable {
		return swarm.Swarm{}, &StateError{Node: leader.Name, Problem: "leads no swarm that " + m.Name + " could join" + detail(info), Remedy: formAnew}
	}
	return p.inspect(ctx, leader)
}

// isOurs says whether an active m is in leader's swarm. (false, nil) is an
// orphan that may be moved.
func (p pace) isOurs(ctx context.Context, leader, m Member, lead swarm.Swarm, info swarm.Info) (bool, error) {
	if info.ControlAvailable && info.Cluster != nil {
		if info.Cluster.ID == lead.ID {
			return true, nil
		}
		return false, foreign(m, info)
	}
	// A worker does not know its swarm's name, but the swarm knows its nodes.
	// It is asked about this one, since all of a large swarm are a long answer.
	known, err := p.knows(ctx, leader, info.NodeID)
	if known || err != nil {
		return known, err
	}
	if info.ControlAvailable || len(info.RemoteManagers) == 0 {
		return false, foreign(m, info)
	}
	for _, r := range info.RemoteManagers {
		if r.Addr != controlAddr(leader.Addr) {
			return false, foreign(m, info)
		}
	}
	return false, nil
}

// knows says whether the manager's swarm has a node of that ID.
func (p pace) knows(ctx context.Context, manager Member, id string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, p.call)
	defer cancel()
	_, err := manager.API.NodeInspect(ctx, id, client.NodeInspectOptions{})
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, failed(manager, "inspect the node "+id, err)
	}
	return true, nil
}

func foreign(m Member, info swarm.Info) error {
	e := &ForeignSwarmError{Node: m.Name}
	for _, r := range info.RemoteManagers {
		e.Managers = append(e.Managers, r.Addr)
	}
	return e
}

// keep leaves a node of our swarm in it, with the right role.
func (p pace) keep(ctx context.Context, leader, m Member, info swarm.Info) (bool, error) {
	if info.NodeAddr != m.Addr.String() {
		return false, &StateError{Node: m.Name,
			Problem: fmt.Sprintf("is in the swarm with address %s, want %s", info.NodeAddr, m.Addr),
			Remedy: fmt.Sprintf("it was joined without its --advertise-addr: labctl exec %s -- docker swarm leave --force, then the same command again",
				m.Name)}
	}
	return p.setRole(ctx, leader, info.NodeID, m)
}

// join1 is the join itself. The engine's request ends after 20 s with an error
// although the join goes on in the background, so the node's state decides,
// not the request's end.
func (p pace) join1(ctx context.Context, leader, m Member, lead swarm.Swarm) error {
	token := lead.JoinTokens.Worker
	if m.Role == config.Manager {
		token = lead.JoinTokens.Manager
	}
	if token == "" {
		return &StateError{Node: leader.Name, Problem: "its engine gives no join token", Remedy: formAnew}
	}
	start := time.Now()
	act, cancel := context.WithTimeout(ctx, p.act)
	defer cancel()
	_, joinErr := m.API.SwarmJoin(act, client.SwarmJoinOptions{
		ListenAddr:    listenAddr,
		AdvertiseAddr: m.Addr.String(),
		DataPathAddr:  m.Addr.String(),
		RemoteAddrs:   []string{controlAddr(leader.Addr)},
		JoinToken:     token,
	})
	if ctx.Err() != nil {
		return failed(m, "swarm join", context.Cause(ctx))
	}
	if joinErr == nil && m.Role == config.Worker {
		return nil // it answers when the node is active; a manager becomes one after that
	}
	var info swarm.Info
	ok, err := p.poll(ctx, m, p.join, func() (bool, error) {
		var err error
		info, err = p.info(ctx, m)
		switch {
		case err != nil:
			return false, err
		case info.LocalNodeState == swarm.LocalNodeStatePending:
			return false, nil
		case info.LocalNodeState == swarm.LocalNodeStateActive:
			return info.ControlAvailable == (m.Role == config.Manager), nil
		}
		return true, nil // it has given up
	})
	switch {
	case err != nil:
		return err
	case ok && info.LocalNodeState == swarm.LocalNodeStateActive:
		return nil
	}
	e := &JoinError{Node: m.Name, Leader: leader.Name, Addr: leader.Addr,
		State: string(info.LocalNodeState), Detail: redactText(info.Error), After: time.Since(start)}
	if e.Detail == "" && joinErr != nil {
		e.Detail = redact(joinErr).Error()
	}
	return e
}

// inspect reads the swarm that m manages.
func (p pace) inspect(ctx context.Context, m Member) (swarm.Swarm, error) {
	ctx, cancel := context.WithTimeout(ctx, p.call)
	defer cancel()
	res, err := m.API.SwarmInspect(ctx, client.SwarmInspectOptions{})
	if err != nil {
		return swarm.Swarm{}, failed(m, "inspect the swarm", err)
	}
	return res.Swarm, nil
}

// setRole promotes or demotes the node id, which is m.
func (p pace) setRole(ctx context.Context, leader Member, id string, m Member) (changed bool, err error) {
	changed, err = p.specRole(ctx, leader, id, swarm.NodeRole(m.Role))
	if err != nil {
		return false, failed(m, "make it a "+string(m.Role), err)
	}
	var info swarm.Info
	ok, err := p.poll(ctx, m, p.role, func() (bool, error) {
		var err error
		info, err = p.info(ctx, m)
		return info.ControlAvailable == (m.Role == config.Manager), err
	})
	if err != nil {
		return changed, err
	}
	if !ok {
		return changed, &StateError{Node: m.Name,
			Problem: fmt.Sprintf("has not become a %s within %v%s", m.Role, p.role, detail(info)),
			Remedy:  "a change of role needs a majority of the managers: `labctl status` shows which are reachable"}
	}
	return changed, nil
}

// specRole writes the wanted role of node id. Somebody else, the swarm itself
// too, may change the node between our reading and writing; then we read
// again.
func (p pace) specRole(ctx context.Context, leader Member, id string, role swarm.NodeRole) (changed bool, err error) {
	const tries = 5
	for try := 1; ; try++ {
		changed, err = p.trySpecRole(ctx, leader, id, role)
		// Its status code is a plain 500, so the words must do.
		outOfSequence := err != nil && strings.Contains(err.Error(), "out of sequence")
		if !outOfSequence || try == tries {
			return changed, err
		}
	}
}

func (p pace) trySpecRole(ctx context.Context, leader Member, id string, role swarm.NodeRole) (changed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.call)
	defer cancel()
	res, err := leader.API.NodeInspect(ctx, id, client.NodeInspectOptions{})
	if err != nil {
		return false, err
	}
	spec := res.Node.Spec
	if spec.Role == role {
		return false, nil
	}
	spec.Role = role
	_, err = leader.API.NodeUpdate(ctx, id, client.NodeUpdateOptions{Version: res.Node.Version, Spec: spec})
	return err == nil, err
}
