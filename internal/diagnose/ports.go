package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"labctl/internal/config"
)

// blocked is a port that one node needs of another and does not get.
type blocked struct {
	from, to Node
	port     uint16
	proto    string
	saw      string   // of the probe; "" if nothing was tried
	by       *culprit // nil if no rule explains it
}

func (b blocked) name() string { return strconv.Itoa(int(b.port)) + "/" + b.proto }

// ports finds what does not get through between two nodes. A probe that got
// through is right, whatever the rules seem to say; one that did not is a
// finding, and so is a rule that stops for sure what could not be tried.
func (j *judge) ports() {
	tables := j.tables()
	for _, from := range j.Nodes {
		for _, to := range j.Nodes {
			if from.Name != to.Name && from.Unreachable == "" && to.Unreachable == "" {
				j.pair(from, to, tables)
			}
		}
	}
	cut := j.cutPairs()
	var done []string
	for _, b := range j.blocked {
		if key := b.group(cut); !slices.Contains(done, key) {
			done = append(done, key)
			j.portBlocked(slices.DeleteFunc(slices.Clone(j.blocked), func(o blocked) bool { return o.group(cut) != key }))
		}
	}
}

// cutPairs are the nodes between which nothing passes, in neither direction,
// and for which there is a rule: a partition, which takes several rules.
func (j *judge) cutPairs() map[string]bool {
	stopped, ruled := map[string]int{}, map[string]bool{}
	for _, b := range j.blocked {
		key := b.pair()
		stopped[key]++
		ruled[key] = ruled[key] || b.by != nil
	}
	out := map[string]bool{}
	for key, n := range stopped {
		from, to, _ := strings.Cut(key, " ")
		out[key] = ruled[key] && n >= j.needs(from, to)+j.needs(to, from)
	}
	return out
}

// needs is how many ports one node needs of another.
func (j *judge) needs(_, to string) int {
	n := 2
	if j.manages(to) {
		n++
	}
	if j.DataPath != 0 {
		n++
	}
	return n
}

// pair names the two nodes, in any direction.
func (b blocked) pair() string {
	return min(b.from.Name, b.to.Name) + " " + max(b.from.Name, b.to.Name)
}

// tables reads the firewalls of all nodes, by name.
func (j *judge) tables() map[string][]*table {
	out := map[string][]*table{}
	for _, n := range j.Nodes {
		for _, r := range n.Firewall {
			if r.By == "nft" {
				out[n.Name] = append(out[n.Name], readNft(r)...)
			} else {
				out[n.Name] = append(out[n.Name], readIptables(r)...)
			}
		}
	}
	return out
}

// portOf reads the number of "2377/tcp".
func portOf(name string) uint16 {
	number, _, _ := strings.Cut(name, "/")
	port, _ := strconv.ParseUint(number, 10, 16)
	return uint16(port)
}

// group: what the same node's firewall stops is one finding; so is a
// partition, and what is lost between the same two nodes for no reason that
// can be seen.
func (b blocked) group(cut map[string]bool) string {
	switch {
	case cut[b.pair()]:
		return "partition"
	case b.by != nil:
		return "rules of " + b.by.node
	}
	return "between " + b.pair()
}

func (j *judge) pair(from, to Node, tables map[string][]*table) {
	list := []blocked{{from: from, to: to, port: gossipPort, proto: "tcp"}, {from: from, to: to, port: gossipPort, proto: "udp"}}
	if to.Role == config.Manager || to.Member.Manager {
		list = append([]blocked{{from: from, to: to, port: managePort, proto: "tcp"}}, list...)
	}
	if j.DataPath != 0 {
		list = append(list, blocked{from: from, to: to, port: j.DataPath, proto: "udp"})
	}
	i := slices.IndexFunc(j.Probes, func(p Probe) bool { return p.From == from.Name && p.To == to.Name })
	for _, b := range list {
		passed, failed := false, false
		if i >= 0 {
			passed, failed = j.Probes[i].tells(b, to)
			b.saw = j.Probes[i].Ports[b.name()]
		}
		if passed {
			continue
		}
		b.by = b.stopper(tables, failed)
		if b.by == nil && (j.hurt[from.Name] || j.hurt[to.Name]) {
			continue // told already
		}
		if failed || b.by != nil {
			j.blocked = append(j.blocked, b)
		}
	}
}

// tells what a probe says of a port; neither means that it says nothing.
func (p Probe) tells(b blocked, to Node) (passed, failed bool) {
	apart := !p.Echo && !p.Marked && !p.Gossip
	for _, a := range p.Ports {
		apart = apart && a != Open && a != Refused && a != Arrived
	}
	switch a := p.Ports[b.name()]; {
	case a == "":
		return false, false
	case a == Open || a == Arrived:
		return true, false
	case a == Refused:
		// Where nobody listens, a refusal is no firewall's.
		return false, slices.Contains(to.Listens, b.port)
	case a == Lost && b.port == gossipPort:
		// That packet had a wrong checksum, and some firewalls stop those.
		return p.Gossip, !p.Gossip && (p.Marked || apart)
	}
	return false, true
}

// stopper looks for the rule: at the node that sends, at the one that
// receives, and then, if the port was found closed, on the way back.
func (b blocked) stopper(tables map[string][]*table, failed bool) *culprit {
	there := packet{proto: b.proto, from: b.from.IP, to: b.to.IP, dport: b.port}
	if b.proto == "udp" && b.port == gossipPort {
		there.sport = gossipPort
	}
	packets := []struct {
		at  Node
		out bool
		packet
	}{{b.from, true, there}, {b.to, false, there}}
	if failed && b.proto == "tcp" {
		answer := packet{proto: b.proto, from: b.to.IP, to: b.from.IP, sport: b.port, answer: true}
		packets = append(packets, packets[0], packets[0])
		packets[2].at, packets[2].out, packets[2].packet = b.to, true, answer
		packets[3].at, packets[3].out, packets[3].packet = b.from, false, answer
	}
	for _, p := range packets {
		if p.out {
			p.packet.out = p.at.labDev()
		} else {
			p.in, p.incoming = p.at.labDev(), true
		}
		for _, t := range tables[p.at.Name] {
			if c, ok := t.stops(p.packet); ok {
				c.node = p.at.Name
				return &c
			}
		}
	}
	return nil
}

// labDev is the interface in the lab's network; "" if it is not known.
func (n Node) labDev() string {
	for _, a := range n.Addrs {
		if a.Prefix.Addr() == n.IP {
			return a.Dev
		}
	}
	return ""
}

// cutOff tells that a node does not get through to another's port, or, of the
// ports by which all talk to all, that another does not get through to it.
func (j *judge) cutOff(node string, port uint16) bool {
	return slices.ContainsFunc(j.blocked, func(b blocked) bool {
		return b.port == port && (b.from.Name == node || port == gossipPort && b.to.Name == node)
	})
}

// managersApart tells that managers cannot agree on a leader.
func (j *judge) managersApart() bool {
	return slices.ContainsFunc(j.blocked, func(b blocked) bool {
		return b.port == managePort && b.from.Role == config.Manager && b.to.Role == config.Manager
	})
}

// portBlocked tells of ports that one thing blocks.
func (j *judge) portBlocked(list []blocked) {
	f := Finding{ID: PortBlocked}
	add := func(words *[]string, word string) {
		if !slices.Contains(*words, word) {
			*words = append(*words, word)
		}
	}
	var names, symptoms, remedies, in, out, rules []string
	for _, b := range list {
		if b.by != nil {
			add(&f.Nodes, b.by.node)
			add(&rules, b.by.node)
		}
	}
	pairs := map[string][]string{}
	for _, b := range list {
		add(&f.Nodes, b.from.Name)
		add(&f.Nodes, b.to.Name)
		add(&names, b.name())
		pairs[b.name()] = append(pairs[b.name()], b.from.Name+" to "+b.to.Name)
		if b.by != nil {
			add(&f.Evidence, b.by.evidence())
			if b.by.packet.incoming {
				add(&in, b.name())
			} else {
				add(&out, b.name())
			}
			for _, line := range j.letThrough(b) {
				add(&remedies, line)
			}
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(portOf(a), portOf(b)), strings.Compare(a, b))
	})
	named := func(names []string) string {
		var words []string
		for _, name := range names {
			words = append(words, name+" ("+strings.Join(pairs[name], ", ")+")")
		}
		return enumerate(words)
	}
	for _, name := range names {
		add(&symptoms, j.portSymptom(list, name))
	}
	for _, b := range list {
		f.Evidence = append(f.Evidence, b.evidence())
	}
	f.Symptom = strings.Join(symptoms, "; ")
	byPort := func(words []string) {
		slices.SortFunc(words, func(a, b string) int { return cmp.Or(cmp.Compare(portOf(a), portOf(b)), strings.Compare(a, b)) })
	}
	byPort(in)
	byPort(out)
	f.Remedy = strings.Join(remedies, "\n")
	switch {
	case rules == nil:
		f.Cause = named(names) + ": nothing gets through, and no rule of the nodes' own firewalls explains it: " +
			"look at what lies between them, or at a rule that labctl cannot read"
		a, b := list[0].from.Name, list[0].to.Name
		f.Remedy = on(a, "sudo iptables -S") + "\n" + on(b, "sudo iptables -S") + "\n" + on(a, "sudo nft list ruleset") + "\n" + on(b, "sudo nft list ruleset")
	case len(rules) > 1:
		f.Cause = "the firewalls of " + enumerate(rules) + " cut nodes off from each other: " + named(names)
	case out == nil:
		f.Cause = "the firewall of " + rules[0] + " stops what comes in by " + named(in)
	case in == nil:
		f.Cause = "the firewall of " + rules[0] + " stops what goes out by " + named(out)
	default:
		f.Cause = "the firewall of " + rules[0] + " stops what comes in and goes out by " + named(names)
	}
	j.add(f)
}

// portSymptom is what people see of a blocked port.
func (j *judge) portSymptom(list []blocked, name string) string {
	var from, all []string
	for _, b := range list {
		if b.name() != name {
			continue
		}
		for _, n := range []string{b.from.Name, b.to.Name} {
			if !slices.Contains(all, n) {
				all = append(all, n)
			}
		}
		if !slices.Contains(from, b.from.Name) {
			from = append(from, b.from.Name)
		}
	}
	switch portOf(name) {
	case managePort:
		return enumerate(from) + " cannot join the swarm, or the node list says Down"
	case gossipPort:
		return "names, addresses and peers of containers are missing or old between " + enumerate(all)
	}
	return "containers on " + enumerate(all) + " do not reach each other, though their names resolve"
}

// enumerate writes "a, b and c".
func enumerate(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// evidence is what the probe saw.
func (b blocked) evidence() string {
	where := fmt.Sprintf("%s: %s of %s (%s) ", b.from.Name, b.name(), b.to.Name, b.to.IP)
	switch b.saw {
	case "":
		return where + "was not tried"
	case Lost:
		return fmt.Sprintf("%s: what %s (%s) sends to %s does not arrive", b.to.Name, b.from.Name, b.from.IP, b.name())
	case Unanswered:
		return where + "does not answer"
	case Refused:
		return where + "refuses, though a program listens there"
	}
	return where + "cannot be reached: " + oneLine(b.saw)
}
