package diagnose

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// The kinds of findings.
const (
	NodeUnreachable  = "node-unreachable"
	EngineSilent     = "engine-silent"
	NotInSwarm       = "not-in-swarm"
	WrongAddress     = "wrong-advertise-address"
	NoLeader         = "no-leader"
	NodeDown         = "node-down"
	NodeDrained      = "node-drained"
	ClocksDiffer     = "clocks-differ"
	PortBlocked      = "port-blocked"
	OverlapsOverlay  = "overlay-overlaps-overlay"
	OverlapsBridge   = "overlay-overlaps-bridge"
	OverlapsMachines = "overlay-overlaps-machines"
	HidesNameserver  = "overlay-hides-nameserver"
	NotAllocated     = "overlay-without-addresses"
	PeerMissing      = "peer-missing"
	TasksFail        = "tasks-fail"
	ImageMissing     = "image-missing"
)

// Judge says what is wrong, the causes before what follows from them; nil for
// a sound lab. It is pure.
func Judge(f Facts) []Finding {
	j := &judge{Facts: f, names: map[string]string{}, explained: map[string]bool{}}
	for _, n := range f.Nodes {
		if n.Member.NodeID != "" {
			j.names[n.Member.NodeID] = n.Name
		}
	}
	if f.Swarm != nil {
		for _, m := range f.Swarm.Members {
			if j.names[m.ID] == "" {
				j.names[m.ID] = m.Hostname
			}
		}
	}
	j.gatherOverlays()
	j.ports()
	j.nodes()
	j.swarm()
	j.clocks()
	j.overlaps()
	j.peers()
	j.tasks()
	slices.SortStableFunc(j.found, func(a, b Finding) int {
		return cmp.Compare(btoi(a.Severity == Warning), btoi(b.Severity == Warning))
	})
	return j.found
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

type judge struct {
	Facts
	names     map[string]string // swarm node id to node name
	overlays  []overlay
	explained map[string]bool // services whose trouble has been told
	blocked   []blocked
	found     []Finding
}

func (j *judge) add(f Finding) {
	if f.Severity == "" {
		f.Severity = Error
	}
	j.found = append(j.found, f)
}

// node tells whose answers can be relied on.
func (n Node) answered() bool { return n.Unreachable == "" && n.DockerError == "" }

func (j *judge) nodes() {
	for _, n := range j.Nodes {
		nodes := []string{n.Name}
		switch {
		case n.Unreachable != "":
			j.add(Finding{ID: NodeUnreachable, Nodes: nodes,
				Symptom:  "labctl cannot reach " + n.Name,
				Cause:    "its VM is off, still starting, or its network is broken",
				Evidence: []string{n.Name + ": " + oneLine(n.Unreachable)},
				Remedy:   "labctl status\nlabctl create"})
		case n.DockerError != "":
			j.add(Finding{ID: EngineSilent, Nodes: nodes,
				Symptom:  "Docker on " + n.Name + " does not answer",
				Cause:    "its engine is stopped, still starting, or the SSH user may not speak to it",
				Evidence: []string{n.Name + ": " + oneLine(n.DockerError)},
				Remedy:   on(n.Name, "sudo systemctl restart docker") + "\n" + on(n.Name, "sudo journalctl -u docker -n 50")})
		case n.Member.State != "active":
			why := []string{fmt.Sprintf("%s: swarm state %q", n.Name, n.Member.State)}
			if n.Member.Error != "" {
				why = append(why, n.Name+": "+oneLine(n.Member.Error))
			}
			j.add(Finding{ID: NotInSwarm, Nodes: nodes,
				Symptom:  n.Name + " gets no tasks",
				Cause:    n.Name + " is not an active member of a swarm",
				Evidence: why, Remedy: "labctl swarm form"})
		case n.Member.Addr.IsValid() && n.Member.Addr != n.IP:
			j.add(Finding{ID: WrongAddress, Nodes: nodes,
				Symptom: "containers on " + n.Name + " and on other nodes do not reach each other",
				Cause: fmt.Sprintf("%s joined the swarm with the address %s instead of %s, and the others send their packets there",
					n.Name, n.Member.Addr, n.IP),
				Evidence: []string{fmt.Sprintf("%s: advertises %s, lab.toml says %s", n.Name, n.Member.Addr, n.IP)},
				Remedy:   on(n.Name, "docker swarm leave --force") + "\nlabctl swarm form"})
		}
		if n.Unreachable == "" && n.HostError != "" {
			j.add(Finding{ID: NodeUnreachable, Severity: Warning, Nodes: nodes,
				Symptom:  n.Name + " does not tell its addresses and routes",
				Cause:    "a command on the node failed, so overlaps on this node cannot be seen",
				Evidence: []string{n.Name + ": " + oneLine(n.HostError)},
				Remedy:   on(n.Name, "ip -j addr")})
		}
	}
}

func (j *judge) swarm() {
	if j.Swarm == nil {
		return
	}
	if j.Swarm.Error != "" && !j.managersApart() {
		j.add(Finding{ID: NoLeader, Nodes: []string{j.Swarm.By},
			Symptom:  "the manager answers no question about the swarm",
			Cause:    "the swarm has no leader: more than half of its managers must be up and reach each other by port 2377/tcp",
			Evidence: []string{j.Swarm.By + ": " + oneLine(j.Swarm.Error)},
			Remedy:   "labctl status\nlabctl create"})
	}
	if j.Swarm.Error != "" {
		return
	}
	for _, n := range j.Nodes {
		var m *SwarmMember
		for i, c := range j.Swarm.Members {
			if c.Hostname == n.Name && (m == nil || c.ID == n.Member.NodeID || m.State == "down" && m.ID != n.Member.NodeID) {
				m = &j.Swarm.Members[i]
			}
		}
		switch {
		case m == nil:
			continue // NotInSwarm, or unreachable
		case m.State != "ready" && j.cutOff(n.Name, managePort):
			continue // PortBlocked
		case m.State != "ready":
			ev := fmt.Sprintf("%s: node list says %s is %s", j.Swarm.By, n.Name, m.State)
			if m.Message != "" {
				ev += ", " + oneLine(m.Message)
			}
			j.add(Finding{ID: NodeDown, Nodes: []string{n.Name},
				Symptom: "the swarm gives " + n.Name + " no work, and moves its tasks to other nodes",
				Cause: fmt.Sprintf("the managers hear nothing from %s: its engine is stopped, its VM is off, or it does not reach port 2377/tcp of a manager",
					n.Name),
				Evidence: []string{ev},
				Remedy:   "labctl status\n" + on(n.Name, "sudo systemctl restart docker")})
		case m.Availability != "active":
			j.add(Finding{ID: NodeDrained, Severity: Warning, Nodes: []string{n.Name},
				Symptom:  "new tasks go to other nodes than " + n.Name,
				Cause:    fmt.Sprintf("somebody set the availability of %s to %s", n.Name, m.Availability),
				Evidence: []string{fmt.Sprintf("%s: node list says that %s is set to %s", j.Swarm.By, n.Name, m.Availability)},
				Remedy:   on(j.Swarm.By, "docker node update --availability active "+n.Name)})
		}
	}
}

// clockLimit is what certificates and logs bear, in seconds.
const clockLimit = 10

func (j *judge) clocks() {
	var least, most *Node
	for i, n := range j.Nodes {
		if n.Unreachable != "" || n.HostError != "" {
			continue
		}
		if least == nil || n.ClockAhead < least.ClockAhead {
			least = &j.Nodes[i]
		}
		if most == nil || n.ClockAhead > most.ClockAhead {
			most = &j.Nodes[i]
		}
	}
	if least == nil {
		return
	}
	apart := most.ClockAhead - least.ClockAhead
	if (apart - most.ClockFuzz - least.ClockFuzz).Seconds() <= clockLimit {
		return
	}
	j.add(Finding{ID: ClocksDiffer, Severity: Warning, Nodes: []string{least.Name, most.Name},
		Symptom: "certificates are not valid yet or no longer, joining fails, times in logs do not fit",
		Cause: fmt.Sprintf("the clock of %s is %v ahead of that of %s", most.Name,
			apart.Round(1e9), least.Name),
		Evidence: []string{
			fmt.Sprintf("%s: %v ahead of this machine", most.Name, most.ClockAhead),
			fmt.Sprintf("%s: %v ahead of this machine", least.Name, least.ClockAhead)},
		Remedy: on(least.Name, "sudo date -u -s @$(date +%s)") + "\n" + on(most.Name, "sudo date -u -s @$(date +%s)")})
}

// on is the command by which a person runs one on a node.
func on(node, command string) string { return "labctl exec " + node + " -- " + command }

func oneLine(s string) string {
	return clip(strings.Join(strings.Fields(s), " "), 300)
}

func join(prefixes []netip.Prefix) string {
	var words []string
	for _, p := range prefixes {
		words = append(words, p.String())
	}
	return strings.Join(words, ", ")
}
