package swarm

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
)

// Leave takes m out of whatever swarm it is in; a node that is in none is
// kept as it is. A manager only leaves with force, and takes its swarm's
// state with it if it was the last one. The remaining managers keep listing
// the node, as down: see PruneFormer.
func Leave(ctx context.Context, m Member, force bool) (changed bool, err error) {
	p := normal()
	info, err := p.info(ctx, m)
	if err != nil || info.LocalNodeState == swarm.LocalNodeStateInactive {
		return false, err
	}
	if err := p.leave(ctx, m, force); err != nil {
		return false, err
	}
	return true, nil
}

func (p pace) leave(ctx context.Context, m Member, force bool) error {
	act, cancel := context.WithTimeout(ctx, p.act)
	defer cancel()
	if _, err := m.API.SwarmLeave(act, client.SwarmLeaveOptions{Force: force}); err != nil {
		return failed(m, "swarm leave", err)
	}
	var info swarm.Info
	ok, err := p.poll(ctx, m, p.settle, func() (bool, error) {
		var err error
		info, err = p.info(ctx, m)
		return info.LocalNodeState == swarm.LocalNodeStateInactive, err
	})
	if err != nil {
		return err
	}
	if !ok {
		return &StateError{Node: m.Name,
			Problem: fmt.Sprintf("swarm leave: its state is still %s after %v%s", info.LocalNodeState, p.settle, detail(info)),
			Remedy:  fmt.Sprintf("restart its engine: labctl exec %s -- sudo systemctl restart docker", m.Name)}
	}
	return nil
}

// PruneFormer removes the entries of this lab's own former selves from the
// swarm's node list and returns their ids: nodes that are down and carry a
// member's host name while that member's engine now has another id, or whose
// id is in former. Every rejoin leaves one such entry behind. A manager needs
// some seconds to notice that a node has gone, so entries with a member's
// host name are waited for; one that stays up is somebody else's, and stays.
func PruneFormer(ctx context.Context, leader Member, all []Member, former []string) (removed []string, err error) {
	return normal().prune(ctx, leader, all, former)
}

func (p pace) prune(ctx context.Context, leader Member, all []Member, former []string) ([]string, error) {
	current := make(map[string]string, len(all)) // host name → id of today
	for _, m := range all {
		info, err := p.info(ctx, m)
		if err != nil {
			return nil, err
		}
		if info.NodeID == "" && info.LocalNodeState != swarm.LocalNodeStateInactive {
			continue // not known now, so nothing of it is "former"
		}
		current[m.Name] = info.NodeID
	}
	var gone []swarm.Node
	_, err := p.poll(ctx, leader, p.down, func() (bool, error) {
		nodes, err := p.nodes(ctx, leader)
		if err != nil {
			return false, err
		}
		gone = gone[:0]
		stillUp := false
		for _, n := range nodes {
			id, isMember := current[n.Description.Hostname]
			same := isMember && id != n.ID
			switch {
			case n.Status.State == swarm.NodeStateDown && (same || slices.Contains(former, n.ID) && !isToday(current, n.ID)):
				gone = append(gone, n)
			case same:
				stillUp = true
			}
		}
		return !stillUp, nil
	})
	if err != nil {
		return nil, err
	}
	var removed []string
	for _, n := range gone {
		if err := p.remove(ctx, leader, n); err != nil {
			return removed, fmt.Errorf("%s: remove the former %s (%s) from the swarm: %w",
				leader.Name, n.Description.Hostname, n.ID, redact(err))
		}
		removed = append(removed, n.ID)
	}
	return removed, nil
}

func isToday(current map[string]string, id string) bool {
	for _, c := range current {
		if c == id {
			return true
		}
	}
	return false
}

// remove removes a node that is down. One that was a manager counts for the
// majority until it is demoted, and is only removed after that; the swarm
// carries out a demotion in the background.
func (p pace) remove(ctx context.Context, leader Member, n swarm.Node) error {
	if n.Spec.Role == swarm.NodeRoleManager {
		// After `docker swarm init --force-new-cluster` the list has former
		// managers that are none any more.
		if _, err := p.specRole(ctx, leader, n.ID, swarm.NodeRoleWorker); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	var last error
	ok, err := p.poll(ctx, leader, min(p.role, 20*time.Second), func() (bool, error) {
		call, cancel := context.WithTimeout(ctx, p.call)
		defer cancel()
		_, last = leader.API.NodeRemove(call, n.ID, client.NodeRemoveOptions{Force: true})
		return last == nil || errdefs.IsNotFound(last), nil
	})
	if err != nil || ok {
		return err
	}
	return last
}
