package report

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// What is read of the files that a node's Docker left. The names are those of
// the Engine API.
type (
	dockerVersion struct {
		Version       string
		KernelVersion string
		Components    []struct {
			Name    string
			Details map[string]string
		}
	}
	dockerNode struct {
		ID   string
		Spec struct{ Role, Availability string }

		Description struct {
			Hostname  string
			Resources struct{ NanoCPUs, MemoryBytes int64 }
			Engine    struct{ EngineVersion string }
		}
		Status        struct{ State string }
		ManagerStatus *struct{ Leader bool }
	}
	dockerService struct {
		ID   string
		Spec struct {
			Name         string
			TaskTemplate struct {
				ContainerSpec *struct{ Image string }
				Networks      []struct{ Target string }
			}
			Networks []struct{ Target string } // old engines
		}
		Endpoint struct {
			Ports []struct {
				Protocol, PublishMode     string
				TargetPort, PublishedPort int
			}
		}
		ServiceStatus *struct{ RunningTasks, DesiredTasks int }
	}
	dockerTask struct {
		ID, ServiceID, NodeID, DesiredState string
		Slot                                int
		Status                              struct{ State, Err string }
	}
	dockerNetwork struct {
		ID         string `json:"Id"`
		Name       string
		Driver     string
		Scope      string
		Ingress    bool
		IPAM       struct{ Config []struct{ Subnet string } }
		Peers      []struct{ IP string }
		Containers map[string]struct{ Name string }
	}
)

// lab reads what the nodes told.
func (r *Report) lab(f *folder) {
	for _, name := range f.dirs("nodes") {
		name = clean(name)
		if !slices.ContainsFunc(r.Nodes, func(n Node) bool { return n.Name == name }) {
			r.Nodes = append(r.Nodes, Node{Name: name})
		}
	}
	networks := map[string]*Network{} // by id
	var order []string
	asked := false
	for i := range r.Nodes {
		n := &r.Nodes[i]
		r.about(f, n)
		dir := "nodes/" + n.Name + "/docker/"
		var list []dockerNetwork
		if f.json(dir+"networks.json", &list) {
			for _, w := range list {
				if w.Scope != "swarm" || networks[w.ID] != nil {
					continue
				}
				x := &Network{Name: w.Name, Driver: w.Driver, Ingress: w.Ingress, Subnets: []string{}, Nodes: []string{}}
				for _, c := range w.IPAM.Config {
					if c.Subnet != "" {
						x.Subnets = append(x.Subnets, c.Subnet)
					}
				}
				networks[w.ID] = x
				order = append(order, w.ID)
			}
			for _, w := range list {
				if w.Scope == "swarm" {
					r.members(f, n, dir, w, networks[w.ID])
				}
			}
		}
		if !asked && f.has(dir+"services.json") {
			asked = true
			r.swarm(f, dir, networks)
		}
	}
	for _, id := range order {
		x := networks[id]
		r.sortNodes(x.Nodes)
		r.Networks = append(r.Networks, *x)
	}
	slices.SortStableFunc(r.Networks, func(a, b Network) int {
		if a.Ingress != b.Ingress {
			if a.Ingress {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Name, b.Name)
	})
}

var osName = regexp.MustCompile(`(?m)^PRETTY_NAME="?([^"\n]*)"?`)

// about reads what a node told of itself.
func (r *Report) about(f *folder, n *Node) {
	dir := "nodes/" + n.Name + "/"
	var v dockerVersion
	if f.json(dir+"docker/version.json", &v) {
		n.Docker, n.Kernel = cmp.Or(v.Version, n.Docker), cmp.Or(v.KernelVersion, n.Kernel)
		for _, c := range v.Components {
			if c.Name == "Engine" {
				n.Kernel = cmp.Or(n.Kernel, c.Details["KernelVersion"])
			}
		}
	}
	if n.Kernel == "" {
		// uname -a: "Linux docker1 6.1.0-56-cloud-amd64 …"
		if words := strings.Fields(f.text(dir + "uname.txt")); len(words) > 2 && words[0] == "Linux" {
			n.Kernel = words[2]
		}
	}
	if m := osName.FindStringSubmatch(f.text(dir + "os-release.txt")); m != nil {
		n.OS = line(m[1], 60)
	}
}

// members adds the nodes that take part in a network, as one node sees it.
func (r *Report) members(f *folder, n *Node, dir string, w dockerNetwork, x *Network) {
	var full dockerNetwork
	file := dir + "network-" + w.Name + ".json"
	if strings.ContainsAny(w.Name, "/\\") || !f.has(file) || !f.json(file, &full) || full.ID != w.ID {
		return
	}
	add := func(name string) {
		if !slices.Contains(x.Nodes, name) {
			x.Nodes = append(x.Nodes, name)
		}
	}
	for _, p := range full.Peers {
		for _, other := range r.Nodes {
			if other.LabIP != "" && other.LabIP == p.IP {
				add(other.Name)
			}
		}
	}
	if len(full.Containers) > 0 {
		add(n.Name)
	}
}

// sortNodes puts names into the order of the lab.
func (r *Report) sortNodes(names []string) {
	place := func(name string) int {
		return slices.IndexFunc(r.Nodes, func(n Node) bool { return n.Name == name })
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(place(a), place(b)) })
}

// swarm reads what a manager told of all.
func (r *Report) swarm(f *folder, dir string, networks map[string]*Network) {
	var nodes []dockerNode
	var services []dockerService
	var tasks []dockerTask
	f.json(dir+"nodes.json", &nodes)
	f.json(dir+"services.json", &services)
	f.json(dir+"tasks.json", &tasks)

	host := map[string]string{}
	for _, d := range nodes {
		host[d.ID] = d.Description.Hostname
		for i := range r.Nodes {
			n := &r.Nodes[i]
			if n.Name != d.Description.Hostname {
				continue
			}
			n.Role = cmp.Or(n.Role, d.Spec.Role)
			n.State = d.Status.State
			n.Drained = d.Spec.Availability == "drain"
			n.Leader = d.ManagerStatus != nil && d.ManagerStatus.Leader
			n.Docker = cmp.Or(n.Docker, d.Description.Engine.EngineVersion)
			n.CPUs = int(d.Description.Resources.NanoCPUs / 1e9)
			n.MemoryMiB = int(d.Description.Resources.MemoryBytes >> 20)
		}
	}
	names := map[string]string{}
	for _, s := range services {
		names[s.ID] = s.Spec.Name
		r.Services = append(r.Services, service(s, networks))
	}
	for _, t := range tasks {
		if t.DesiredState != "running" && t.Status.Err == "" || t.DesiredState == "remove" {
			continue // replaced, and nothing to tell of it
		}
		which := cmp.Or(host[t.NodeID], t.NodeID)
		if t.Slot != 0 {
			which = fmt.Sprint(t.Slot)
		}
		name := cmp.Or(names[t.ServiceID], t.ServiceID)
		r.Replicas = append(r.Replicas, Replica{
			Name: name + "." + which, Service: name, Node: cmp.Or(host[t.NodeID], t.NodeID),
			State: t.Status.State, Desired: t.DesiredState, Error: line(t.Status.Err, 300),
		})
	}
	slices.SortStableFunc(r.Replicas, func(a, b Replica) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), compareNatural(a.Name, b.Name), cmp.Compare(a.State, b.State))
	})
}

func service(s dockerService, networks map[string]*Network) Service {
	out := Service{Name: s.Spec.Name, Ports: []string{}, Networks: []string{}}
	if s.Spec.TaskTemplate.ContainerSpec != nil {
		out.Image = s.Spec.TaskTemplate.ContainerSpec.Image
	}
	if s.ServiceStatus != nil {
		out.Running, out.Desired = s.ServiceStatus.RunningTasks, s.ServiceStatus.DesiredTasks
	}
	for _, p := range s.Endpoint.Ports {
		port := fmt.Sprintf("%d to %d/%s", p.PublishedPort, p.TargetPort, p.Protocol)
		if p.PublishMode == "host" {
			port += " on its own node"
		}
		out.Ports = append(out.Ports, port)
	}
	for _, w := range append(s.Spec.TaskTemplate.Networks, s.Spec.Networks...) {
		if x := networks[w.Target]; x != nil && !slices.Contains(out.Networks, x.Name) {
			out.Networks = append(out.Networks, x.Name)
		}
	}
	return out
}

// compareNatural puts test01.2 before test01.10.
func compareNatural(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}
