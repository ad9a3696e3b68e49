// Package diagnose finds out what is wrong with a lab. Gather asks every node
// for facts, side by side; Judge, which is pure, compares them and says what
// it makes of them: symptom, cause, evidence and remedy. So every judgement
// can be tested with facts that were recorded on a broken lab.
package diagnose

import (
	"net/netip"
	"time"

	"labctl/internal/config"
)

// Facts is what was learned of a lab at one moment. It marshals to JSON and
// back without loss, and holds no secret.
type Facts struct {
	Lab    string       `json:"lab"`
	Subnet netip.Prefix `json:"subnet"` // the VMs' own network, of lab.toml
	Nodes  []Node       `json:"nodes"`  // in the order of lab.toml
	Swarm  *Swarm       `json:"swarm,omitempty"`
	// DataPath is the UDP port between the nodes that overlays use, of
	// lab.toml; 0 in facts of an older labctl.
	DataPath uint16  `json:"data_path,omitempty"`
	Probes   []Probe `json:"probes,omitempty"` // by from, then to
}

// Node is what one node told. What could not be asked is missing, and
// Unreachable, DockerError or HostError says why.
type Node struct {
	Name        string          `json:"name"`
	Role        config.Role     `json:"role"`
	IP          netip.Addr      `json:"ip"`                     // of lab.toml
	Unreachable string          `json:"unreachable,omitempty"`  // why there is no SSH connection
	DockerError string          `json:"docker_error,omitempty"` // why the engine did not answer
	HostError   string          `json:"host_error,omitempty"`   // why ip, date or resolv.conf could not be read
	Engine      string          `json:"engine,omitempty"`       // Engine version
	Member      Member          `json:"member"`
	Networks    []Network       `json:"networks,omitempty"`
	Images      []string        `json:"images,omitempty"`     // names with tags
	LogDriver   string          `json:"log_driver,omitempty"` // the engine\'s
	Addrs       []Addr          `json:"addrs,omitempty"`
	Routes      []Route         `json:"routes,omitempty"`
	Nameservers []netip.Addr    `json:"nameservers,omitempty"`  // those outside the loopback
	ClockAhead  time.Duration   `json:"clock_ahead,omitempty"`  // of labctl's clock; negative: behind
	ClockFuzz   time.Duration   `json:"clock_fuzz,omitempty"`   // how far ClockAhead may be off
	RefusedNets []string        `json:"refused_nets,omitempty"` // manager's log: networks that got no addresses
	Listens     []uint16        `json:"listens,omitempty"`      // TCP ports, if ProbeError is ""
	ProbeError  string          `json:"probe_error,omitempty"`  // why it could not try the ports of others
	DNS         map[string]bool `json:"dns,omitempty"`          // name servers: whether they answer; nil if ProbeError is not ""
	Lookups     []Lookup        `json:"lookups,omitempty"`      // of names in containers
	Firewall    []RuleSet       `json:"firewall,omitempty"`
	// FirewallError is why the rules could not be read.
	FirewallError string `json:"firewall_error,omitempty"`
	// VM is what runs the VM says of it where the node cannot be reached, such
	// as "powered off"; "" if it was not asked.
	VM string `json:"vm,omitempty"`
	// System is nil in facts of an older labctl, and if HostError is not "".
	System *System `json:"system,omitempty"`
}

// RuleSet is what one program tells of a node's firewall.
type RuleSet struct {
	By string `json:"by"` // "iptables", "iptables-legacy", "iptables-nft" or "nft"
	// Lines are those of iptables-save -c, without the nat table; of nft, the
	// JSON objects of all tables that iptables does not show.
	Lines []string `json:"lines"`
}

// Probe is what was tried from one node to another, or is missing if one of
// the two could not try.
type Probe struct {
	From   string `json:"from"`
	To     string `json:"to"`
	Echo   bool   `json:"echo"`   // an ICMP echo came back
	Marked bool   `json:"marked"` // a UDP packet with a wrong checksum arrived at a port that nobody uses
	Gossip bool   `json:"gossip"` // a packet of the engines' own arrived at 7946/udp
	// Ports maps ports such as "7946/tcp" to Open, Refused, Unanswered or
	// what the system said, and such as "4789/udp" to Arrived or Lost.
	Ports map[string]string `json:"ports"`
	// MTU is the largest packet, in bytes, that From would send to To, and
	// Large the largest that arrived without having been cut into fragments;
	// 0 in facts of an older labctl, and Large also if none did.
	MTU     int           `json:"mtu,omitempty"`
	Large   int           `json:"large,omitempty"`
	Overlay *OverlayProbe `json:"overlay,omitempty"` // nil: one of the two has no ingress sandbox
}

// OverlayProbe is what was tried from one node's ingress sandbox to another's,
// through the overlay network ingress.
type OverlayProbe struct {
	MTU   int  `json:"mtu"`   // as in Probe
	Large int  `json:"large"` // as in Probe: 0 if not even small ones arrived
	Bulk  bool `json:"bulk"`  // a TCP connection carried 200 kB
}

// What a Probe says of a port.
const (
	Open       = "open"
	Refused    = "refused"
	Unanswered = "unanswered"
	Arrived    = "arrived"
	Lost       = "lost"
)

// Member is a node's own view of its part in the swarm.
type Member struct {
	State   string     `json:"state,omitempty"` // "active" is the sound one
	NodeID  string     `json:"node_id,omitempty"`
	Addr    netip.Addr `json:"addr,omitzero"` // that it advertises
	Manager bool       `json:"manager,omitempty"`
	Error   string     `json:"error,omitempty"`
	// Managers are the swarm's managers, as this one knows them.
	Managers []netip.Addr `json:"managers,omitempty"`
}

// Network is one network as one node sees it.
type Network struct {
	ID       string         `json:"id"`
	Name     string         `json:"name"`
	Driver   string         `json:"driver"` // "" for a swarm network that got no addresses
	Scope    string         `json:"scope"`
	Ingress  bool           `json:"ingress,omitempty"`
	Internal bool           `json:"internal,omitempty"` // it does not lead to the world
	Bridge   string         `json:"bridge,omitempty"`   // the interface, such as docker0
	Subnets  []netip.Prefix `json:"subnets,omitempty"`
	// Wanted are the subnets that were asked for, where Driver is "".
	Wanted  []netip.Prefix `json:"wanted,omitempty"`
	Peers   []netip.Addr   `json:"peers,omitempty"`
	MTU     int            `json:"mtu,omitempty"` // that it was created with; 0: Docker's default
	Created time.Time      `json:"created,omitzero"`
}

// Addr is an address of an interface, with the length of its subnet.
type Addr struct {
	Dev    string       `json:"dev"`
	Prefix netip.Prefix `json:"prefix"` // not masked
}

// Route is one route of a node's main table. Default routes are left out.
type Route struct {
	Dev string       `json:"dev"`
	Dst netip.Prefix `json:"dst"`
	Via netip.Addr   `json:"via,omitzero"`
}

// Swarm is what a manager tells about all.
type Swarm struct {
	By       string        `json:"by"`              // the manager that was asked
	Error    string        `json:"error,omitempty"` // why it could not tell
	Now      time.Time     `json:"now,omitzero"`    // its clock
	Members  []SwarmMember `json:"members,omitempty"`
	Services []Service     `json:"services,omitempty"`
	Tasks    []Task        `json:"tasks,omitempty"`
}

// SwarmMember is one line of the node list.
type SwarmMember struct {
	ID       string `json:"id"`
	Hostname string `json:"hostname"`
	State    string `json:"state"`
	// Addr is where it was seen to come from; zero if that is not known.
	Addr         netip.Addr `json:"addr,omitzero"`
	Message      string     `json:"message,omitempty"`
	Availability string     `json:"availability"`
	Leader       bool       `json:"leader,omitempty"`
	Reachability string     `json:"reachability,omitempty"` // "" for workers
}

// Service is one service.
type Service struct {
	ID       string   `json:"id"`
	Name     string   `json:"name"`
	Image    string   `json:"image,omitempty"`
	Networks []string `json:"networks,omitempty"` // ids
	// Published are the ports of the ingress network, such as "8080/tcp".
	Published []string `json:"published,omitempty"`
	LogDriver string   `json:"log_driver,omitempty"` // "": the engine's
}

// Task is one task that shall run, or that failed to.
type Task struct {
	ID      string    `json:"id"`
	Service string    `json:"service"` // id
	Slot    int       `json:"slot,omitempty"`
	Node    string    `json:"node,omitempty"` // id; "" if it has none
	Desired string    `json:"desired"`
	State   string    `json:"state"`
	Since   time.Time `json:"since"` // of State
	Message string    `json:"message,omitempty"`
	Err     string    `json:"err,omitempty"`
	// Container is the beginning of its container's id, and PID that of the
	// first process in it.
	Container string `json:"container,omitempty"`
	PID       int    `json:"pid,omitempty"`
}

// Severity says how bad a finding is.
type Severity string

// Error is something that does not work, Warning something that soon may not.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Finding is one thing that is wrong.
type Finding struct {
	ID       string   `json:"id"`
	Severity Severity `json:"severity"`
	Symptom  string   `json:"symptom"` // what a person sees
	Cause    string   `json:"cause"`
	Evidence []string `json:"evidence,omitempty"` // facts that prove it, node first
	Remedy   string   `json:"remedy"`             // what to type, a line each
	Nodes    []string `json:"nodes,omitempty"`
	Networks []string `json:"networks,omitempty"`
	// Fix are the commands by which `labctl diagnose --fix` mends it, in this
	// order; nil where that is not safe or cannot be undone.
	Fix []Fix `json:"fix,omitempty"`
}

// Fix is one command that mends a finding on one node.
type Fix struct {
	Node string `json:"node"`
	// Command is for sh; "$(date +%s)" in it stands for the clock of the host.
	Command string `json:"command"`
}
