package config

import (
	"fmt"
	"net/netip"

	labassets "labctl"
)

// What is taken where lab.toml says nothing: the lab of the page that labctl
// replaces.
const (
	defaultName         = "lab"
	defaultArtifacts    = "artifacts"
	defaultCPUs         = 1
	defaultMemoryMB     = 1024
	defaultSubnetSize   = 24
	defaultDataPathPort = 4789
	// firstHost is the host part of the address where counting up begins.
	firstHost = 11
	maxNodes  = 200
)

var defaultSubnet = netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, 33, 0}), 24)

// Default returns the lab of an empty lab.toml: docker1, a manager with
// 192.168.33.11, and docker2, a worker with 192.168.33.12.
func Default() *Lab {
	s := &source{file: "lab.toml"}
	return readFile(&table{src: s}).lab(s)
}

// Template returns the commented lab.toml that `labctl init` writes. It parses
// to Default.
func Template() []byte { return labassets.LabToml() }

// lab fills in what the file leaves open.
func (f *file) lab(s *source) *Lab {
	l := &Lab{
		Name: f.name, Provider: f.provider, Acceleration: f.acceleration,
		Subnet: f.subnet, Box: f.box, SSH: f.ssh, Docker: f.docker, Swarm: f.swarm,
		Scenario: f.scenario, Artifacts: f.artifacts,
	}
	if l.Provider == "" {
		l.Provider = Auto
	}
	if l.Acceleration == "" {
		l.Acceleration = AccelAuto
	}
	if l.Docker.Source == "" {
		l.Docker.Source = SourceAuto
	}
	if !l.Subnet.IsValid() && l.Provider != Existing {
		l.Subnet = defaultSubnet
	}
	l.Nodes = append(l.Nodes, f.nodes...)
	if len(l.Nodes) == 0 {
		l.Nodes = f.countedNodes()
	}
	fillRoles(l.Nodes)
	fillNames(l.Nodes)
	if l.Provider == Existing { // which have what CPUs and memory they have
		fillExisting(l)
		return l
	}
	for i := range l.Nodes {
		if l.Provider == Libvirt {
			l.Nodes[i].Place = l.Nodes[i].or(f.libvirt)
		}
	}
	fillAddresses(s, l)
	for i := range l.Nodes {
		n := &l.Nodes[i]
		if n.CPUs == 0 && !s.has(nodeKey(i, "cpus")) {
			n.CPUs = f.cpus
		}
		if n.MemoryMB == 0 && !s.has(nodeKey(i, "memory")) {
			n.MemoryMB = f.memory
		}
	}
	return l
}

// countedNodes makes the nodes of a file that lists none: managers first.
func (f *file) countedNodes() []Node {
	managers, workers := 1, 1
	if f.managers != nil {
		managers = *f.managers
	}
	if f.workers != nil {
		workers = *f.workers
	}
	nodes := make([]Node, managers+workers)
	for i := range nodes {
		nodes[i].Role = Worker
		if i < managers {
			nodes[i].Role = Manager
		}
	}
	return nodes
}

// fillRoles makes the first node without a role the manager if no node is one
// by name, and workers of the others.
func fillRoles(nodes []Node) {
	lacking := true
	for _, n := range nodes {
		lacking = lacking && n.Role != Manager
	}
	for i := range nodes {
		if nodes[i].Role != "" {
			continue
		}
		nodes[i].Role = Worker
		if lacking {
			nodes[i].Role = Manager
			lacking = false
		}
	}
}

// fillNames counts up docker1, docker2, … by the place of the node, past names
// that the file gives to others.
func fillNames(nodes []Node) {
	taken := map[string]bool{}
	for _, n := range nodes {
		taken[n.Name] = true
	}
	for i := range nodes {
		for k := i + 1; nodes[i].Name == ""; k++ {
			if name := fmt.Sprintf("docker%d", k); !taken[name] {
				nodes[i].Name, taken[name] = name, true
			}
		}
	}
}

// fillAddresses counts up from .11, and where that passes the end of the
// subnet, from its first address that a node may have.
func fillAddresses(s *source, l *Lab) {
	taken := map[netip.Addr]bool{}
	for _, n := range l.Nodes {
		taken[n.IP] = true
	}
	next := map[netip.Prefix]netip.Addr{} // of each subnet
	for i := range l.Nodes {
		n := &l.Nodes[i]
		if n.IP.IsValid() {
			continue
		}
		subnet := l.SubnetOf(*n)
		first, last := hostRange(subnet)
		if !next[subnet].IsValid() {
			next[subnet] = subnet.Addr()
			for range firstHost {
				next[subnet] = next[subnet].Next()
			}
		}
		for range maxNodes + len(taken) {
			if !last.IsValid() || last.Less(first) {
				break
			}
			a := next[subnet]
			if a.Compare(first) < 0 || a.Compare(last) > 0 {
				a = first
			}
			next[subnet] = a.Next()
			if !taken[a] {
				n.IP, taken[a] = a, true
				break
			}
		}
		key := "subnet"
		if n.Subnet.IsValid() {
			key = nodeKey(i, key)
		}
		if !n.IP.IsValid() && !s.isWrong(key) {
			s.wrong(key, "choose a larger one", "%s is too small for %d nodes", subnet, len(l.Nodes))
		}
	}
}

// hostRange returns the first and last address of a subnet that a node may
// have: neither the network's own, nor .1, which is the host's, nor the
// broadcast address. Of a subnet that is too small, last is before first.
func hostRange(subnet netip.Prefix) (first, last netip.Addr) {
	return subnet.Addr().Next().Next(), broadcast(subnet).Prev()
}

func broadcast(p netip.Prefix) netip.Addr {
	a := p.Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		a[bit/8] |= 1 << (7 - bit%8)
	}
	return netip.AddrFrom4(a)
}
