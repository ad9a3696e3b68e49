package diagnose

import (
	"maps"
	"net/netip"
	"strings"
	"testing"

	"labctl/internal/config"

	"github.com/google/go-cmp/cmp"
)

// probed gives facts of two nodes probes through which everything passes.
func probed(f *Facts) {
	f.DataPath = 4789
	ports := map[string]string{"7946/tcp": Open, "7946/udp": Arrived, "4789/udp": Arrived}
	back := maps.Clone(ports)
	back["2377/tcp"] = Open
	f.Probes = []Probe{
		{From: "docker1", To: "docker2", Echo: true, Marked: true, Gossip: true, Ports: ports},
		{From: "docker2", To: "docker1", Echo: true, Marked: true, Gossip: true, Ports: back},
	}
	f.Nodes[0].Listens, f.Nodes[1].Listens = []uint16{22, 2377, 7946}, []uint16{22, 7946}
}

func rules(f *Facts, node int, lines ...string) {
	all := append([]string{"*filter", ":INPUT ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]"}, lines...)
	f.Nodes[node].Firewall = []RuleSet{{By: "iptables", Lines: all}}
}

func TestPorts(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Facts)
		want   string // severity, id, nodes; one finding
		lines  []string
	}{
		{"all open", func(*Facts) {}, "", nil},
		{"a rule, and the probe proves it", func(f *Facts) {
			f.Probes[0].Ports["4789/udp"] = Lost
			rules(f, 1, "[12:720] -A INPUT -s 192.168.33.11/32 -p udp -m udp --dport 4789 -j DROP")
		}, "error port-blocked docker2,docker1", []string{
			"symptom   containers on docker1 and docker2 do not reach each other, though their names resolve",
			"cause     the firewall of docker2 stops what comes in by 4789/udp (docker1 to docker2)",
			"evidence  docker2: iptables, chain filter INPUT: -s 192.168.33.11/32 -p udp -m udp --dport 4789 -j DROP (12 packets so far)",
			"docker2: what docker1 (192.168.33.11) sends to 4789/udp does not arrive",
			"remedy    labctl exec docker2 -- sudo iptables -D INPUT -s 192.168.33.11/32 -p udp -m udp --dport 4789 -j DROP"}},
		{"a rule that stops nothing", func(f *Facts) {
			rules(f, 1, "[0:0] -A INPUT -s 192.168.33.11/32 -p udp -m udp --dport 4789 -j DROP")
		}, "", nil},
		{"a rule at the sender", func(f *Facts) {
			f.Probes[1].Ports["2377/tcp"] = Unanswered
			rules(f, 1, "[3:180] -A OUTPUT -p tcp -m tcp --dport 2377 -j DROP")
		}, "error port-blocked docker2,docker1", []string{
			"symptom   docker2 cannot join the swarm, or the node list says Down",
			"cause     the firewall of docker2 stops what goes out by 2377/tcp (docker2 to docker1)",
			"docker2: 2377/tcp of docker1 (192.168.33.11) does not answer",
			"remedy    labctl exec docker2 -- sudo iptables -D OUTPUT -p tcp -m tcp --dport 2377 -j DROP"}},
		{"a rule for the way back", func(f *Facts) {
			f.Probes[1].Ports["2377/tcp"] = Unanswered
			rules(f, 1, "[3:180] -A INPUT -p tcp -m tcp --sport 2377 -j DROP")
		}, "error port-blocked docker2,docker1", []string{
			"cause     the firewall of docker2 stops what comes in by 2377/tcp (docker2 to docker1)"}},
		{"one finding for each firewall", func(f *Facts) {
			f.Probes[0].Ports["7946/tcp"], f.Probes[0].Ports["7946/udp"], f.Probes[0].Gossip = Unanswered, Lost, false
			f.Probes[1].Ports["7946/tcp"] = Unanswered
			rules(f, 1, "[1:60] -A INPUT -p tcp -m tcp --dport 7946 -j DROP", "[2:60] -A INPUT -p udp -m udp --dport 7946 -j DROP",
				"[1:60] -A OUTPUT -p tcp -m tcp --sport 7946 -j DROP")
			rules(f, 0, "[1:60] -A INPUT -p tcp -m tcp --dport 7946 -j REJECT")
		}, "error port-blocked docker2,docker1; error port-blocked docker1,docker2", []string{
			"symptom   names, addresses and peers of containers are missing or old between docker1 and docker2",
			"cause     the firewall of docker2 stops what comes in by 7946/tcp (docker1 to docker2) and 7946/udp (docker1 to docker2)",
			"evidence  docker2: iptables, chain filter INPUT: -p tcp -m tcp --dport 7946 -j DROP (1 packet so far)",
			"cause     the firewall of docker1 stops what comes in by 7946/tcp (docker2 to docker1)",
			"labctl exec docker2 -- sudo iptables -D INPUT -p udp -m udp --dport 7946 -j DROP"}},
		{"refused by a firewall", func(f *Facts) { f.Probes[1].Ports["2377/tcp"] = Refused },
			"error port-blocked docker2,docker1", []string{
				"cause     2377/tcp (docker2 to docker1): nothing gets through, and no rule of the nodes' own firewalls explains it: look at what lies between them, or at a rule that labctl cannot read",
				"evidence  docker2: 2377/tcp of docker1 (192.168.33.11) refuses, though a program listens there",
				"remedy    labctl exec docker2 -- sudo iptables -S"}},
		{"refused since nobody listens", func(f *Facts) {
			f.Probes[1].Ports["2377/tcp"] = Refused
			f.Nodes[0].Listens = nil
		}, "", nil},
		{"refused by a router", func(f *Facts) { f.Probes[0].Ports["7946/tcp"] = "no route to host" },
			"error port-blocked docker1,docker2", []string{"evidence  docker1: 7946/tcp of docker2 (192.168.33.12) cannot be reached: no route to host"}},
		{"wrong checksums are stopped, all else is open", func(f *Facts) {
			f.Probes[0].Ports["7946/udp"], f.Probes[0].Marked, f.Probes[0].Gossip = Lost, false, false
		}, "", nil},
		{"the engines talk, so 7946/udp is open", func(f *Facts) { f.Probes[0].Ports["7946/udp"] = Lost }, "", nil},
		{"7946/udp is closed", func(f *Facts) { f.Probes[0].Ports["7946/udp"], f.Probes[0].Gossip = Lost, false },
			"error port-blocked docker1,docker2", []string{"evidence  docker2: what docker1 (192.168.33.11) sends to 7946/udp does not arrive"}},
		{"nothing passes at all", func(f *Facts) {
			for i := range f.Probes {
				f.Probes[i].Echo, f.Probes[i].Marked, f.Probes[i].Gossip = false, false, false
				for port := range f.Probes[i].Ports {
					f.Probes[i].Ports[port] = Lost
					if strings.HasSuffix(port, "/tcp") {
						f.Probes[i].Ports[port] = Unanswered
					}
				}
			}
		}, "error port-blocked docker1,docker2", []string{
			"cause     2377/tcp (docker2 to docker1), 4789/udp (docker1 to docker2, docker2 to docker1), 7946/tcp (docker1 to docker2, docker2 to docker1) and 7946/udp (docker1 to docker2, docker2 to docker1): nothing gets through, and no rule of the nodes' own firewalls explains it: look at what lies between them, or at a rule that labctl cannot read"}},
		{"not tried, but a rule is there", func(f *Facts) {
			f.Probes, f.Nodes[1].ProbeError = nil, "sudo perl: exit code 127: perl: not found"
			rules(f, 1, "[0:0] -A INPUT -p udp -m udp --dport 4789 -j DROP")
		}, "error port-blocked docker2,docker1", []string{
			"docker1: 4789/udp of docker2 (192.168.33.12) was not tried"}},
		{"not tried, and a rule that may be about it", func(f *Facts) {
			f.Probes = nil
			rules(f, 1, "[0:0] -A INPUT -m limit --limit 3/min -j DROP")
		}, "", nil},
		{"Down, since it does not reach the manager", func(f *Facts) {
			f.Swarm.Members[1].State = "down"
			f.Probes[1].Ports["2377/tcp"] = Unanswered
		}, "error port-blocked docker2,docker1", nil},
		{"Down, and only the overlays' port is closed", func(f *Facts) {
			f.Swarm.Members[1].State = "down"
			f.Probes[0].Ports["4789/udp"] = Lost
		}, "error port-blocked docker1,docker2; error node-down docker2", nil},
		{"no leader, since the managers do not reach each other", func(f *Facts) {
			f.Nodes[1].Role, f.Nodes[1].Member.Manager = config.Manager, true
			f.Probes[0].Ports["2377/tcp"] = Unanswered
			f.Swarm = &Swarm{By: "docker1", Error: "The swarm does not have a leader."}
		}, "error port-blocked docker1,docker2", nil},
		{"a peer is missing, since 7946 is closed", func(f *Facts) {
			wire(f, 1, "mynet01").Peers = []netip.Addr{netip.MustParseAddr("192.168.33.12")}
			f.Probes[0].Ports["7946/udp"], f.Probes[0].Gossip = Lost, false
		}, "error port-blocked docker1,docker2", nil},
		{"of a node that cannot be reached nothing is said", func(f *Facts) {
			f.Nodes[1] = Node{Name: "docker2", IP: f.Nodes[1].IP, Unreachable: "off", Firewall: f.Nodes[1].Firewall}
			f.Probes[0].Ports["4789/udp"] = Lost
		}, "error node-unreachable docker2", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := recorded(t, "healthy-service")
			probed(&f)
			tt.change(&f)
			found := Judge(f)
			var got []string
			for _, x := range found {
				got = append(got, strings.Join([]string{string(x.Severity), x.ID, list(x.Nodes)}, " "))
			}
			out := text(t, f, found)
			if diff := cmp.Diff(tt.want, strings.Join(got, "; ")); diff != "" {
				t.Errorf("findings (-want +got):\n%s\n%s", diff, out)
			}
			for _, line := range tt.lines {
				if !strings.Contains(out, "  "+line+"\n") {
					t.Errorf("no line %q in\n%s", line, out)
				}
			}
		})
	}
}

// What could not be tried is said, and is no finding.
func TestNotTried(t *testing.T) {
	f := recorded(t, "healthy-service")
	f.Nodes[0].ProbeError, f.Nodes[1].FirewallError = "sudo perl: exit code 127:\nperl: not found", "docker2: sudo: exit code 1"
	want := `not tried: ports from and to docker1: sudo perl: exit code 127: perl: not found
not read: the firewall of docker2: docker2: sudo: exit code 1
nothing wrong was found: 2 nodes, 2 overlay networks, 1 service
`
	if diff := cmp.Diff(want, text(t, f, Judge(f))); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
}
