package doctor

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/config"
)

func TestPlanText(t *testing.T) {
	at := netip.MustParsePrefix
	f := good(config.VirtualBox)
	f.Uses = []Use{{Interface: "eth0", Addr: at("10.1.2.3/24")}, {Interface: "eth0", Addr: at("10.1.2.0/24"), Route: true}, {Interface: "tun0", Addr: at("172.100.0.0/16"), Route: true, Tunnel: true}}
	f.Nameservers = []netip.Addr{netip.MustParseAddr("9.9.9.9")}
	var out strings.Builder
	if err := PlanOf(f, []ScenarioSubnet{{"lb", "subnet", at("172.100.0.0/24")}}).WriteText(&out); err != nil {
		t.Fatal(err)
	}
	want := `NETWORK          WHAT
192.168.33.0/24  the lab's subnet
192.168.33.11    docker1, manager
192.168.33.12    docker2, worker
10.0.2.0/24      VirtualBox's NAT, the first network card of every node
192.168.33.0/24  what VirtualBox allows for the lab's subnet
172.17.0.0/16    docker0, Docker's bridge on every node
172.18.0.0/16    docker_gwbridge, Swarm's bridge on every node
10.0.0.0/8       overlay networks are cut from it, /24 each (Docker's default)
172.100.0.0/24   scenario lb, parameter subnet
10.1.2.3/24      this host's interface eth0
172.100.0.0/16   this host's route through tun0 (a tunnel)
9.9.9.9          this host's nameserver
warning: overlay networks are cut from 10.0.0.0/8, so one of the first will be 10.0.2.0/24, VirtualBox's NAT, the first network card of every node; set default-address-pool = ["10.20.0.0/16"] under [swarm] in lab.toml, before the swarm is formed
warning: overlay networks are cut from 10.0.0.0/8, which overlaps 10.1.2.3/24, this host's interface eth0: containers may not reach it; set default-address-pool = ["10.20.0.0/16"] under [swarm] in lab.toml, before the swarm is formed
warning: scenario lb, parameter subnet: 172.100.0.0/24 overlaps 172.100.0.0/16, this host's route through tun0 (a tunnel): the scenario's containers cannot reach it; set subnet = "172.101.0.0/24" under [scenario.lb] in lab.toml
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

// A scenario must keep out of every subnet of the nodes.
func TestPlanSubnets(t *testing.T) {
	at := netip.MustParsePrefix
	f := good(config.Libvirt)
	f.Lab.Nodes[1].Place = config.Place{Bridge: "br0", Subnet: at("192.168.34.0/24")}
	p := PlanOf(f, []ScenarioSubnet{{"lb", "subnet", at("192.168.34.0/24")}})
	if len(p.Rows) < 2 || p.Rows[1].Network != at("192.168.34.0/24") || p.Rows[1].What != "a subnet of nodes on another bridge" {
		t.Errorf("rows %v", p.Rows)
	}
	const want = "scenario lb, parameter subnet: 192.168.34.0/24 overlaps 192.168.34.0/24, a subnet of nodes on another bridge"
	if len(p.Conflicts) != 1 || !strings.HasPrefix(p.Conflicts[0].Text, want) {
		t.Errorf("conflicts %v", p.Conflicts)
	}
}

func TestPlanConflicts(t *testing.T) {
	at := netip.MustParsePrefix
	for _, tt := range []struct {
		name      string
		provider  config.Provider
		change    func(*Facts)
		scenarios []ScenarioSubnet
		want      []string
	}{
		{"nothing", config.Embedded, func(f *Facts) { f.Uses = []Use{{Interface: "eth0", Addr: at("10.1.2.3/24")}} }, nil, nil},
		{"a pool of its own", config.VirtualBox, func(f *Facts) { f.Lab.Swarm.DefaultAddressPool = []netip.Prefix{at("10.20.0.0/16")} }, nil, nil},
		{"a scenario on the lab", config.Embedded, nil, []ScenarioSubnet{{"lb", "subnet", at("192.168.33.0/24")}},
			[]string{`problem: scenario lb, parameter subnet: 192.168.33.0/24 overlaps 192.168.33.0/24, the lab's subnet; set subnet = "172.100.0.0/24" under [scenario.lb] in lab.toml`}},
		{"a scenario in the pool", config.Embedded, nil, []ScenarioSubnet{{"subnet", "free", at("10.5.0.0/24")}},
			[]string{`problem: scenario subnet, parameter free: 10.5.0.0/24 overlaps 10.0.0.0/8, overlay networks are cut from it, /24 each (Docker's default); set free = "172.100.0.0/24" under [scenario.subnet] in lab.toml`}},
		{"two scenarios may share", config.Embedded, nil, []ScenarioSubnet{{"lb", "subnet", at("172.100.0.0/24")}, {"ping", "subnet", at("172.100.0.0/24")}}, nil},
		{"the management network", config.Libvirt, func(f *Facts) {
			f.Lab.Swarm.DefaultAddressPool = []netip.Prefix{at("10.20.0.0/16")}
			f.Uses = []Use{{Interface: "virbr2", Addr: at("192.168.244.1/24")}, {Interface: "eth1", Addr: at("192.168.128.0/17"), Route: true}, {Interface: "eth0", Addr: at("192.168.244.9/24")}}
		}, nil, []string{"problem: the management network 192.168.244.0/24 overlaps 192.168.244.9/24 of the host's interface eth0; rename the lab in lab.toml: the management network's address follows from its name"}},
		{"not allowed", config.VirtualBox, func(f *Facts) {
			f.Lab.Swarm.DefaultAddressPool, f.NetworkConf = []netip.Prefix{at("10.20.0.0/16")}, NetworksConf{}
		}, nil, []string{"problem: VirtualBox does not allow 192.168.33.0/24: without /etc/vbox/networks.conf it allows 192.168.56.0/21 alone; add the line `* 192.168.33.0/24` to /etc/vbox/networks.conf, or set subnet = \"192.168.56.0/24\" in lab.toml"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := good(tt.provider)
			if tt.change != nil {
				tt.change(&f)
			}
			p := PlanOf(f, tt.scenarios)
			var got []string
			for _, c := range p.Conflicts {
				got = append(got, string(c.Level)+": "+c.Text+"; "+c.Remedy)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if p.Broken() != (len(tt.want) > 0) {
				t.Errorf("broken: %v", p.Broken())
			}
		})
	}
}
