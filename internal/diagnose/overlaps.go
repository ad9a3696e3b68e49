package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// overlay is one network of the swarm, as all nodes together know it.
type overlay struct {
	Network
	on []string // nodes that know it
}

// subnets are those that it has, or else wants.
func (o overlay) subnets() []netip.Prefix {
	if o.unallocated() {
		return o.Wanted
	}
	return o.Subnets
}

func (j *judge) gatherOverlays() {
	for _, n := range j.Nodes {
		if j.elsewhere(n) {
			continue // its overlays are another swarm's, which may have the same subnets
		}
		for _, w := range n.Networks {
			if w.Scope != "swarm" || w.Driver != "overlay" && w.Driver != "" || j.removed(w) {
				continue
			}
			i := slices.IndexFunc(j.overlays, func(o overlay) bool { return o.ID == w.ID })
			if i < 0 {
				j.overlays = append(j.overlays, overlay{Network: w, on: []string{n.Name}})
				continue
			}
			j.overlays[i].on = append(j.overlays[i].on, n.Name)
			if j.overlays[i].Wanted == nil {
				j.overlays[i].Wanted = w.Wanted
			}
		}
	}
	slices.SortFunc(j.overlays, func(a, b overlay) int { return strings.Compare(a.Name+a.ID, b.Name+b.ID) })
}

// removed tells a network that the swarm has no more, while a worker still ends
// its last tasks there: its addresses are free to be given to others.
func (j *judge) removed(w Network) bool {
	if j.Swarm == nil || j.Swarm.Error != "" {
		return false
	}
	i := slices.IndexFunc(j.Nodes, func(n Node) bool { return n.Name == j.Swarm.By })
	return i >= 0 && j.Nodes[i].Networks != nil &&
		!slices.ContainsFunc(j.Nodes[i].Networks, func(have Network) bool { return have.ID == w.ID })
}

// overlaps compares every overlay with all that has addresses.
func (j *judge) overlaps() {
	for i, o := range j.overlays {
		told := false
		for k, other := range j.overlays {
			// Of two that both have addresses each pair is told once, of the
			// younger one.
			if k == i || other.unallocated() || !o.unallocated() && (o.Created.Before(other.Created) || o.Created.Equal(other.Created) && i < k) {
				continue
			}
			if overlap(o.subnets(), other.subnets()) {
				j.overlayOverlap(o, []overlay{other})
				told = true
			}
		}
		if o.unallocated() && !told {
			j.withoutAddresses(o)
		}
		if o.unallocated() {
			continue // it is nowhere yet
		}
		j.bridgeOverlap(o)
		j.machineOverlap(o)
		j.nameserver(o)
	}
}

func overlap(a, b []netip.Prefix) bool {
	return slices.ContainsFunc(a, func(p netip.Prefix) bool { return slices.ContainsFunc(b, p.Overlaps) })
}

// relation puts two overlapping subnets into words.
func relation(a, b []netip.Prefix) string {
	for _, p := range a {
		for _, q := range b {
			switch {
			case p == q:
				return "the same subnet as"
			case p.Overlaps(q) && p.Bits() > q.Bits():
				return "a subnet inside that of"
			case p.Overlaps(q):
				return "a subnet that contains that of"
			}
		}
	}
	return "a subnet that overlaps that of"
}

// services lists the services that use a network, and marks their trouble as
// told.
func (j *judge) services(o overlay) []string {
	var out []string
	if j.Swarm != nil {
		for _, s := range j.Swarm.Services {
			if slices.Contains(s.Networks, o.ID) {
				out = append(out, s.Name)
				j.explained[s.ID] = true
			}
		}
	}
	return out
}

// taskWords tells how the tasks of a network's services stand, with what
// errors.
func (j *judge) taskWords(o overlay) (states string, evidence []string) {
	if j.Swarm == nil {
		return "", nil
	}
	for _, s := range j.Swarm.Services {
		if !slices.Contains(s.Networks, o.ID) {
			continue
		}
		count := map[string]int{}
		var order []string
		for _, t := range j.Swarm.Tasks {
			if t.Service != s.ID {
				continue
			}
			if count[t.State] == 0 {
				order = append(order, t.State)
			}
			count[t.State]++
			if line := j.taskError(s, t); t.Err != "" && !slices.Contains(evidence, line) {
				evidence = append(evidence, line)
			}
		}
		var words []string
		for _, state := range order {
			words = append(words, fmt.Sprintf("%d %s", count[state], state))
		}
		if words == nil {
			words = []string{"none"}
		}
		if states != "" {
			states += "; "
		}
		states += fmt.Sprintf("tasks of %s: %s", s.Name, strings.Join(words, ", "))
	}
	return states, evidence
}

func (j *judge) taskError(s Service, t Task) string {
	where := j.names[t.Node]
	if where == "" {
		where = "no node"
	}
	return fmt.Sprintf("%s: task of %s %s: %s", where, s.Name, t.State, oneLine(t.Err))
}

func withStates(symptom, states string) string {
	if states == "" {
		return symptom
	}
	return symptom + " (" + states + ")"
}

// overlayOverlap is an overlay that wants, or has, what others have.
func (j *judge) overlayOverlap(o overlay, others []overlay) {
	states, errs := j.taskWords(o)
	f := Finding{ID: OverlapsOverlay, Nodes: o.on, Networks: []string{o.Name},
		Symptom: withStates(fmt.Sprintf("services in the network %s do not start, and no error says why", o.Name), states)}
	var names, ev []string
	for _, other := range others {
		f.Networks = append(f.Networks, other.Name)
		names = append(names, fmt.Sprintf("%s (%s)", other.Name, join(other.subnets())))
		ev = append(ev, fmt.Sprintf("%s: overlay %s has %s", other.on[0], other.Name, join(other.subnets())))
	}
	switch {
	case !o.unallocated():
		f.Symptom = withStates(fmt.Sprintf("containers in %s reach the wrong ones, or nobody", o.Name), states)
		f.Cause = fmt.Sprintf("the overlay network %s has %s the overlay network %s", o.Name, relation(o.subnets(), others[0].subnets()), names[0])
		ev = append(ev, fmt.Sprintf("%s: overlay %s has %s", o.on[0], o.Name, join(o.subnets())))
	case o.Wanted != nil:
		f.Cause = fmt.Sprintf("the overlay network %s was to have %s the overlay network %s, so the swarm gave it no addresses",
			o.Name, relation(o.subnets(), others[0].subnets()), names[0])
		ev = append(ev, fmt.Sprintf("%s: %s was created with %s, and has neither driver nor addresses", o.on[0], o.Name, join(o.Wanted)))
	default:
		f.Cause = fmt.Sprintf("the overlay network %s was to have a subnet that another overlay network has: %s", o.Name, strings.Join(names, " or "))
		ev = append(ev, fmt.Sprintf("%s: %s has neither driver nor addresses", o.on[0], o.Name))
	}
	for _, n := range j.Nodes {
		if slices.Contains(n.RefusedNets, o.ID) {
			ev = append(ev, fmt.Sprintf("%s: Docker's log says of %s: pool overlaps with other one on this address space", n.Name, o.Name))
		}
	}
	f.Evidence = append(ev, errs...)
	f.Remedy = j.anotherSubnet(o)
	j.add(f)
}

// settled is how long the swarm may take to give a network its addresses.
const settled = 10 * time.Second

// withoutAddresses is an overlay that got none, and no overlap is to be seen.
func (j *judge) withoutAddresses(o overlay) bool {
	if slices.ContainsFunc(j.Nodes, func(n Node) bool { return slices.Contains(n.RefusedNets, o.ID) }) && o.Wanted == nil {
		var others []overlay
		for _, other := range j.overlays {
			if !other.unallocated() {
				others = append(others, other)
			}
		}
		if others != nil {
			j.overlayOverlap(o, others)
			return true
		}
	}
	if j.Swarm == nil || j.Swarm.Now.Sub(o.Created) < settled {
		return false
	}
	states, errs := j.taskWords(o)
	f := Finding{ID: NotAllocated, Nodes: o.on, Networks: []string{o.Name},
		Symptom:  withStates(fmt.Sprintf("services in the network %s do not start, and no error says why", o.Name), states),
		Cause:    fmt.Sprintf("the swarm gave the overlay network %s no addresses: when it was created they were taken, or the pool was used up", o.Name),
		Evidence: append([]string{fmt.Sprintf("%s: %s has neither driver nor addresses", o.on[0], o.Name)}, errs...),
		Remedy:   j.anotherSubnet(o)}
	if o.Wanted != nil {
		f.Evidence[0] = fmt.Sprintf("%s: %s was created with %s, and has neither driver nor addresses", o.on[0], o.Name, join(o.Wanted))
	}
	j.add(f)
	return true
}

// bridgeOverlap is an overlay whose addresses a network of a single node has.
func (j *judge) bridgeOverlap(o overlay) {
	var nodes, bridges, ev []string
	first := netip.Prefix{}
	for _, n := range j.Nodes {
		for _, w := range n.Networks {
			if w.Scope == "swarm" || !overlap(o.Subnets, w.Subnets) {
				continue
			}
			name := w.Name
			if w.Bridge != "" {
				name = w.Bridge
			}
			if !slices.Contains(bridges, name) {
				bridges = append(bridges, name)
			}
			if !slices.Contains(nodes, n.Name) {
				nodes = append(nodes, n.Name)
			}
			if !first.IsValid() {
				first = w.Subnets[0]
			}
			ev = append(ev, fmt.Sprintf("%s: network %s (%s %s) has %s", n.Name, w.Name, w.Driver, name, join(w.Subnets)))
		}
	}
	if nodes == nil {
		return
	}
	states, errs := j.taskWords(o)
	ev = append(ev, fmt.Sprintf("%s: overlay %s has %s", o.on[0], o.Name, join(o.Subnets)))
	j.add(Finding{ID: OverlapsBridge, Nodes: nodes, Networks: append([]string{o.Name}, bridges...),
		Symptom: withStates(fmt.Sprintf("tasks in the network %s are rejected on %s, again and again", o.Name, strings.Join(nodes, ", ")), states),
		Cause: fmt.Sprintf("the overlay network %s has %s %s (%s), a network that exists on each node for itself and that the managers do not see",
			o.Name, relation(o.Subnets, []netip.Prefix{first}), strings.Join(bridges, ", "), first),
		Evidence: append(ev, errs...), Remedy: j.anotherSubnet(o)})
}

// machineOverlap is an overlay whose addresses the machines themselves have,
// or reach by a route.
func (j *judge) machineOverlap(o overlay) {
	var nodes, ev []string
	var taken []netip.Prefix
	lab := slices.ContainsFunc(o.Subnets, j.Subnet.Overlaps)
	if lab {
		taken = append(taken, j.Subnet)
		ev = append(ev, "lab.toml: the nodes' own network is "+j.Subnet.String())
	}
	for _, n := range j.Nodes {
		for _, r := range n.Routes {
			if n.ownBridge(r.Dev) || !slices.ContainsFunc(o.Subnets, r.Dst.Overlaps) {
				continue
			}
			if !slices.Contains(nodes, n.Name) {
				nodes = append(nodes, n.Name)
			}
			if !slices.Contains(taken, r.Dst) {
				taken = append(taken, r.Dst)
			}
			ev = append(ev, fmt.Sprintf("%s: route to %s by %s%s", n.Name, r.Dst, r.Dev, n.addrOn(r.Dev)))
		}
	}
	if taken == nil {
		return
	}
	whose := fmt.Sprintf("a network that %s has a route to (%s)", strings.Join(nodes, ", "), join(taken))
	if lab {
		whose = fmt.Sprintf("the machines' own network (%s)", j.Subnet)
	}
	has := "the same subnet as"
	if !slices.Contains(o.Subnets, taken[0]) {
		has = join(o.Subnets) + ", which overlaps"
	}
	if nodes == nil {
		nodes = o.on
	}
	states, errs := j.taskWords(o)
	ev = append(ev, fmt.Sprintf("%s: overlay %s has %s", o.on[0], o.Name, join(o.Subnets)))
	j.add(Finding{ID: OverlapsMachines, Nodes: nodes, Networks: []string{o.Name, taken[0].String()},
		Symptom: withStates(fmt.Sprintf("nothing looks wrong, but containers in the network %s do not reach the machines in %s", o.Name, join(taken)), states),
		Cause: fmt.Sprintf("the overlay network %s has %s %s: a container looks for those machines inside the overlay, where they are not",
			o.Name, has, whose),
		Evidence: append(ev, errs...), Remedy: j.anotherSubnet(o)})
}

// ownBridge tells the interfaces that belong to Docker itself.
func (n Node) ownBridge(dev string) bool {
	return slices.ContainsFunc(n.Networks, func(w Network) bool { return w.Bridge == dev && dev != "" })
}

func (n Node) addrOn(dev string) string {
	for _, a := range n.Addrs {
		if a.Dev == dev {
			return ", where it has the address " + a.Prefix.Addr().String()
		}
	}
	return ""
}

// nameserver is an overlay that hides the server which containers ask for
// names outside.
func (j *judge) nameserver(o overlay) {
	var nodes, ev []string
	var server netip.Addr
	for _, n := range j.Nodes {
		for _, a := range n.Nameservers {
			// What a route says of it has been told.
			routed := slices.ContainsFunc(n.Routes, func(r Route) bool {
				return !n.ownBridge(r.Dev) && r.Dst.Contains(a) && slices.ContainsFunc(o.Subnets, r.Dst.Overlaps)
			})
			if routed || j.Subnet.Contains(a) || !slices.ContainsFunc(o.Subnets, func(p netip.Prefix) bool { return p.Contains(a) }) {
				continue
			}
			server = a
			nodes = append(nodes, n.Name)
			ev = append(ev, fmt.Sprintf("%s: name server %s", n.Name, a))
		}
	}
	if nodes == nil {
		return
	}
	j.add(Finding{ID: HidesNameserver, Nodes: nodes, Networks: []string{o.Name},
		Symptom:  fmt.Sprintf("containers in the network %s find no names of the world outside", o.Name),
		Cause:    fmt.Sprintf("the name server %s lies inside the subnet %s of the overlay network %s, so containers look for it there", server, join(o.Subnets), o.Name),
		Evidence: append(ev, fmt.Sprintf("%s: overlay %s has %s", o.on[0], o.Name, join(o.Subnets))),
		Remedy:   j.anotherSubnet(o)})
}
