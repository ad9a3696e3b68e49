package diagnose

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// Judge says what is wrong, the causes before what follows from them; nil for
// a sound lab. It is pure.
func Judge(f Facts) []Finding {
	j := &judge{Facts: f, names: map[string]string{}, explained: map[string]bool{}, hurt: map[string]bool{}}
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
	// What is wrong with a machine comes first, since it explains most of what
	// then goes wrong between them.
	j.machines()
	j.nodes()
	j.wires()
	j.ports()
	j.mtu()
	j.swarm()
	j.docker()
	j.overlaps()
	j.peers()
	j.tasks()
	j.lookups()
	j.logs()
	j.nameservers()
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
	// hurt are the nodes with something wrong that keeps their engines from
	// working or from being heard; what follows from that is not told.
	hurt  map[string]bool
	found []Finding
}

func (j *judge) add(f Finding) {
	if f.Severity == "" {
		f.Severity = Error
	}
	j.found = append(j.found, f)
}

// node tells whose answers can be relied on.
func (n Node) answered() bool { return n.Unreachable == "" && n.DockerError == "" }

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
