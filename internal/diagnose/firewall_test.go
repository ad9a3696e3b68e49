package diagnose

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/config"
)

func readRules(t *testing.T, name string) []RuleSet {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata/firewall", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	rules, err := readFirewall(string(data))
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

func labNode(name, ip string, role config.Role) Node {
	a := netip.MustParseAddr(ip)
	return Node{Name: name, Role: role, IP: a, Addrs: []Addr{{Dev: "eth1", Prefix: netip.PrefixFrom(a, 24)}}}
}

// What firewalls do with the first packet between two nodes, and with an
// answer: the rule that is blamed, and what to type. docker2 has the firewall.
func TestFirewall(t *testing.T) {
	tests := []struct {
		rules string
		way   string // "FROM TO PORT", or with "back" for the answer
		want  string // "" if it is not stopped for sure
	}{
		{"iptables", "docker1 docker2 4789/udp", `docker2: iptables, chain filter INPUT: -s 192.168.33.11/32 -p udp -m udp --dport 4789 -m comment --comment "it\'s \"no\" good" -j DROP (9 packets so far)
labctl exec docker2 -- sudo iptables -D INPUT -s 192.168.33.11/32 -p udp -m udp --dport 4789 -m comment --comment "it\'s \"no\" good" -j DROP`},
		{"iptables", "docker1 docker2 2377/tcp", `docker2: iptables, chain raw PREROUTING: ! -s 10.0.0.0/8 -i eth1 -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -m multiport --dports 2377,8000:8100 -j DROP (3 packets so far)
labctl exec docker2 -- sudo iptables -t raw -D PREROUTING ! -s 10.0.0.0/8 -i eth1 -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -m multiport --dports 2377,8000:8100 -j DROP`},
		{"iptables", "docker1 docker2 7946/udp", ""}, // u32: who knows
		{"iptables", "docker1 docker2 7946/tcp", ""},
		{"iptables", "docker1 docker2 7946/tcp back", `docker2: iptables, chain filter OUTPUT: -p tcp -m tcp --sport 7946 -j DROP (5 packets so far)
labctl exec docker2 -- sudo iptables -D OUTPUT -p tcp -m tcp --sport 7946 -j DROP`},
		{"iptables", "docker3 docker2 4789/udp", ""}, // returned, whatever the log's limit says
		{"iptables", "docker3 docker2 7946/udp", ""}, // a friend, perhaps
		{"iptables", "docker3 docker2 7946/tcp", `docker2: iptables, chain filter INPUT: -s 192.168.33.13/32 -j GUARD (0 packets so far)
labctl exec docker2 -- sudo iptables -D INPUT -s 192.168.33.13/32 -j GUARD`},
		{"iptables", "docker2 docker1 7946/udp", ""}, // to docker2 only
		{"iptables", "docker2 docker1 7946/tcp", `docker2: iptables, chain filter OUTPUT: no rule lets it through, and what is left is stopped
labctl exec docker2 -- sudo iptables -I OUTPUT -d 192.168.33.0/24 -p tcp --dport 7946 -j ACCEPT`},
		{"iptables", "docker1 docker2 22/tcp back", ""}, // established
		{"iptables", "docker2 docker2 7946/udp", `docker2: iptables-legacy, chain mangle POSTROUTING: -d 192.168.33.12/32 -p udp -m udp --dport 7946 -j DROP (2 packets so far)
labctl exec docker2 -- sudo iptables-legacy -t mangle -D POSTROUTING -d 192.168.33.12/32 -p udp -m udp --dport 7946 -j DROP`},
		{"nft", "docker1 docker2 4789/udp", `docker2: nft, chain inet fw other: udp dport 4789 reject (0 packets so far)
labctl exec docker2 -- sudo nft delete rule inet fw other handle 22`},
		{"nft", "docker1 docker2 7946/udp", `docker2: nft, chain inet fw fresh: udp dport 7946 drop (0 packets so far)
labctl exec docker2 -- sudo nft delete rule inet fw fresh handle 19`},
		{"nft", "docker1 docker2 5001/udp", ""},
		{"nft", "docker1 docker2 7946/tcp", ""},
		{"nft", "docker1 docker2 2377/tcp", ""},
		{"nft", "docker1 docker2 8080/tcp", `docker2: nft, chain inet fw input: no rule lets it through, and what is left is stopped
labctl exec docker2 -- sudo nft insert rule inet fw input ip saddr 192.168.33.0/24 tcp dport 8080 accept`},
		{"nft", "docker1 docker2 9/tcp", `docker2: nft, chain inet fw input: l4proto { tcp, udp } th dport 9 reject (0 packets so far)
labctl exec docker2 -- sudo nft delete rule inet fw input handle 17`},
		{"nft", "docker2 docker1 8080/tcp back", ""},
		{"nft", "docker2 docker1 4789/udp", ""},
		{"ufw", "docker1 docker2 22/tcp", ""},
		{"ufw", "docker1 docker2 2377/tcp", ""}, // limited: who knows
		{"ufw", "docker1 docker2 4789/udp", `docker2: iptables, chain filter ufw-user-input: -p udp -m udp --dport 4789 -j DROP (0 packets so far)
labctl exec docker2 -- sudo ufw prepend allow from 192.168.33.0/24`},
		{"ufw", "docker1 docker2 7946/udp", `docker2: iptables, chain filter INPUT: no rule lets it through, and what is left is stopped
labctl exec docker2 -- sudo ufw prepend allow from 192.168.33.0/24`},
	}
	for _, tt := range tests {
		t.Run(tt.rules+" "+tt.way, func(t *testing.T) {
			j := &judge{Facts: Facts{Subnet: netip.MustParsePrefix("192.168.33.0/24"), Nodes: []Node{
				labNode("docker1", "192.168.33.11", config.Manager), labNode("docker2", "192.168.33.12", config.Manager), labNode("docker3", "192.168.33.13", config.Worker)}}}
			j.Nodes[1].Firewall = readRules(t, tt.rules)
			f := strings.Fields(tt.way)
			byName := func(name string) Node { return j.Nodes[int(name[6]-'1')] }
			b := blocked{from: byName(f[0]), to: byName(f[1])}
			b.proto = f[2][strings.Index(f[2], "/")+1:]
			b.port = portOf(f[2])
			got := ""
			if b.by = b.stopper(j.tables(), len(f) > 3); b.by != nil {
				got = b.by.evidence() + "\n" + strings.Join(j.letThrough(b), "\n")
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("culprit (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadFirewall(t *testing.T) {
	rules, err := readFirewall("== iptables\n*nat\n:INPUT ACCEPT [0:0]\n[0:0] -A INPUT -j DROP\nCOMMIT\n*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n" +
		`== nft` + "\n" + `{"nftables":[{"metainfo":{}},{"table":{"family":"ip","name":"filter"}},{"rule":{"family":"ip","table":"filter","chain":"INPUT","expr":[]}},{"table":{"family":"ip6","name":"x"}},{"table":{"family":"inet","name":"mine"}}]}`)
	if err != nil {
		t.Fatal(err)
	}
	want := []RuleSet{{By: "iptables", Lines: []string{"*nat", ":INPUT ACCEPT [0:0]", "[0:0] -A INPUT -j DROP", "*filter", ":INPUT ACCEPT [0:0]"}}, {By: "nft", Lines: []string{`{"table":{"family":"inet","name":"mine"}}`}}}
	if diff := cmp.Diff(want, rules); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	for text, want := range map[string]string{
		"sudo: no":                              `the firewall's answer cannot be read: "sudo: no"`,
		"== nft\n{":                             "nft: unexpected end of JSON input",
		"== nft\n{\"nftables\":[{\"rule\":1}]}": "nft: json: cannot unmarshal number into Go struct field nftObject.rule of type diagnose.nftPlace",
		"":                                      "",
		"== iptables\n== nft\n":                 "",
	} {
		got := ""
		if _, err := readFirewall(text); err != nil {
			got = err.Error()
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

// FuzzFirewall: whatever the programs print, reading it ends, and what is
// blamed can be shown.
func FuzzFirewall(f *testing.F) {
	for _, name := range []string{"iptables", "nft", "ufw"} {
		data, err := os.ReadFile(filepath.Join("testdata/firewall", name+".txt"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Add("== iptables\n*filter\n:INPUT DROP [0:0]\n:A - [0:0]\n-A INPUT -j A\n-A A -g A\n-A A -j A ! -p")
	f.Fuzz(func(t *testing.T, text string) {
		rules, err := readFirewall(text)
		if err != nil {
			return
		}
		facts := Facts{Subnet: netip.MustParsePrefix("192.168.33.0/24"), DataPath: 4789,
			Nodes: []Node{labNode("docker1", "192.168.33.11", config.Manager), labNode("docker2", "192.168.33.12", config.Worker)}}
		facts.Nodes[1].Firewall = rules
		for _, x := range Judge(facts) {
			if x.ID == PortBlocked && (x.Remedy == "" || x.Nodes[0] != "docker2") {
				t.Errorf("finding %+v", x)
			}
		}
	})
}

// Rules that jump in circles, which no kernel takes, are given up.
func TestFirewallInCircles(t *testing.T) {
	tables := readIptables(RuleSet{By: "iptables", Lines: []string{"*filter", ":INPUT DROP [0:0]", ":A - [0:0]",
		"-A INPUT -j A", "-A A -j A", "-A A -j A", "-A A -j A"}})
	begin := time.Now()
	if c, ok := tables[0].stops(packet{proto: "udp", dport: 4789, incoming: true}); ok {
		t.Errorf("it is sure of %s", c.evidence())
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}
