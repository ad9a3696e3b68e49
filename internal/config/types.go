// Package config turns the bytes of a lab.toml into a Lab value, or into
// every problem of the file at once, each with its key path and line. It is
// pure: it reads no file, no clock and no network.
package config

import (
	"net/netip"
	"slices"
)

// Role is what a node is in the swarm.
type Role string

// The two roles that Docker Swarm knows.
const (
	Manager Role = "manager"
	Worker  Role = "worker"
)

// Provider names what runs the VMs.
type Provider string

// The providers that lab.toml may name. Auto lets labctl choose the first
// usable one of VirtualBox, system libvirt and Embedded.
const (
	Auto       Provider = "auto"
	VirtualBox Provider = "virtualbox"
	Libvirt    Provider = "libvirt"
	Embedded   Provider = "embedded"
	// Existing are machines that are there already; labctl makes none.
	Existing Provider = "existing"
)

// Acceleration says how the embedded engine's VMs run.
type Acceleration string

// AccelAuto takes KVM where it really works and TCG (software emulation,
// several times slower) elsewhere.
const (
	AccelAuto Acceleration = "auto"
	AccelKVM  Acceleration = "kvm"
	AccelTCG  Acceleration = "tcg"
)

// Source says where a node's Docker packages come from.
type Source string

// SourceAuto takes the offline bundle if one was built, else apt.
const (
	SourceAuto     Source = "auto"
	SourceBundle   Source = "bundle"
	SourceApt      Source = "apt"
	SourceUpstream Source = "upstream"
)

// Lab is a whole lab.toml after defaults and validation.
type Lab struct {
	Name         string // marks every VM of this lab; a DNS label
	Provider     Provider
	Acceleration Acceleration
	Subnet       netip.Prefix // the VMs' own network, masked
	Box          Box
	SSH          SSH
	Nodes        []Node // in the order of the file; the first manager leads
	Docker       Docker
	Swarm        Swarm
	// Scenario holds [scenario.NAME] tables: parameter overrides as text.
	Scenario  map[string]map[string]string
	Artifacts string // folder for evidence, relative to lab.toml's folder
}

// Box is the VM image. The zero value means the provider's default box.
type Box struct {
	Name    string
	Version string
	URL     string
	Release string // Debian release of a box that labctl builds; "" as the host's
	Mirror  string // Debian mirror for that build; "" as the host's apt settings
}

// SSH says how the machines of the provider existing are reached. What it
// leaves open, the user's OpenSSH configuration says for the address.
type SSH struct {
	Config     string // OpenSSH configuration; "" for the user's own
	KnownHosts string // known_hosts file beside the user's own; "" for none
	Login
}

// Login is how one machine is reached, or all that do not say otherwise.
type Login struct {
	User string
	Port int    // 0: not said
	Key  string // private key; "" for the agent's and OpenSSH's usual ones
	Jump string // "[user@]host[:port]", several with commas; "" for none
}

// Node is one VM, or one machine that is there already.
type Node struct {
	Name     string
	Role     Role
	IP       netip.Addr // in the lab's network: what the swarm advertises
	Address  string     // existing: what SSH connects to
	Login    Login      // existing: with what [ssh] says filled in
	CPUs     int
	MemoryMB int // MiB
	Place        // libvirt: with what [libvirt] says filled in
}

// LocalHypervisor is the URI of this machine's own libvirt.
const LocalHypervisor = "qemu:///system"

// Place is where a VM of the provider libvirt lies.
type Place struct {
	URI string `json:"uri,omitempty"` // of the hypervisor; "" for this machine's own
	// Bridge is one that is there already on the hypervisor, for the lab's
	// network card; "" has labctl make a network that ends there.
	Bridge string `json:"bridge,omitempty"`
	// Subnet is the node's own, where it is not the lab's. Its first address
	// is the router's to the others.
	Subnet netip.Prefix `json:"subnet,omitzero"`
}

// Hypervisor is the URI of the libvirt that runs the VM.
func (p Place) Hypervisor() string {
	if p.URI == "" {
		return LocalHypervisor
	}
	return p.URI
}

// Local says that the VM runs on this machine.
func (p Place) Local() bool { return p.Hypervisor() == LocalHypervisor }

// Docker says what is installed on the nodes and from where.
type Docker struct {
	Source         Source
	Version        string // "" takes the newest that the source has
	RegistryMirror string // URL, "" for none
	Proxy          string // URL for dockerd and apt, "" for none
}

// Swarm holds what `docker swarm init` is given.
type Swarm struct {
	DefaultAddressPool []netip.Prefix // nil: the engine's default, 10.0.0.0/8
	SubnetSize         int            // prefix length cut from the pool; 24
	DataPathPort       uint16         // VXLAN port, UDP; 4789
}

// Managers returns the manager nodes in order.
func (l *Lab) Managers() []Node { return l.byRole(Manager) }

// Workers returns the worker nodes in order.
func (l *Lab) Workers() []Node { return l.byRole(Worker) }

// Node returns the node of that name.
func (l *Lab) Node(name string) (Node, bool) {
	for _, n := range l.Nodes {
		if n.Name == name {
			return n, true
		}
	}
	return Node{}, false
}

func (l *Lab) byRole(r Role) []Node {
	var out []Node
	for _, n := range l.Nodes {
		if n.Role == r {
			out = append(out, n)
		}
	}
	return out
}

// SubnetOf is the network in which the node has its address.
func (l *Lab) SubnetOf(n Node) netip.Prefix {
	if n.Subnet.IsValid() {
		return n.Subnet
	}
	return l.Subnet
}

// Subnets are the networks of the nodes, each once. Most labs have one.
func (l *Lab) Subnets() []netip.Prefix {
	var out []netip.Prefix
	for _, n := range l.Nodes {
		if p := l.SubnetOf(n); !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// Hypervisors are the URIs of the nodes' hypervisors, each once, in order.
func (l *Lab) Hypervisors() []string {
	var out []string
	for _, n := range l.Nodes {
		if u := n.Hypervisor(); !slices.Contains(out, u) {
			out = append(out, u)
		}
	}
	return out
}
