package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// docker finds what somebody took away from under a running engine: its
// firewall rules, the ingress network and its sandbox.
func (j *judge) docker() {
	j.ingressNetwork()
	for _, n := range j.Nodes {
		if !n.answered() || n.System == nil || j.hurt[n.Name] {
			continue
		}
		if j.outsideIngress(n) || j.rulesMissing(n) {
			continue
		}
		j.forwardBlocked(n)
		j.sandbox(n)
	}
	j.overlayProbes()
}

// published are the ports that services publish on every node, such as
// "8080/tcp", of those that have been running for some time: before that no
// node need know them.
func (j *judge) published() (out []string) {
	if j.Swarm == nil {
		return nil
	}
	for _, s := range j.Swarm.Services {
		if slices.ContainsFunc(j.Swarm.Tasks, func(t Task) bool {
			return t.Service == s.ID && t.State == "running" && j.Swarm.Now.Sub(t.Since) >= calm
		}) {
			out = append(out, s.Published...)
		}
	}
	return out
}

// rulesMissing finds chains of Docker's that are gone, or to which nothing leads.
func (j *judge) rulesMissing(n Node) bool {
	if n.FirewallError != "" {
		return false
	}
	type place struct{ table, chain string }
	want := []place{{"filter", "DOCKER-USER"}, {"filter", "DOCKER"}, {"nat", "DOCKER"}}
	if n.Member.State == "active" && len(j.published()) > 0 {
		want = append(want, place{"filter", "DOCKER-INGRESS"}, place{"nat", "DOCKER-INGRESS"})
	}
	var tables []*table
	for _, r := range n.Firewall {
		if r.By != "nft" {
			tables = append(tables, readIptables(r)...)
		}
	}
	var missing []string
	for _, w := range want {
		there, led := false, false
		for _, t := range tables {
			if t.name != w.table {
				continue
			}
			there = there || t.chain(w.chain) != nil
			for _, c := range t.chains {
				led = led || slices.ContainsFunc(c.rules, func(r rule) bool { return r.jump == w.chain })
			}
		}
		switch {
		case !there:
			missing = append(missing, fmt.Sprintf("%s: the chain %s of the table %s is not there", n.Name, w.chain, w.table))
		case !led:
			missing = append(missing, fmt.Sprintf("%s: no rule leads to the chain %s of the table %s", n.Name, w.chain, w.table))
		}
	}
	for _, w := range n.Networks {
		if w.Driver != "bridge" || w.Bridge == "" || len(w.Subnets) == 0 || n.System.link(w.Bridge) == nil || w.Internal {
			continue
		}
		if !slices.ContainsFunc(tables, func(t *table) bool { return t.name == "nat" && t.masquerades(w.Subnets[0]) }) {
			missing = append(missing, fmt.Sprintf("%s: no rule of the table nat gives what leaves %s (%s) the node's own address", n.Name, w.Bridge, w.Subnets[0]))
		}
	}
	if n.Member.State == "active" {
		for _, p := range j.published() {
			number, proto, _ := strings.Cut(p, "/")
			for _, name := range []string{"filter", "nat"} {
				if !slices.ContainsFunc(tables, func(t *table) bool { return t.name == name && t.mentions("DOCKER-INGRESS", proto, number) }) {
					missing = append(missing, fmt.Sprintf("%s: the chain DOCKER-INGRESS of the table %s does not mention the published port %s", n.Name, name, p))
				}
			}
		}
	}
	if missing == nil {
		return false
	}
	f := Finding{ID: RulesMissing, Nodes: []string{n.Name},
		Symptom:  fmt.Sprintf("published ports of %s do not answer, or its containers do not reach the world", n.Name),
		Cause:    fmt.Sprintf("rules that Docker made in the firewall of %s are gone: somebody flushed iptables, or a firewall was loaded over them", n.Name),
		Evidence: missing}
	if n.System.Daemon.NoTables {
		f.Cause = fmt.Sprintf("Docker makes no firewall rules on %s: /etc/docker/daemon.json has \"iptables\": false", n.Name)
		f.Remedy = onShell(n.Name, `sudo sed -i -E 's/"iptables": *false/"iptables": true/' /etc/docker/daemon.json && sudo systemctl restart docker`)
	} else {
		f.fix(n.Name, "sudo systemctl restart docker")
	}
	j.add(f)
	return true
}

func (t *table) masquerades(subnet netip.Prefix) bool {
	c := t.chain("POSTROUTING")
	return c != nil && slices.ContainsFunc(c.rules, func(r rule) bool {
		return strings.Contains(r.text, "-s "+subnet.String()+" ") && strings.Contains(r.text, "-j MASQUERADE")
	})
}

func (t *table) mentions(chain, proto, port string) bool {
	c := t.chain(chain)
	return c != nil && slices.ContainsFunc(c.rules, func(r rule) bool {
		return strings.Contains(r.text, "-p "+proto+" ") && strings.Contains(r.text+" ", "--dport "+port+" ")
	})
}

// gwbridge is the bridge by which the containers of a swarm reach the world.
const gwbridge = "docker_gwbridge"

// forwardBlocked finds a rule that stops what containers send to the world, or
// what comes in for a published port.
func (j *judge) forwardBlocked(n Node) {
	i := slices.IndexFunc(n.Networks, func(w Network) bool { return w.Bridge == gwbridge && len(w.Subnets) > 0 })
	if i < 0 {
		return
	}
	inside := n.Networks[i].Subnets[0].Addr().Next().Next()
	if n.System.Sandbox != nil {
		for _, a := range n.System.Sandbox.Addrs {
			if n.Networks[i].Subnets[0].Contains(a.Prefix.Addr()) {
				inside = a.Prefix.Addr()
			}
		}
	}
	type way struct {
		packet
		what string
	}
	world := netip.AddrFrom4([4]byte{192, 0, 2, 1})
	ways := []way{{packet{proto: "tcp", from: inside, to: world, dport: 80, in: gwbridge, out: n.System.Gateway.Dev, forward: true}, "what its containers send to the world"}}
	for _, p := range j.published() {
		number, proto, _ := strings.Cut(p, "/")
		ways = append(ways, way{packet{proto: proto, from: j.other(n), to: inside, dport: portOf(number), in: n.labDev(), out: gwbridge, forward: true}, "what comes in for the published port " + p})
	}
	f := Finding{ID: ForwardBlocked, Nodes: []string{n.Name}}
	var what []string
	tables := j.tables()[n.Name]
	for _, w := range ways {
		if w.in == "" || w.out == "" {
			continue
		}
		for _, t := range tables {
			c, ok := t.stops(w.packet)
			if !ok {
				continue
			}
			c.node = n.Name
			what = append(what, w.what)
			if line := c.evidence(); !slices.Contains(f.Evidence, line) {
				f.Evidence = append(f.Evidence, line)
				remedy := j.takeAway(c, w.packet)
				f.Remedy = strings.TrimPrefix(f.Remedy+"\n"+remedy, "\n")
			}
			break
		}
	}
	if what == nil {
		return
	}
	f.Symptom = "published ports of " + n.Name + " do not answer, or its containers do not reach the world"
	f.Cause = "the firewall of " + n.Name + " stops " + enumerate(what)
	j.add(f)
}

// takeAway is what to type against a rule on the way through a node.
func (j *judge) takeAway(c culprit, p packet) string {
	if c.rule != nil {
		return strings.Join(j.letThrough(blocked{by: &c, proto: p.proto, port: p.dport}), "\n")
	}
	if c.last != nil && c.table.by != "nft" {
		return on(c.node, fmt.Sprintf("sudo %s -D %s %s", c.program(), c.lastIn.name, c.last.text))
	}
	return on(c.node, "sudo systemctl restart docker")
}

// other is the address of any other node.
func (j *judge) other(n Node) netip.Addr {
	for _, m := range j.Nodes {
		if m.Name != n.Name {
			return m.IP
		}
	}
	return n.IP
}

// ingressNetwork finds a swarm without the network for published ports.
func (j *judge) ingressNetwork() {
	var asked []string
	for _, n := range j.Nodes {
		if !n.answered() || n.Member.State != "active" || !n.Member.Manager || j.hurt[n.Name] {
			continue
		}
		if slices.ContainsFunc(n.Networks, func(w Network) bool { return w.Ingress }) {
			return
		}
		asked = append(asked, n.Name)
	}
	if asked == nil || j.Swarm == nil || j.Swarm.Error != "" {
		return
	}
	f := Finding{ID: IngressMissing, Nodes: asked, Networks: []string{"ingress"},
		Symptom:  "services that publish ports do not start, and no port is published",
		Cause:    "the swarm has no ingress network: somebody removed it",
		Evidence: []string{asked[0] + ": docker network ls shows none"}}
	f.fix(asked[0], fmt.Sprintf("docker network create -d overlay --ingress --subnet %s ingress", j.freeSubnet()))
	// An engine connects itself to a new ingress network when it starts, and not before.
	for _, n := range j.Nodes {
		if n.answered() && n.Member.State == "active" && !j.hurt[n.Name] {
			f.fix(n.Name, "sudo systemctl restart docker")
		}
	}
	j.add(f)
}

// sandbox finds a node whose ingress sandbox is gone or cut off.
func (j *judge) sandbox(n Node) {
	i := slices.IndexFunc(n.Networks, func(w Network) bool { return w.Ingress })
	// Until a service publishes a port, the swarm gives it no addresses.
	published := j.published()
	if n.Member.State != "active" || i < 0 || len(published) == 0 {
		return
	}
	var ev []string
	switch s := n.System.Sandbox; {
	case s == nil:
		ev = append(ev, n.Name+": /run/docker/netns/ingress_sbox is not there")
	case s.Error != "":
		ev = append(ev, n.Name+": /run/docker/netns/ingress_sbox: "+s.Error)
	default:
		if !slices.ContainsFunc(s.Addrs, func(a Addr) bool { return overlap(n.Networks[i].Subnets, []netip.Prefix{a.Prefix.Masked()}) }) {
			ev = append(ev, fmt.Sprintf("%s: the sandbox has no address in %s", n.Name, join(n.Networks[i].Subnets)))
		}
		if !slices.ContainsFunc(s.Addrs, func(a Addr) bool { return !overlap(n.Networks[i].Subnets, []netip.Prefix{a.Prefix.Masked()}) }) {
			ev = append(ev, n.Name+": the sandbox has no address on "+gwbridge)
		}
		for _, p := range published {
			number, proto, _ := strings.Cut(p, "/")
			if !slices.ContainsFunc(s.Rules, func(r string) bool {
				return strings.Contains(r, "-p "+proto+" ") && strings.Contains(r+" ", "--dport "+number+" ")
			}) {
				ev = append(ev, fmt.Sprintf("%s: the sandbox has no rule for the published port %s", n.Name, p))
			}
		}
	}
	if ev == nil {
		return
	}
	j.noIngress(n, fmt.Sprintf("the ingress sandbox of %s, through which published ports come in, is missing or damaged", n.Name), ev)
}

// outsideIngress finds a node that does not know the swarm's ingress network:
// workers of Docker 20.10 do not when it was removed and made again.
func (j *judge) outsideIngress(n Node) bool {
	isIngress := func(w Network) bool { return w.Ingress }
	i := slices.IndexFunc(j.Nodes, func(m Node) bool {
		return m.answered() && m.Member.Manager && slices.ContainsFunc(m.Networks, isIngress)
	})
	if n.Member.State != "active" || i < 0 || slices.ContainsFunc(n.Networks, isIngress) || len(j.published()) == 0 {
		return false
	}
	j.noIngress(n, fmt.Sprintf("%s is not connected to the swarm's ingress network, through which published ports come in: somebody removed that, and made it again", n.Name),
		[]string{fmt.Sprintf("docker network ls shows ingress on %s, and not on %s", j.Nodes[i].Name, n.Name)})
	return true
}

// noIngress tells why published ports do not answer at one node.
func (j *judge) noIngress(n Node, cause string, evidence []string) {
	f := Finding{ID: SandboxBroken, Nodes: []string{n.Name}, Networks: []string{"ingress"},
		Symptom: fmt.Sprintf("ports that services publish do not answer at %s, while they do at other nodes", n.Name),
		Cause:   cause, Evidence: evidence}
	j.hurt[n.Name] = true
	f.fix(n.Name, "sudo systemctl restart docker")
	j.add(f)
}

// overlayProbes judge the network ingress by what passed through it, if no
// cause is told that would keep it from passing.
func (j *judge) overlayProbes() {
	var nodes, ev []string
	var bad []Probe
	var small, bulk bool
	for _, p := range j.Probes {
		o := p.Overlay
		if o == nil || j.hurt[p.From] || j.hurt[p.To] || o.MTU == 0 || o.Large > 0 && o.Bulk || j.told(p) {
			continue // where bulk passes, the sender has learned what does
		}
		bad = append(bad, p)
		for _, name := range []string{p.From, p.To} {
			if !slices.Contains(nodes, name) {
				nodes = append(nodes, name)
			}
		}
		switch {
		case o.Large == 0:
			small = true
			ev = append(ev, fmt.Sprintf("%s: nothing that %s sends through the overlay ingress arrives", p.To, p.From))
		case o.Large < o.MTU:
			ev = append(ev, fmt.Sprintf("%s: through the overlay ingress packets of %d bytes arrive from %s, those of %d do not", p.To, o.Large, p.From, o.MTU))
		default:
			bulk = true
			ev = append(ev, fmt.Sprintf("%s: ping passes through the overlay ingress from %s, a TCP connection with 200 kB does not", p.To, p.From))
		}
	}
	if nodes == nil {
		return
	}
	where := enumerate(nodes)
	// With one node in every pair, and several others, it is that one.
	if common := slices.DeleteFunc(slices.Clone(nodes), func(name string) bool {
		return slices.ContainsFunc(bad, func(p Probe) bool { return p.From != name && p.To != name })
	}); len(common) == 1 {
		nodes, where = common, common[0]+" and on other nodes"
	}
	f := Finding{ID: OverlayBroken, Nodes: nodes, Networks: []string{"ingress"}, Evidence: ev,
		Symptom: "published ports answer now and then, or never; containers on " + where + " do not reach each other",
		Cause:   "large packets get lost inside the overlay ingress, while the nodes' own network carries them: an MTU in one of Docker's namespaces was changed"}
	switch {
	case small:
		f.Cause = "the overlay ingress carries nothing between the nodes, though their ports are open: their engines' tables of neighbours are old or damaged"
	case bulk:
		f.Cause = "the overlay ingress carries ping, but no bulk over TCP: checksums that the network card was to compute are often the cause"
		for _, n := range j.Nodes {
			if slices.Contains(nodes, n.Name) && n.labDev() != "" {
				f.Remedy += on(n.Name, "sudo ethtool -K "+n.labDev()+" tx off") + "\n"
			}
		}
	}
	for _, name := range nodes {
		f.fix(name, "sudo systemctl restart docker")
	}
	f.Remedy = strings.ReplaceAll(f.Remedy, "\n\n", "\n")
	j.add(f)
}

// told tells that a finding explains what does not pass between two nodes.
func (j *judge) told(p Probe) bool {
	return slices.ContainsFunc(j.found, func(f Finding) bool {
		return slices.Contains([]string{PortBlocked, MTUPath, MTUDiffers, IngressMissing, OverlapsMachines}, f.ID) &&
			(slices.Contains(f.Nodes, p.From) || slices.Contains(f.Nodes, p.To))
	})
}
