package doctor

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"

	"labctl/internal/config"
	"labctl/internal/vagrant"
)

// Plan is where everything of a lab lies, and what gets into the way of what.
type Plan struct {
	Lab       string          `json:"lab"`
	Provider  config.Provider `json:"provider"` // Auto if it is not known
	Rows      []Row           `json:"rows"`
	Conflicts []Conflict      `json:"conflicts"`
}

// Row is one network or address of the plan.
type Row struct {
	Network netip.Prefix `json:"network"` // with 32 bits for an address
	What    string       `json:"what"`
	kind    kind
}

// Conflict is two rows that cannot both be, and the change that mends it.
type Conflict struct {
	Level  Level  `json:"level"`
	Text   string `json:"text"`
	Remedy string `json:"remedy"`
}

type kind int

const (
	subnetRow kind = iota
	nodeRow
	managementRow
	natRow
	allowedRow
	bridgeRow
	poolRow
	scenarioRow
	hostRow
	nameserverRow
)

// ScenarioSubnet is a parameter of a scenario that is a network.
type ScenarioSubnet struct {
	Scenario, Param string
	Subnet          netip.Prefix
}

// Docker's and VirtualBox's own networks, which are the same everywhere.
var (
	virtualBoxNAT = netip.MustParsePrefix("10.0.2.0/24")
	enginePool    = netip.MustParsePrefix("10.0.0.0/8")
	bridges       = []Row{
		{netip.MustParsePrefix("172.17.0.0/16"), "docker0, Docker's bridge on every node", bridgeRow},
		{netip.MustParsePrefix("172.18.0.0/16"), "docker_gwbridge, Swarm's bridge on every node", bridgeRow},
	}
)

// PlanOf lists every network that the lab, its provider, Docker, the
// scenarios and the host have, and judges them pair by pair. It is pure.
func PlanOf(f Facts, scenarios []ScenarioSubnet) Plan {
	l := f.Lab
	p := Plan{Lab: l.Name, Provider: f.Provider, Conflicts: []Conflict{}}
	add := func(k kind, n netip.Prefix, format string, args ...any) {
		p.Rows = append(p.Rows, Row{Network: n, What: fmt.Sprintf(format, args...), kind: k})
	}
	add(subnetRow, l.Subnet, "the lab's subnet")
	for _, own := range l.Subnets() {
		if own != l.Subnet {
			add(subnetRow, own, "a subnet of nodes on another bridge")
		}
	}
	for _, n := range l.Nodes {
		add(nodeRow, netip.PrefixFrom(n.IP, n.IP.BitLen()), "%s, %s", n.Name, n.Role)
	}
	if f.Provider == config.Libvirt || f.Provider == config.Embedded {
		add(managementRow, vagrant.ManagementSubnet(l, f.Provider), "management network, over which labctl reaches the nodes")
	}
	if f.Provider == config.VirtualBox {
		add(natRow, virtualBoxNAT, "VirtualBox's NAT, the first network card of every node")
		if ruled(f.OS, f.VirtualBox) {
			for _, r := range f.NetworkConf.ranges() {
				if r.Addr().Is4() {
					add(allowedRow, r, "what VirtualBox allows for the lab's subnet")
				}
			}
		}
	}
	p.Rows = append(p.Rows, bridges...)
	if pools := l.Swarm.DefaultAddressPool; pools != nil {
		for _, n := range pools {
			add(poolRow, n, "overlay networks are cut from it, /%d each", l.Swarm.SubnetSize)
		}
	} else {
		add(poolRow, enginePool, "overlay networks are cut from it, /%d each (Docker's default)", l.Swarm.SubnetSize)
	}
	for _, s := range scenarios {
		add(scenarioRow, s.Subnet, "scenario %s, parameter %s", s.Scenario, s.Param)
	}
	if f.shared() {
		p.addHost(f, add)
	}
	p.judge(f)
	return p
}

// addHost adds the host's networks, but not what the lab has put there.
func (p *Plan) addHost(f Facts, add func(kind, netip.Prefix, string, ...any)) {
	var seen []string
	for _, u := range f.Uses {
		what := "interface " + u.Interface
		if u.Route {
			what = "route through " + u.Interface
		}
		if u.Tunnel {
			what += " (a tunnel)"
		}
		if f.Stands && u.Addr.Masked() == f.Lab.Subnet {
			continue
		}
		if u.Route && slices.Contains(seen, u.Interface+" "+u.Addr.Masked().String()) {
			continue // the route of an interface's own network
		}
		seen = append(seen, u.Interface+" "+u.Addr.Masked().String())
		add(hostRow, u.Addr, "this host's %s", what)
	}
	for _, a := range f.Nameservers {
		add(nameserverRow, netip.PrefixFrom(a, a.BitLen()), "this host's nameserver")
	}
}

func (p *Plan) conflict(l Level, remedy, format string, args ...any) {
	c := Conflict{Level: l, Remedy: remedy, Text: fmt.Sprintf(format, args...)}
	if !slices.Contains(p.Conflicts, c) {
		p.Conflicts = append(p.Conflicts, c)
	}
}

func (p *Plan) judge(f Facts) {
	for _, x := range slices.Concat(judgeSubnet(&f), judgeManagement(&f), judgeTunnels(&f), judgeNameservers(&f)) {
		if x.Level != OK {
			p.conflict(x.Level, x.Remedy, "%s", x.Text)
		}
	}
	if f.Provider == config.VirtualBox {
		for _, x := range judgeNetworksConf(&f) {
			if x.Level != OK {
				p.conflict(x.Level, x.Remedy, "%s", x.Text)
			}
		}
	}
	for _, r := range p.Rows {
		switch r.kind {
		case scenarioRow:
			p.judgeScenario(r)
		case poolRow:
			p.judgePool(f, r)
		}
	}
	slices.SortStableFunc(p.Conflicts, func(a, b Conflict) int { return cmp.Compare(rank(a.Level), rank(b.Level)) })
}

func rank(l Level) int { return slices.Index([]Level{Problem, Warning, OK}, l) }

// judgeScenario: an overlay may have the addresses of nothing that its
// containers must reach or that a node knows already. Two scenarios do not run
// at once and may share theirs.
func (p *Plan) judgeScenario(s Row) {
	words := strings.Fields(strings.NewReplacer("scenario ", "", ", parameter", "").Replace(s.What))
	remedy := ""
	if len(words) == 2 {
		remedy = fmt.Sprintf("set %s = %q under [scenario.%s] in lab.toml", words[1], p.freeOverlay(), words[0])
	}
	for _, r := range p.Rows {
		if !r.Network.Overlaps(s.Network) {
			continue
		}
		switch r.kind {
		case subnetRow, managementRow, natRow, bridgeRow, poolRow:
			p.conflict(Problem, remedy, "%s: %s overlaps %s, %s", s.What, s.Network, r.Network, r.What)
		case hostRow, nameserverRow:
			if r.Network.Bits() > 1 {
				p.conflict(Warning, remedy, "%s: %s overlaps %s, %s: the scenario's containers cannot reach it", s.What, s.Network, r.Network, r.What)
			}
		}
	}
}

// freeOverlay names a network for a scenario that nothing of the plan has.
func (p *Plan) freeOverlay() string {
	for second := 100; second < 256; second++ {
		n := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(second), 0, 0}), 24)
		if !slices.ContainsFunc(p.Rows, func(r Row) bool { return r.kind != allowedRow && r.Network.Overlaps(n) }) {
			return n.String()
		}
	}
	return "172.100.0.0/24"
}

// judgePool: Swarm hands the pool out piece by piece, from its beginning, and
// asks nobody whether a piece is in use.
func (p *Plan) judgePool(f Facts, pool Row) {
	remedy := fmt.Sprintf("set default-address-pool = [%q] under [swarm] in lab.toml, before the swarm is formed", p.freePool())
	if f.Provider == config.Embedded { // the nodes have no way out
		return
	}
	for _, r := range p.Rows {
		if !r.Network.Overlaps(pool.Network) {
			continue
		}
		switch {
		case r.kind == natRow:
			p.conflict(Warning, remedy, "overlay networks are cut from %s, so one of the first will be %s, %s", pool.Network, r.Network, r.What)
		case r.kind == nameserverRow, r.kind == hostRow && r.Network.Bits() > 1:
			p.conflict(Warning, remedy, "overlay networks are cut from %s, which overlaps %s, %s: containers may not reach it", pool.Network, r.Network, r.What)
		}
	}
}

// freePool names a /16 that nothing of the plan has, pools apart.
func (p *Plan) freePool() string {
	for second := 20; second < 256; second++ {
		n := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(second), 0, 0}), 16)
		if !slices.ContainsFunc(p.Rows, func(r Row) bool { return r.kind != poolRow && r.Network.Overlaps(n) }) {
			return n.String()
		}
	}
	return "10.20.0.0/16"
}

// Broken says whether the plan cannot work.
func (p Plan) Broken() bool {
	return slices.ContainsFunc(p.Conflicts, func(c Conflict) bool { return c.Level == Problem })
}

// WriteText prints the plan as a table, and the conflicts below it.
func (p Plan) WriteText(out io.Writer) error {
	var s strings.Builder
	w := tabwriter.NewWriter(&s, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "NETWORK\tWHAT")
	for _, r := range p.Rows {
		n := r.Network.String()
		if r.Network.IsSingleIP() {
			n = r.Network.Addr().String()
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\n", n, r.What)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(p.Conflicts) == 0 {
		s.WriteString("no conflicts\n")
	}
	for _, c := range p.Conflicts {
		fmt.Fprintf(&s, "%s: %s", c.Level, c.Text)
		if c.Remedy != "" {
			fmt.Fprintf(&s, "; %s", c.Remedy)
		}
		s.WriteString("\n")
	}
	_, err := io.WriteString(out, s.String())
	return err
}
