package vagrant

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"labctl/internal/config"
)

// snapshotTimeout bounds saving or restoring one VM with its memory: seconds
// on an idle host, more on a slow disk.
const snapshotTimeout = 5 * time.Minute

// resumeTimeout bounds setting paused VMs going again, which is done even
// when the command was interrupted.
const resumeTimeout = 30 * time.Second

// Snapshots returns the names of each node's snapshots, sorted. A node
// without a VM has none.
func (c *Client) Snapshots(ctx context.Context, nodes []string) (map[string][]string, error) {
	if !c.direct() {
		return c.vagrantSnapshots(ctx)
	}
	states, err := c.domainStates(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string][]string{}
	for _, n := range nodes {
		if s := states[n]; s == "" || s == NotCreated {
			continue
		}
		id, err := c.domain(n)
		if err != nil {
			return nil, err
		}
		names, err := c.virsh(ctx, n, "snapshot-list", id, "--name")
		if err != nil {
			return nil, err
		}
		out[n] = strings.Fields(names)
		slices.Sort(out[n])
	}
	return out, nil
}

// SaveSnapshot saves the running VMs, memory included, as of one moment: they
// all pause, are saved side by side, and go on together, so that no packet is
// on its way between them. A snapshot of that name is replaced. The VMs go on
// whatever happens.
func (c *Client) SaveSnapshot(ctx context.Context, nodes []string, name string) (err error) {
	if !c.direct() {
		return c.askSnapshot(ctx, "save", "--force", name)
	}
	ids, err := c.domains(nodes)
	if err != nil {
		return err
	}
	have, err := c.Snapshots(ctx, nodes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.resume(ctx, ids)) }()
	if err := each(nodes, func(n string) error {
		_, err := c.virsh(ctx, n, "suspend", ids[n])
		return err
	}); err != nil {
		return err
	}
	err = each(nodes, func(n string) error {
		if slices.Contains(have[n], name) {
			if _, err := c.long(ctx, n, "snapshot-delete", ids[n], name); err != nil {
				return err
			}
		}
		_, err := c.long(ctx, n, "snapshot-create-as", ids[n], name, "--atomic")
		return err
	})
	if err != nil {
		// One that only some nodes have is of no use.
		clean := context.WithoutCancel(ctx)
		_ = each(nodes, func(n string) error {
			_, err := c.virsh(clean, n, "snapshot-delete", ids[n], name)
			return err
		})
	}
	return err
}

// RestoreSnapshot sets every VM back, memory included, and lets them go on
// together. VMs that are off run afterwards.
func (c *Client) RestoreSnapshot(ctx context.Context, nodes []string, name string) (err error) {
	if !c.direct() {
		return c.askSnapshot(ctx, "restore", name)
	}
	ids, err := c.domains(nodes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.resume(ctx, ids)) }()
	return each(nodes, func(n string) error {
		_, err := c.long(ctx, n, "snapshot-revert", ids[n], name, "--paused")
		return err
	})
}

// DeleteSnapshot removes a snapshot from the nodes that have it.
func (c *Client) DeleteSnapshot(ctx context.Context, nodes []string, name string) error {
	if !c.direct() {
		return c.askSnapshot(ctx, "delete", name)
	}
	have, err := c.Snapshots(ctx, nodes)
	if err != nil {
		return err
	}
	return each(nodes, func(n string) error {
		if !slices.Contains(have[n], name) {
			return nil
		}
		id, err := c.domain(n)
		if err != nil {
			return err
		}
		_, err = c.long(ctx, n, "snapshot-delete", id, name)
		return err
	})
}

// resume lets paused VMs go on, also after an interrupt: a paused VM looks
// like a dead one.
func (c *Client) resume(ctx context.Context, ids map[string]string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), resumeTimeout)
	defer cancel()
	var nodes []string
	for n := range ids {
		nodes = append(nodes, n)
	}
	slices.Sort(nodes)
	return each(nodes, func(n string) error {
		state, err := c.virsh(ctx, n, "domstate", ids[n])
		if err != nil || state != "paused" {
			return err
		}
		_, err = c.virsh(ctx, n, "resume", ids[n])
		return err
	})
}

// vagrantSnapshots reads Vagrant's own list, for VirtualBox.
func (c *Client) vagrantSnapshots(ctx context.Context) (map[string][]string, error) {
	out := map[string][]string{}
	err := c.ask(ctx, c.queryTimeout(), "no answer within", func(m message) {
		// Each name is a detail of the user interface. So is the advice to a
		// machine that has none, which is several lines of several words.
		if m.target != "" && m.kind == "ui" && len(m.data) > 1 && m.data[0] == "detail" && !strings.ContainsAny(m.data[1], " \n") {
			out[m.target] = append(out[m.target], m.data[1])
		}
	}, "snapshot", "list")
	for _, names := range out {
		slices.Sort(names)
	}
	return out, err
}

func (c *Client) askSnapshot(ctx context.Context, args ...string) error {
	if c.Provider != config.VirtualBox {
		return fmt.Errorf("provider %s has no snapshots", c.Provider)
	}
	return c.ask(ctx, snapshotTimeout, "not done within", func(message) {}, append([]string{"snapshot"}, args...)...)
}
