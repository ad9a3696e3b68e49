package diagnose

import (
	"fmt"
	"slices"
	"strings"
)

// wires finds what is wrong with the way from a machine to the lab's network.
func (j *judge) wires() {
	for _, n := range j.Nodes {
		if n.System == nil {
			continue
		}
		if !j.card(n) {
			j.route(n)
		}
		for _, q := range n.System.Qdiscs {
			j.shaped(n, q)
		}
	}
}

// labCard is the interface in the lab's network, also where its address is
// gone: then the one that neither leads to the world nor is Docker's.
func (n Node) labCard() string {
	if dev := n.labDev(); dev != "" || n.System == nil {
		return dev
	}
	for _, a := range n.Addrs {
		if a.Prefix.Contains(n.IP) {
			return a.Dev
		}
	}
	for _, l := range n.System.Links {
		if l.Dev == "eth1" {
			return l.Dev
		}
	}
	for _, l := range n.System.Links {
		if l.Dev != n.System.Gateway.Dev && !strings.HasPrefix(l.Dev, "docker") && !strings.HasPrefix(l.Dev, "br-") && !strings.HasPrefix(l.Dev, "vx-") {
			return l.Dev
		}
	}
	return ""
}

// card finds a network card that is down, or has not got its address.
func (j *judge) card(n Node) bool {
	dev := n.labCard()
	l := n.System.link(dev)
	f := Finding{Nodes: []string{n.Name}, Symptom: n.Name + " and the other nodes do not reach each other: Down in the node list, tasks move away"}
	address := fmt.Sprintf("%s/%d", n.IP, j.Subnet.Bits())
	holder := slices.IndexFunc(j.Nodes, func(m Node) bool {
		return m.Name != n.Name && slices.ContainsFunc(m.Addrs, func(a Addr) bool { return a.Prefix.Addr() == n.IP })
	})
	switch {
	case holder >= 0:
		other := j.Nodes[holder]
		i := slices.IndexFunc(other.Addrs, func(a Addr) bool { return a.Prefix.Addr() == n.IP })
		f.ID, f.Nodes = SameAddress, []string{other.Name, n.Name}
		f.Symptom = fmt.Sprintf("connections to %s end at %s, now and then or always", n.IP, other.Name)
		f.Cause = fmt.Sprintf("%s has the address %s, which lab.toml gives to %s", other.Name, n.IP, n.Name)
		f.Evidence = []string{fmt.Sprintf("%s: %s on %s", other.Name, other.Addrs[i].Prefix, other.Addrs[i].Dev)}
		f.fix(other.Name, fmt.Sprintf("sudo ip addr del %s dev %s", other.Addrs[i].Prefix, other.Addrs[i].Dev))
		j.hurt[other.Name] = true
	case l == nil:
		return false
	case !l.Up:
		f.ID = InterfaceDown
		f.Cause = fmt.Sprintf("the network card %s of %s, which leads to the other nodes, is switched off", dev, n.Name)
		f.Evidence = []string{fmt.Sprintf("%s: %s is down", n.Name, dev)}
		// Meanwhile the engine may have reached the managers another way, by an
		// address that is not the lab's, and keeps to it until it starts anew.
		f.fix(n.Name, "sudo ip link set dev "+dev+" up", "sudo systemctl restart docker")
	case !l.Carrier:
		f.ID = InterfaceDown
		f.Cause = fmt.Sprintf("the network card %s of %s, which leads to the other nodes, has no carrier: its cable is pulled", dev, n.Name)
		f.Evidence = []string{fmt.Sprintf("%s: %s is up, without a carrier", n.Name, dev)}
		f.Remedy = "labctl status   (the VM's network card must be connected again, where the VM runs)"
	case n.labDev() == "":
		f.ID = AddressMissing
		f.Cause = fmt.Sprintf("%s of %s has not got the address %s", dev, n.Name, n.IP)
		f.Evidence = []string{n.Name + ": its addresses are " + addresses(n.Addrs)}
		f.fix(n.Name, fmt.Sprintf("sudo ip addr add %s dev %s", address, dev))
	case !slices.ContainsFunc(n.Addrs, func(a Addr) bool { return a.Prefix.Addr() == n.IP && a.Prefix.Bits() == j.Subnet.Bits() }):
		i := slices.IndexFunc(n.Addrs, func(a Addr) bool { return a.Prefix.Addr() == n.IP })
		if slices.ContainsFunc(j.Nodes, func(m Node) bool { return !n.Addrs[i].Prefix.Masked().Contains(m.IP) }) {
			f.ID = AddressMissing
			f.Cause = fmt.Sprintf("%s of %s has the address %s, whose subnet is not the lab's: /%d", dev, n.Name, n.Addrs[i].Prefix, j.Subnet.Bits())
			f.Evidence = []string{n.Name + ": its addresses are " + addresses(n.Addrs)}
			f.fix(n.Name, fmt.Sprintf("sudo ip addr add %s dev %s", address, dev), fmt.Sprintf("sudo ip addr del %s dev %s", n.Addrs[i].Prefix, dev))
			break
		}
		return false
	default:
		return false
	}
	j.hurt[n.Name] = true
	j.add(f)
	return true
}

func addresses(list []Addr) string {
	var words []string
	for _, a := range list {
		words = append(words, a.Prefix.String()+" on "+a.Dev)
	}
	return strings.Join(words, ", ")
}

// route finds routes that lead another way than through the lab's network.
func (j *judge) route(n Node) {
	dev := n.labDev()
	if dev == "" {
		return
	}
	var peers, ev, commands []string
	for _, m := range j.Nodes {
		if m.Name == n.Name {
			continue
		}
		var best Route
		for _, r := range slices.Concat(n.System.Blocked, n.Routes) {
			if r.Dst.Contains(m.IP) && (!best.Dst.IsValid() || r.Dst.Bits() > best.Dst.Bits()) {
				best = r
			}
		}
		if best.Dst.IsValid() && best.Dev == dev && !best.Via.IsValid() {
			continue
		}
		peers = append(peers, m.Name)
		line, command := fmt.Sprintf("%s: no route to %s", n.Name, m.IP), fmt.Sprintf("sudo ip route add %s dev %s src %s", j.Subnet, dev, n.IP)
		switch blocked := slices.Contains(n.System.Blocked, best); {
		case !best.Dst.IsValid():
		case blocked:
			line, command = fmt.Sprintf("%s: route %s %s", n.Name, best.Dev, best.Dst), fmt.Sprintf("sudo ip route del %s %s", best.Dev, best.Dst)
		case best.Via.IsValid():
			line, command = fmt.Sprintf("%s: route to %s by %s through %s", n.Name, best.Dst, best.Dev, best.Via), fmt.Sprintf("sudo ip route del %s via %s dev %s", best.Dst, best.Via, best.Dev)
		default:
			line, command = fmt.Sprintf("%s: route to %s by %s", n.Name, best.Dst, best.Dev), fmt.Sprintf("sudo ip route del %s dev %s", best.Dst, best.Dev)
		}
		if !slices.Contains(ev, line) {
			ev, commands = append(ev, line), append(commands, command)
		}
	}
	if peers == nil {
		return
	}
	j.hurt[n.Name] = true
	f := Finding{ID: RouteAstray, Nodes: []string{n.Name},
		Symptom:  fmt.Sprintf("%s does not reach %s, though its network card is in order", n.Name, enumerate(peers)),
		Cause:    fmt.Sprintf("what %s sends to %s does not go through %s, the lab's network", n.Name, enumerate(peers), dev),
		Evidence: ev}
	f.fix(n.Name, commands...)
	j.add(f)
}

// shaped is a queueing discipline that somebody set.
func (j *judge) shaped(n Node, q Qdisc) {
	does := q.Text
	if does == "" {
		does = "queues of its own"
	}
	where := "what " + n.Name + " sends by " + q.Dev
	if q.Dev == n.labDev() {
		where = "what " + n.Name + " sends to the other nodes"
		j.hurt[n.Name] = true
	}
	f := Finding{ID: TrafficShaped, Nodes: []string{n.Name},
		Symptom:  "connections from " + n.Name + " are slow or break off, more so the more they carry",
		Cause:    fmt.Sprintf("traffic control (%s) is set on %s: %s", q.Kind, where, does),
		Evidence: []string{fmt.Sprintf("%s: tc qdisc %s on %s: %s", n.Name, q.Kind, q.Dev, does)}}
	if i := slices.IndexFunc(j.found, func(g Finding) bool {
		return g.ID == TrafficShaped && g.Nodes[0] == n.Name && strings.Contains(g.Remedy, "dev "+q.Dev+" root")
	}); i >= 0 {
		j.found[i].Evidence = append(j.found[i].Evidence, f.Evidence...)
		j.found[i].Cause += "; " + q.Kind + ": " + does
		return
	}
	f.fix(n.Name, "sudo tc qdisc del dev "+q.Dev+" root")
	j.add(f)
}

// vxlanBytes is what a VXLAN puts around a packet.
const vxlanBytes = 50

// usualMTU is Ethernet's; Docker's overlays take it for given.
const usualMTU = 1500

// mtu finds packets that are too large for the way.
func (j *judge) mtu() {
	if j.cards() {
		return
	}
	least := usualMTU
	for _, n := range j.Nodes {
		if n.System == nil {
			continue
		}
		if l := n.System.link(n.labDev()); l != nil {
			least = min(least, l.MTU)
		}
	}
	for _, o := range j.overlays {
		if o.MTU != 0 && o.MTU+vxlanBytes > least && j.labMTU(o.MTU) {
			f := Finding{ID: OverlayMTU, Nodes: o.on, Networks: []string{o.Name},
				Symptom:  fmt.Sprintf("in the network %s ping and short answers pass between nodes, large ones hang or are slow", o.Name),
				Cause:    fmt.Sprintf("%s was created with an MTU of %d; a VXLAN adds %d bytes, and the nodes' network carries %d", o.Name, o.MTU, vxlanBytes, least),
				Evidence: []string{fmt.Sprintf("%s: %s has com.docker.network.driver.mtu=%d", o.on[0], o.Name, o.MTU)},
				Remedy:   j.again(o, o.Subnets, "")}
			j.add(f)
		}
	}
	j.largest()
}

// labMTU tells whether an overlay's MTU is too large for any node.
func (j *judge) labMTU(mtu int) bool {
	for _, n := range j.Nodes {
		if n.System == nil {
			continue
		}
		if l := n.System.link(n.labDev()); l != nil && mtu+vxlanBytes > l.MTU {
			return true
		}
	}
	return false
}

// cards finds network cards with another MTU than they should have.
func (j *judge) cards() bool {
	var f Finding
	var words []string
	for _, n := range j.Nodes {
		if n.System == nil {
			continue
		}
		l := n.System.link(n.labDev())
		if l == nil {
			continue
		}
		same := !slices.ContainsFunc(j.Nodes, func(m Node) bool {
			if m.System == nil {
				return false
			}
			k := m.System.link(m.labDev())
			return k != nil && k.MTU != l.MTU
		})
		f.Evidence = append(f.Evidence, fmt.Sprintf("%s: %s has an MTU of %d", n.Name, l.Dev, l.MTU))
		if l.MTU == usualMTU || same && l.MTU > usualMTU {
			continue // larger ones everywhere are somebody's good plan
		}
		f.Nodes = append(f.Nodes, n.Name)
		words = append(words, fmt.Sprintf("%s of %s has an MTU of %d instead of %d", l.Dev, n.Name, l.MTU, usualMTU))
		f.fix(n.Name, fmt.Sprintf("sudo ip link set dev %s mtu %d", l.Dev, usualMTU))
	}
	if f.Nodes == nil {
		return false
	}
	f.ID = MTUDiffers
	f.Symptom = "ping and short answers pass between the nodes, large ones hang or are slow, in overlays above all"
	f.Cause = enumerate(words) + fmt.Sprintf("; overlays send packets of %d bytes", usualMTU)
	j.add(f)
	return true
}

// largest finds ways on which large packets get lost while small ones pass.
func (j *judge) largest() {
	var nodes, words, ev, rules []string
	var f Finding
	least := usualMTU
	for _, p := range j.Probes {
		if p.MTU == 0 || p.Large == 0 || p.Large >= p.MTU || j.hurt[p.From] || j.hurt[p.To] {
			continue
		}
		least = min(least, p.Large)
		for _, name := range []string{p.From, p.To} {
			if !slices.Contains(nodes, name) {
				nodes = append(nodes, name)
			}
		}
		words = append(words, p.From+" to "+p.To)
		ev = append(ev, fmt.Sprintf("%s: of the packets that %s sends unfragmented those of %d bytes arrive, those of %d bytes do not", p.To, p.From, p.Large, p.MTU))
		if c := j.sizeRule(p); c != nil {
			line := c.evidence()
			if !slices.Contains(rules, line) {
				rules = append(rules, line)
				// A rule is taken away by hand, as those of ports are.
				for _, l := range j.letThrough(blocked{by: c}) {
					f.Remedy = strings.TrimPrefix(f.Remedy+"\n"+l, "\n")
				}
			}
		}
	}
	if words == nil {
		return
	}
	f.ID, f.Nodes, f.Evidence = MTUPath, nodes, append(rules, ev...)
	f.Symptom = "ping and short answers pass between " + enumerate(nodes) + ", large ones hang"
	f.Cause = fmt.Sprintf("packets of more than %d bytes get lost on the way (%s), and nobody tells the sender", least, strings.Join(words, ", "))
	if rules != nil {
		f.Cause = fmt.Sprintf("a firewall stops large packets (%s): those of more than %d bytes get lost, and nobody tells the sender", strings.Join(words, ", "), least)
	} else {
		f.Remedy = j.smallerRoutes(least)
	}
	j.add(f)
}

// smallerRoutes tells the nodes what the way between them can carry.
func (j *judge) smallerRoutes(size int) string {
	var lines []string
	for _, n := range j.Nodes {
		if dev := n.labDev(); dev != "" {
			lines = append(lines, on(n.Name, fmt.Sprintf("sudo ip route change %s dev %s proto kernel scope link src %s mtu lock %d", j.Subnet, dev, n.IP, size)))
		}
	}
	return "mend what lies between the nodes; or tell them what it carries:\n" + strings.Join(lines, "\n")
}

// sizeRule looks for the rule that stops large packets and lets small ones
// through; nil if none is seen.
func (j *judge) sizeRule(p Probe) *culprit {
	tables := j.tables()
	var from, to Node
	for _, n := range j.Nodes {
		switch n.Name {
		case p.From:
			from = n
		case p.To:
			to = n
		}
	}
	for _, end := range []struct {
		at       Node
		incoming bool
	}{{from, false}, {to, true}} {
		x := packet{proto: "icmp", from: from.IP, to: to.IP, size: p.MTU, incoming: end.incoming}
		if end.incoming {
			x.in = end.at.labDev()
		} else {
			x.out = end.at.labDev()
		}
		for _, t := range tables[end.at.Name] {
			if c, ok := t.stops(x); ok {
				c.node = end.at.Name
				return &c
			}
		}
	}
	return nil
}
