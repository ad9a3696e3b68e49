package artifact

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
)

// table is what a person reads who does not want JSON, in columns much like
// those of the docker command.
type table [][]string

func (t table) text() []byte {
	var out bytes.Buffer
	w := tabwriter.NewWriter(&out, 0, 0, 3, ' ', 0)
	for _, row := range t {
		for i, cell := range row {
			// A line break of somebody's making must not begin a row.
			cell = strings.Map(func(r rune) rune {
				if unicode.IsControl(r) {
					return ' '
				}
				return r
			}, cell)
			if i > 0 {
				cell = "\t" + cell
			}
			_, _ = w.Write([]byte(cell)) // to memory
		}
		_, _ = w.Write([]byte("\n"))
	}
	_ = w.Flush()
	return out.Bytes()
}

// cluster is the swarm as a manager sees it.
type cluster struct {
	nodeList    []swarm.Node
	serviceList []swarm.Service
	taskList    []swarm.Task
	// names by id
	nodes, services, tasks map[string]string
}

func newCluster(nodes []swarm.Node, services []swarm.Service, tasks []swarm.Task) cluster {
	c := cluster{nodeList: nodes, serviceList: services, taskList: slices.Clone(tasks),
		nodes: map[string]string{}, services: map[string]string{}, tasks: map[string]string{}}
	for _, n := range nodes {
		c.nodes[n.ID] = n.Description.Hostname
	}
	for _, s := range services {
		c.services[s.ID] = s.Spec.Name
	}
	for _, t := range tasks {
		// Of a global service a node has one, so that it has no number.
		which := cmp.Or(c.nodes[t.NodeID], t.NodeID)
		if t.Slot != 0 {
			which = fmt.Sprint(t.Slot)
		}
		c.tasks[t.ID] = cmp.Or(c.services[t.ServiceID], t.ServiceID) + "." + which
	}
	// The newest task of each place first.
	slices.SortStableFunc(c.taskList, func(a, b swarm.Task) int {
		return cmp.Or(cmp.Compare(c.services[a.ServiceID], c.services[b.ServiceID]), cmp.Compare(a.Slot, b.Slot),
			cmp.Compare(c.tasks[a.ID], c.tasks[b.ID]), b.CreatedAt.Compare(a.CreatedAt))
	})
	return c
}

func (c cluster) nodeTable() []byte {
	t := table{{"ID", "HOSTNAME", "STATUS", "AVAILABILITY", "MANAGER STATUS", "ADDRESS", "ENGINE VERSION", "MESSAGE"}}
	for _, n := range c.nodeList {
		manager := ""
		if m := n.ManagerStatus; m != nil {
			if manager = string(m.Reachability); m.Leader {
				manager = "leader"
			}
		}
		t = append(t, []string{n.ID, n.Description.Hostname, string(n.Status.State), string(n.Spec.Availability), manager,
			n.Status.Addr, n.Description.Engine.EngineVersion, n.Status.Message})
	}
	return t.text()
}

func (c cluster) serviceTable() []byte {
	t := table{{"ID", "NAME", "MODE", "REPLICAS", "IMAGE", "PORTS"}}
	for _, s := range c.serviceList {
		replicas := ""
		if s.ServiceStatus != nil {
			replicas = fmt.Sprintf("%d/%d", s.ServiceStatus.RunningTasks, s.ServiceStatus.DesiredTasks)
		}
		var ports []string
		for _, p := range s.Endpoint.Ports {
			ports = append(ports, fmt.Sprintf("%d->%d/%s (%s)", p.PublishedPort, p.TargetPort, p.Protocol, p.PublishMode))
		}
		t = append(t, []string{s.ID, s.Spec.Name, mode(s.Spec.Mode), replicas, image(s.Spec.TaskTemplate), strings.Join(ports, ", ")})
	}
	return t.text()
}

func mode(m swarm.ServiceMode) string {
	switch {
	case m.Replicated != nil:
		return "replicated"
	case m.Global != nil:
		return "global"
	case m.ReplicatedJob != nil:
		return "replicated-job"
	case m.GlobalJob != nil:
		return "global-job"
	}
	return ""
}

func image(t swarm.TaskSpec) string {
	if t.ContainerSpec == nil {
		return ""
	}
	return t.ContainerSpec.Image
}

func (c cluster) taskTable() []byte {
	t := table{{"ID", "NAME", "IMAGE", "NODE", "DESIRED STATE", "CURRENT STATE", "SINCE", "ERROR"}}
	for _, k := range c.taskList {
		since := ""
		if !k.Status.Timestamp.IsZero() {
			since = k.Status.Timestamp.UTC().Format(time.RFC3339)
		}
		t = append(t, []string{k.ID, c.tasks[k.ID], image(k.Spec), cmp.Or(c.nodes[k.NodeID], k.NodeID),
			string(k.DesiredState), string(k.Status.State), since, k.Status.Err})
	}
	return t.text()
}

// shortID is as much of an id of 64 digits as the docker command shows.
func shortID(id string) string { return id[:min(len(id), 12)] }

func networkTable(all []network.Summary) []byte {
	t := table{{"ID", "NAME", "DRIVER", "SCOPE", "SUBNETS"}}
	for _, n := range all {
		var subnets []string
		for _, c := range n.IPAM.Config {
			if c.Subnet.IsValid() {
				subnets = append(subnets, c.Subnet.String())
			}
		}
		t = append(t, []string{shortID(n.ID), n.Name, n.Driver, n.Scope, strings.Join(subnets, ", ")})
	}
	return t.text()
}

func containerTable(all []container.Summary) []byte {
	t := table{{"ID", "NAME", "IMAGE", "STATE", "STATUS", "PORTS"}}
	for _, c := range all {
		var ports []string
		for _, p := range c.Ports {
			port := fmt.Sprintf("%d/%s", p.PrivatePort, p.Type)
			if p.PublicPort != 0 {
				port = fmt.Sprintf("%d->%s", p.PublicPort, port)
			}
			ports = append(ports, port)
		}
		t = append(t, []string{shortID(c.ID), containerName(c), c.Image, string(c.State), c.Status, strings.Join(ports, ", ")})
	}
	return t.text()
}
