package swarm

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
)

// CleanAPI is what Clean needs of *client.Client.
type CleanAPI interface {
	Info(context.Context, client.InfoOptions) (client.SystemInfoResult, error)
	NodeList(context.Context, client.NodeListOptions) (client.NodeListResult, error)
	NodeUpdate(context.Context, string, client.NodeUpdateOptions) (client.NodeUpdateResult, error)
	ServiceList(context.Context, client.ServiceListOptions) (client.ServiceListResult, error)
	ServiceRemove(context.Context, string, client.ServiceRemoveOptions) (client.ServiceRemoveResult, error)
	TaskList(context.Context, client.TaskListOptions) (client.TaskListResult, error)
	ConfigList(context.Context, client.ConfigListOptions) (client.ConfigListResult, error)
	ConfigRemove(context.Context, string, client.ConfigRemoveOptions) (client.ConfigRemoveResult, error)
	SecretList(context.Context, client.SecretListOptions) (client.SecretListResult, error)
	SecretRemove(context.Context, string, client.SecretRemoveOptions) (client.SecretRemoveResult, error)
	ContainerList(context.Context, client.ContainerListOptions) (client.ContainerListResult, error)
	ContainerRemove(context.Context, string, client.ContainerRemoveOptions) (client.ContainerRemoveResult, error)
	NetworkList(context.Context, client.NetworkListOptions) (client.NetworkListResult, error)
	NetworkRemove(context.Context, string, client.NetworkRemoveOptions) (client.NetworkRemoveResult, error)
	VolumeList(context.Context, client.VolumeListOptions) (client.VolumeListResult, error)
	VolumeRemove(context.Context, string, client.VolumeRemoveOptions) (client.VolumeRemoveResult, error)
}

var _ CleanAPI = (*client.Client)(nil)

// CleanNode is a node to clean, by name, and its engine.
type CleanNode struct {
	Name string
	API  CleanAPI
	// Spare are ids of containers and networks, and names of volumes, that
	// stay.
	Spare []string
}

// predefined are the networks that an engine or a swarm makes for itself.
var predefined = []string{"bridge", "host", "none", "ingress", "docker_gwbridge"}

// Clean removes what was put onto a swarm and its nodes: services, configs,
// secrets, containers, networks, volumes; drained or paused nodes become
// active. Images stay, and so does the swarm. It ends when nothing is left,
// or within has passed. removed names what went, such as "service web".
func Clean(ctx context.Context, nodes []CleanNode, within time.Duration, waiting func(reason string)) (removed []string, err error) {
	return normal().clean(ctx, nodes, within, waiting)
}

func (p pace) clean(ctx context.Context, nodes []CleanNode, within time.Duration, waiting func(string)) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var removed []string
	said := ""
	for {
		left, gone, err := p.cleanOnce(ctx, nodes)
		for _, g := range gone {
			if !slices.Contains(removed, g) {
				removed = append(removed, g)
			}
		}
		if err != nil || len(left) == 0 {
			return removed, err
		}
		if why := "still there: " + strings.Join(left, ", "); why != said && waiting != nil {
			waiting(why)
			said = why
		}
		select {
		case <-ctx.Done():
			return removed, fmt.Errorf("clean the swarm: %w after %v; %s", context.Cause(ctx), within, said)
		case <-time.After(p.interval):
		}
	}
}

// cleanOnce asks for the removal of all that is there. left names what could
// not go yet: a network waits for its containers to end.
func (p pace) cleanOnce(ctx context.Context, nodes []CleanNode) (left, gone []string, err error) {
	c := &cleaning{ctx: ctx, p: p}
	managed := false
	for _, n := range nodes {
		info, err := n.API.Info(ctx, client.InfoOptions{})
		if err != nil {
			return nil, nil, fmt.Errorf("%s: clean: %w", n.Name, redact(err))
		}
		if info.Info.Swarm.ControlAvailable && !managed {
			managed = true
			c.cluster(n)
		}
	}
	for _, n := range nodes {
		c.node(n)
	}
	return c.left, c.gone, c.err
}

// cleaning is one round; the first unexpected error ends it.
type cleaning struct {
	ctx        context.Context
	p          pace
	left, gone []string
	err        error
}

// drop takes the outcome of one removal. One that is refused, mostly because
// something still uses the thing, is tried again in a later round.
func (c *cleaning) drop(what string, err error) {
	switch {
	case err == nil:
		c.gone = append(c.gone, what)
		c.left = append(c.left, what) // until it is no longer listed
	case errdefs.IsNotFound(err) || strings.Contains(err.Error(), "not found"):
		// Docker 20.10 says the latter of a network that the swarm has
		// forgotten, as an error of the server; the node that said it may
		// list the network for seconds more.
		c.left = append(c.left, what)
	default:
		c.left = append(c.left, what+": "+redact(err).Error())
	}
}

func (c *cleaning) fail(node CleanNode, action string, err error) {
	if c.err == nil && err != nil {
		c.err = fmt.Errorf("%s: %s: %w", node.Name, action, redact(err))
	}
}

// cluster removes what belongs to the swarm as a whole.
func (c *cleaning) cluster(n CleanNode) {
	services, err := n.API.ServiceList(c.ctx, client.ServiceListOptions{})
	c.fail(n, "list the services", err)
	for _, s := range services.Items {
		_, err := n.API.ServiceRemove(c.ctx, s.ID, client.ServiceRemoveOptions{})
		c.drop("service "+s.Spec.Name, err)
	}
	// The tasks of a service outlive it until their nodes have ended them; one
	// that is being prepared may still make its network on its node.
	tasks, err := n.API.TaskList(c.ctx, client.TaskListOptions{})
	c.fail(n, "list the tasks", err)
	for _, x := range tasks.Items {
		c.left = append(c.left, "task "+x.ID)
	}
	configs, err := n.API.ConfigList(c.ctx, client.ConfigListOptions{})
	c.fail(n, "list the configs", err)
	for _, x := range configs.Items {
		_, err := n.API.ConfigRemove(c.ctx, x.ID, client.ConfigRemoveOptions{})
		c.drop("config "+x.Spec.Name, err)
	}
	secrets, err := n.API.SecretList(c.ctx, client.SecretListOptions{})
	c.fail(n, "list the secrets", err)
	for _, x := range secrets.Items {
		_, err := n.API.SecretRemove(c.ctx, x.ID, client.SecretRemoveOptions{})
		c.drop("secret "+x.Spec.Name, err)
	}
	list, err := n.API.NodeList(c.ctx, client.NodeListOptions{})
	c.fail(n, "list the nodes", err)
	for _, x := range list.Items {
		if x.Spec.Availability == swarm.NodeAvailabilityActive {
			continue
		}
		x.Spec.Availability = swarm.NodeAvailabilityActive
		_, err := n.API.NodeUpdate(c.ctx, x.ID, client.NodeUpdateOptions{Version: x.Version, Spec: x.Spec})
		c.drop("availability of "+x.Description.Hostname, err)
	}
}

// node removes what lives on one node.
func (c *cleaning) node(n CleanNode) {
	containers, err := n.API.ContainerList(c.ctx, client.ContainerListOptions{All: true})
	c.fail(n, "list the containers", err)
	for _, x := range containers.Items {
		if slices.Contains(n.Spare, x.ID) {
			continue
		}
		name := strings.TrimPrefix(strings.Join(x.Names[:min(1, len(x.Names))], ""), "/")
		_, err := n.API.ContainerRemove(c.ctx, x.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		c.drop("container "+name, err)
	}
	networks, err := n.API.NetworkList(c.ctx, client.NetworkListOptions{})
	c.fail(n, "list the networks", err)
	for _, x := range networks.Items {
		if slices.Contains(predefined, x.Name) || slices.Contains(n.Spare, x.ID) {
			continue
		}
		_, err := n.API.NetworkRemove(c.ctx, x.ID, client.NetworkRemoveOptions{})
		c.drop("network "+x.Name, err)
	}
	volumes, err := n.API.VolumeList(c.ctx, client.VolumeListOptions{})
	c.fail(n, "list the volumes", err)
	for _, x := range volumes.Items {
		if slices.Contains(n.Spare, x.Name) {
			continue
		}
		_, err := n.API.VolumeRemove(c.ctx, x.Name, client.VolumeRemoveOptions{Force: true})
		c.drop("volume "+x.Name, err)
	}
}
