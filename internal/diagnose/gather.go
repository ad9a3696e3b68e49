package diagnose

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"

	"labctl/internal/config"
	"labctl/internal/remote"
)

// API is what this package asks of a node's engine; *client.Client is one.
type API interface {
	Info(context.Context, client.InfoOptions) (client.SystemInfoResult, error)
	NetworkList(context.Context, client.NetworkListOptions) (client.NetworkListResult, error)
	NetworkInspect(context.Context, string, client.NetworkInspectOptions) (client.NetworkInspectResult, error)
	ImageList(context.Context, client.ImageListOptions) (client.ImageListResult, error)
	NodeList(context.Context, client.NodeListOptions) (client.NodeListResult, error)
	ServiceList(context.Context, client.ServiceListOptions) (client.ServiceListResult, error)
	TaskList(context.Context, client.TaskListOptions) (client.TaskListResult, error)
}

var _ API = (*client.Client)(nil)

// Target is one node of lab.toml and the ways to ask it.
type Target struct {
	Node   config.Node
	VM     string        // what runs the VM says of it, if the node cannot be reached; "": not asked
	Runner remote.Runner // nil if the node cannot be reached; then Err says why
	API    API           // nil if there is no client; then Err says why
	Err    error
}

// askWithin bounds what one node that does not answer costs.
const askWithin = 45 * time.Second

// Run gathers the facts and judges them. It returns an error only when ctx
// ends: whatever cannot be asked is a finding.
func Run(ctx context.Context, lab *config.Lab, targets []Target) (Facts, []Finding, error) {
	f := Gather(ctx, lab, targets)
	if err := ctx.Err(); err != nil {
		return f, nil, context.Cause(ctx)
	}
	return f, Judge(f), nil
}

// Gather asks all nodes side by side, while they try each other's ports. It
// changes nothing on them.
func Gather(ctx context.Context, lab *config.Lab, targets []Target) Facts {
	f := Facts{Lab: lab.Name, Subnet: lab.Subnet, DataPath: lab.Swarm.DataPathPort, Nodes: make([]Node, len(targets))}
	tries := newTries(targets, f.DataPath)
	var wg sync.WaitGroup
	wg.Go(func() { tries.run(ctx) })
	for i, t := range targets {
		wg.Go(func() { f.Nodes[i] = ask(ctx, t) })
	}
	wg.Wait()
	tries.tell(&f)
	// Of managers in different swarms the one counts that knows most nodes.
	best := -1
	for i, t := range targets {
		if !f.Nodes[i].Member.Manager || t.API == nil {
			continue
		}
		s := askSwarm(ctx, t)
		all, known := f.membersIn(s)
		if s.Error != "" {
			known = -1
		}
		if f.Swarm == nil || known > best {
			f.Swarm, best = &s, known
		}
		if best == all {
			break
		}
	}
	lookup(ctx, &f, targets)
	return f
}

// membersIn counts the nodes that are in a swarm, and of them those that this
// one's list has.
func (f *Facts) membersIn(s Swarm) (all, known int) {
	for _, n := range f.Nodes {
		if n.Member.NodeID == "" {
			continue
		}
		all++
		if slices.ContainsFunc(s.Members, func(m SwarmMember) bool { return m.ID == n.Member.NodeID }) {
			known++
		}
	}
	return all, known
}

func ask(ctx context.Context, t Target) Node {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	n := Node{Name: t.Node.Name, Role: t.Node.Role, IP: t.Node.IP, VM: t.VM}
	if t.Runner == nil {
		n.Unreachable = "no connection"
		if t.Err != nil {
			n.Unreachable = t.Err.Error()
		}
		return n
	}
	var wg sync.WaitGroup
	units := make(chan bool, 1) // whether docker.service is active, or can be thought to be
	wg.Go(func() {
		err := n.askHost(ctx, t.Runner, func(active bool) {
			select {
			case units <- active:
			default:
			}
		})
		if err != nil {
			n.HostError = err.Error()
		}
		select {
		case units <- true:
		default:
		}
	})
	wg.Go(func() {
		err := t.Err
		switch {
		case !<-units:
			err = errEngineStopped
		case t.API != nil:
			err = n.askEngine(ctx, t.API)
		}
		if err != nil {
			n.DockerError = err.Error()
		}
	})
	wg.Wait()
	if n.Member.Manager {
		n.askWanted(ctx, t.Runner)
	}
	if n.System != nil && slices.ContainsFunc(n.System.Disks, Disk.scarce) {
		// It takes its time, and is only worth it then; without it less is said.
		if res, err := remote.Check(ctx, t.Runner, n.Name, asRoot(bigScript)); err == nil {
			n.System.Big = readBig(res.Stdout)
		}
	}
	return n
}

// errEngineStopped: asking the engine's socket would start it.
var errEngineStopped = errors.New("docker.service is not active")

func (n *Node) askEngine(ctx context.Context, api API) error {
	info, err := api.Info(ctx, client.InfoOptions{})
	if err != nil {
		return err
	}
	n.Engine, n.LogDriver = info.Info.ServerVersion, info.Info.LoggingDriver
	s := info.Info.Swarm
	n.Member = Member{State: string(s.LocalNodeState), NodeID: s.NodeID, Manager: s.ControlAvailable, Error: s.Error}
	n.Member.Addr, _ = netip.ParseAddr(s.NodeAddr)
	for _, m := range s.RemoteManagers {
		if a, err := netip.ParseAddrPort(m.Addr); err == nil && s.ControlAvailable {
			n.Member.Managers = append(n.Member.Managers, a.Addr())
		}
	}
	slices.SortFunc(n.Member.Managers, netip.Addr.Compare)
	images, err := api.ImageList(ctx, client.ImageListOptions{})
	if err != nil {
		return err
	}
	for _, i := range images.Items {
		n.Images = append(n.Images, i.RepoTags...)
	}
	slices.Sort(n.Images)
	list, err := api.NetworkList(ctx, client.NetworkListOptions{})
	if err != nil {
		return err
	}
	for _, s := range list.Items {
		w := networkOf(s.Network)
		if w.Driver == "overlay" {
			// Only an inspection tells the peers.
			one, err := api.NetworkInspect(ctx, s.ID, client.NetworkInspectOptions{})
			switch {
			case errdefs.IsNotFound(err):
				continue // removed meanwhile
			case err != nil:
				return err
			}
			w = networkOf(one.Network.Network)
		}
		n.Networks = append(n.Networks, w)
	}
	slices.SortFunc(n.Networks, func(a, b Network) int {
		return strings.Compare(a.Scope+" "+a.Name+" "+a.ID, b.Scope+" "+b.Name+" "+b.ID)
	})
	return nil
}

func networkOf(w network.Network) Network {
	out := Network{ID: w.ID, Name: w.Name, Driver: w.Driver, Scope: w.Scope, Ingress: w.Ingress, Created: w.Created.UTC().Truncate(time.Second)}
	out.Internal = w.Internal || w.Options["com.docker.network.bridge.enable_ip_masquerade"] == "false"
	if w.Driver == "bridge" {
		out.Bridge = w.Options["com.docker.network.bridge.name"]
		if out.Bridge == "" && len(w.ID) >= 12 {
			out.Bridge = "br-" + w.ID[:12]
		}
	}
	out.MTU, _ = strconv.Atoi(w.Options["com.docker.network.driver.mtu"])
	for _, c := range w.IPAM.Config {
		if c.Subnet.IsValid() {
			out.Subnets = append(out.Subnets, c.Subnet.Masked())
		}
	}
	for _, p := range w.Peers {
		out.Peers = append(out.Peers, p.IP)
	}
	slices.SortFunc(out.Peers, netip.Addr.Compare)
	return out
}

func askSwarm(ctx context.Context, t Target) Swarm {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	s := Swarm{By: t.Node.Name}
	fail := func(err error) Swarm {
		s.Error = err.Error()
		return s
	}
	nodes, err := t.API.NodeList(ctx, client.NodeListOptions{})
	if err != nil {
		return fail(err)
	}
	for _, n := range nodes.Items {
		m := SwarmMember{ID: n.ID, Hostname: n.Description.Hostname, State: string(n.Status.State), Message: n.Status.Message,
			Availability: string(n.Spec.Availability)}
		m.Addr, _ = netip.ParseAddr(n.Status.Addr)
		if n.ManagerStatus != nil {
			m.Leader, m.Reachability = n.ManagerStatus.Leader, string(n.ManagerStatus.Reachability)
		}
		s.Members = append(s.Members, m)
	}
	services, err := t.API.ServiceList(ctx, client.ServiceListOptions{})
	if err != nil {
		return fail(err)
	}
	for _, v := range services.Items {
		s.Services = append(s.Services, serviceOf(v))
	}
	tasks, err := t.API.TaskList(ctx, client.TaskListOptions{})
	if err != nil {
		return fail(err)
	}
	for _, k := range tasks.Items {
		s.Tasks = append(s.Tasks, taskOf(k))
	}
	info, err := t.API.Info(ctx, client.InfoOptions{})
	if err != nil {
		return fail(err)
	}
	s.Now, err = time.Parse(time.RFC3339Nano, info.Info.SystemTime)
	if err != nil {
		return fail(err)
	}
	s.Now = s.Now.UTC().Truncate(time.Second)
	slices.SortFunc(s.Members, func(a, b SwarmMember) int { return strings.Compare(a.Hostname+" "+a.ID, b.Hostname+" "+b.ID) })
	slices.SortFunc(s.Services, func(a, b Service) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(s.Tasks, func(a, b Task) int {
		return cmp.Or(strings.Compare(a.Service, b.Service), cmp.Compare(a.Slot, b.Slot), a.Since.Compare(b.Since), strings.Compare(a.ID, b.ID))
	})
	return s
}

func serviceOf(v swarm.Service) Service {
	out := Service{ID: v.ID, Name: v.Spec.Name}
	spec := v.Spec.TaskTemplate
	if spec.ContainerSpec != nil {
		out.Image = spec.ContainerSpec.Image
	}
	if spec.LogDriver != nil {
		out.LogDriver = spec.LogDriver.Name
	}
	for _, p := range v.Endpoint.Ports {
		if p.PublishMode == swarm.PortConfigPublishModeIngress {
			out.Published = append(out.Published, fmt.Sprintf("%d/%s", p.PublishedPort, p.Protocol))
		}
	}
	for _, w := range spec.Networks {
		out.Networks = append(out.Networks, w.Target)
	}
	if slices.ContainsFunc(v.Endpoint.Ports, func(p swarm.PortConfig) bool { return p.PublishMode == swarm.PortConfigPublishModeIngress }) {
		for _, vip := range v.Endpoint.VirtualIPs {
			if !slices.Contains(out.Networks, vip.NetworkID) {
				out.Networks = append(out.Networks, vip.NetworkID)
			}
		}
	}
	return out
}

func taskOf(k swarm.Task) Task {
	t := Task{ID: k.ID, Service: k.ServiceID, Slot: k.Slot, Node: k.NodeID, Desired: string(k.DesiredState),
		State: string(k.Status.State), Since: k.Status.Timestamp.UTC().Truncate(time.Second), Message: k.Status.Message, Err: k.Status.Err}
	if c := k.Status.ContainerStatus; c != nil && t.State == "running" {
		t.Container, t.PID = c.ContainerID[:min(12, len(c.ContainerID))], c.PID
	}
	return t
}
