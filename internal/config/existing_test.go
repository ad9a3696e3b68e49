package config

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExisting(t *testing.T) {
	lab, warnings, err := Parse("lab.toml", []byte(`
provider = "existing"
[ssh]
user = "debian"
key = "~/.ssh/class"
known-hosts = "known_hosts"
[[nodes]]
address = "203.0.113.5"
[[nodes]]
name = "pc17"
address = "pc17.example"
ip = "203.0.114.6"
port = 2222
user = "admin"
jump = "bastion.example"
`))
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	if d := cmp.Diff(SSH{KnownHosts: "known_hosts", Login: Login{User: "debian", Key: "~/.ssh/class"}}, lab.SSH); d != "" {
		t.Error(d)
	}
	want := []Node{
		{Name: "docker1", Role: Manager, IP: netip.MustParseAddr("203.0.113.5"), Address: "203.0.113.5",
			Login: Login{User: "debian", Key: "~/.ssh/class"}},
		{Name: "pc17", Role: Worker, IP: netip.MustParseAddr("203.0.114.6"), Address: "pc17.example",
			Login: Login{User: "admin", Port: 2222, Key: "~/.ssh/class", Jump: "bastion.example"}},
	}
	if d := cmp.Diff(want, lab.Nodes, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if lab.Subnet.String() != "203.0.112.0/22" {
		t.Errorf("the subnet that holds both is %v", lab.Subnet)
	}
}

func TestExistingProblems(t *testing.T) {
	const two = "provider = \"existing\"\n[[nodes]]\naddress = \"203.0.113.5\"\n[[nodes]]\n"
	tests := []struct{ name, src, want string }{
		{"counted", "provider = \"existing\"\nworkers = 3\n",
			"lab.toml:2: workers: machines that are there already cannot be counted up; list them under [[nodes]], each with its address"},
		{"no nodes", "provider = \"existing\"\n",
			"lab.toml:1: provider: machines that are there already cannot be counted up; list them under [[nodes]], each with its address"},
		{"no address", two + "name = \"pc17\"\n",
			"lab.toml:4: nodes[1]: pc17 has no address; set address to what `ssh` would be given"},
		{"a name alone", two + "address = \"pc17.example\"\n",
			"lab.toml:5: nodes[1].address: \"pc17.example\" is a name: at which address the other nodes reach this one is not known; set ip as well"},
		{"the same address", two + "address = \"203.0.113.5\"\n",
			"lab.toml:5: nodes[1].address: 203.0.113.5 is already the address of nodes[0]; give each node its own ip"},
		{"loopback", two + "address = \"127.0.0.1\"\n",
			"lab.toml:5: nodes[1].address: 127.0.0.1 is no address at which other machines reach this one; set ip to the one at which the other nodes reach it"},
		{"a bridge of Docker", two + "address = \"172.17.0.9\"\n",
			"lab.toml:5: nodes[1].address: 172.17.0.9 lies in 172.17.0.0/16, Docker's bridge docker0: Docker on the other nodes would look for it there"},
		{"where overlays are cut from", two + "address = \"10.9.8.7\"\n",
			`lab.toml:5: nodes[1].address: 10.9.8.7 lies in 10.0.0.0/8, from which Docker takes the ingress and overlay networks; set swarm.default-address-pool to a network that is free there, as in ["172.20.0.0/16"]`},
		{"with a pool of its own", two + "address = \"10.9.8.7\"\n[swarm]\ndefault-address-pool = [\"172.20.0.0/16\"]\n", ""},
		{"outside the subnet", "subnet = \"203.0.113.0/24\"\n" + two + "address = \"203.0.114.5\"\n",
			"lab.toml:6: nodes[1].address: 203.0.114.5 is outside the subnet 203.0.113.0/24; correct one of the two, or leave subnet out"},
		{"an option for a name", two + "address = \"-oProxyCommand=x\"\nip = \"203.0.113.6\"\n",
			"lab.toml:5: nodes[1].address: \"-oProxyCommand=x\" is no host name or address; write it like 203.0.113.5 or pc17.example"},
		{"an option for a user", two + "address = \"203.0.113.6\"\nuser = \"-l\"\njump = \"-x\"\nport = 70000\n",
			"lab.toml:6: nodes[1].user: \"-l\" cannot be read; write it like debian\n" +
				"lab.toml:7: nodes[1].jump: \"-x\" cannot be read; write it like user@bastion.example:22\n" +
				"lab.toml:8: nodes[1].port: 70000 is not between 1 and 65535"},
		{"of another provider", "[ssh]\nuser = \"debian\"\n[[nodes]]\naddress = \"203.0.113.6\"\n",
			"lab.toml:4: nodes[0].address: has no meaning with the provider auto; it belongs to provider = \"existing\"; a VM's address is its ip"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := Parse("lab.toml", []byte(tt.src))
			got := ""
			if err != nil {
				got = err.Error()
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
	_, warnings, err := Parse("lab.toml", []byte("memory = 2048\n"+two+"address = \"203.0.113.6\"\ncpus = 2\n"))
	var got []string
	for _, w := range warnings {
		got = append(got, w.String())
	}
	want := "lab.toml:1: memory: has no effect with the provider existing\nlab.toml:7: nodes[1].cpus: has no effect with the provider existing"
	if d := cmp.Diff(want, strings.Join(got, "\n")); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
}
