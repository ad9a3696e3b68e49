package config

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHypervisors(t *testing.T) {
	lab := mustParse(t, `
provider = "libvirt"
[libvirt]
bridge = "br-lab"
[[nodes]]
[[nodes]]
uri = "qemu+ssh://class@two.example/system"
[[nodes]]
uri = "qemu+ssh://class@two.example:2222/system?keyfile=/home/me/.ssh/class"
bridge = "br7"
subnet = "192.168.34.0/24"
[[nodes]]
bridge = "br7"
subnet = "192.168.34.0/24"
`)
	own := netip.MustParsePrefix("192.168.34.0/24")
	want := []Place{
		{Bridge: "br-lab"},
		{URI: "qemu+ssh://class@two.example/system", Bridge: "br-lab"},
		{URI: "qemu+ssh://class@two.example:2222/system?keyfile=/home/me/.ssh/class", Bridge: "br7", Subnet: own},
		{Bridge: "br7", Subnet: own},
	}
	var got []Place
	var ips []string
	for _, n := range lab.Nodes {
		got, ips = append(got, n.Place), append(ips, n.IP.String())
	}
	if d := cmp.Diff(want, got, cmpNet); d != "" {
		t.Error(d)
	}
	// Each subnet is counted up for itself.
	if d := cmp.Diff([]string{"192.168.33.11", "192.168.33.12", "192.168.34.11", "192.168.34.12"}, ips); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{LocalHypervisor, want[1].URI, want[2].URI}, lab.Hypervisors()); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]netip.Prefix{lab.Subnet, own}, lab.Subnets(), cmpNet); d != "" {
		t.Error(d)
	}
}

// One hypervisor for all needs no bridge.
func TestOneRemoteHypervisor(t *testing.T) {
	lab := mustParse(t, "provider = \"libvirt\"\n[libvirt]\nuri = \"qemu+ssh://two.example/system\"\n")
	if got := lab.Hypervisors(); len(got) != 1 || got[0] != "qemu+ssh://two.example/system" || lab.Nodes[0].Local() {
		t.Errorf("hypervisors %q", got)
	}
	if got := Default().Hypervisors(); len(got) != 1 || got[0] != LocalHypervisor || !Default().Nodes[0].Local() {
		t.Errorf("of the default lab %q", got)
	}
}

// A table for another provider may stay in the file, and does nothing.
func TestLibvirtForAnotherProvider(t *testing.T) {
	lab, warnings, err := Parse("lab.toml", []byte("[libvirt]\nuri = \"qemu+ssh://two.example/system\"\nbridge = \"br0\"\n"))
	if err != nil || len(warnings) != 2 || warnings[1].String() != "lab.toml:3: libvirt.bridge: has no effect with the provider auto" {
		t.Errorf("%v, %v", warnings, err)
	}
	if d := cmp.Diff(Default(), lab, cmpNet); d != "" {
		t.Error(d)
	}
}

func TestHypervisorProblems(t *testing.T) {
	const head = "provider = \"libvirt\"\n[[nodes]]\n[[nodes]]\n"
	const hint = "; write it like qemu+ssh://user@host.example/system, or qemu:///system"
	tests := []struct{ name, src, want string }{
		{"no provider", "[[nodes]]\nuri = \"qemu:///system\"\nsubnet = \"192.168.40.0/24\"\n",
			"lab.toml:2: nodes[0].uri: has no meaning with the provider auto; it belongs to provider = \"libvirt\"\n" +
				"lab.toml:3: nodes[0].subnet: has no meaning with the provider auto; it belongs to provider = \"libvirt\"; the lab's own subnet stands above the first [table] of the file"},
		{"no bridge between two", head + "uri = \"qemu+ssh://two.example/system\"\n",
			"lab.toml:2: nodes[0]: docker1 lies on qemu:///system and others on another hypervisor, but the network that labctl makes ends at each of them; set bridge to one that is there on its hypervisor and leads to the others, here or under [libvirt]\n" +
				"lab.toml:3: nodes[1]: docker2 lies on qemu+ssh://two.example/system and others on another hypervisor, but the network that labctl makes ends at each of them; set bridge to one that is there on its hypervisor and leads to the others, here or under [libvirt]"},
		{"a bridge for one of two", head + "uri = \"qemu+ssh://two.example/system\"\nbridge = \"br0\"\n",
			"lab.toml:2: nodes[0]: docker1 lies on qemu:///system and others on another hypervisor, but the network that labctl makes ends at each of them; set bridge to one that is there on its hypervisor and leads to the others, here or under [libvirt]"},
		{"a subnet without a way out", head + "subnet = \"192.168.34.0/24\"\n",
			"lab.toml:4: nodes[1].subnet: docker2 has a subnet of its own, but the network that labctl makes has no way out; set bridge to one that leads to the router between the subnets"},
		{"subnets that overlap", head + "bridge = \"br0\"\nsubnet = \"192.168.32.0/22\"\n",
			"lab.toml:5: nodes[1].subnet: 192.168.32.0/22 overlaps 192.168.33.0/24, in which other nodes are; take the same one, or one beside it"},
		{"a subnet of Docker", head + "bridge = \"br0\"\nsubnet = \"172.17.3.0/24\"\n",
			"lab.toml:5: nodes[1].subnet: 172.17.3.0/24 overlaps 172.17.0.0/16, Docker's bridge docker0; choose another one, as 192.168.33.0/24"},
		{"a subnet that is none", head + "bridge = \"br0\"\nsubnet = \"192.168.34.1/24\"\n",
			"lab.toml:5: nodes[1].subnet: 192.168.34.1/24 is an address inside a network; write 192.168.34.0/24"},
		{"an address outside its own subnet", head + "bridge = \"br0\"\nip = \"192.168.33.9\"\nsubnet = \"192.168.34.0/24\"\n",
			"lab.toml:5: nodes[1].ip: 192.168.33.9 is outside the subnet 192.168.34.0/24; choose an address between .2 and .254"},
		{"a pool over a subnet", "provider = \"libvirt\"\n[libvirt]\nbridge = \"br0\"\n[[nodes]]\n[[nodes]]\nsubnet = \"10.20.3.0/24\"\n[swarm]\ndefault-address-pool = [\"10.20.0.0/16\"]\n",
			"lab.toml:8: swarm.default-address-pool[0]: 10.20.0.0/16 holds the address of a node: containers could not reach it; choose another one, as 10.20.0.0/16"},
		{"a bridge with a blank", head + "bridge = \"my bridge\"\n",
			"lab.toml:4: nodes[1].bridge: \"my bridge\" is no name of a bridge; write it like br0"},
		{"an empty bridge", head + "bridge = \"\"\n",
			"lab.toml:4: nodes[1].bridge: \"\" is no name of a bridge; write it like br0"},
		{"another kind", head + "uri = \"vbox:///session\"\n", "lab.toml:4: nodes[1].uri: \"vbox\" is no kind of hypervisor that labctl can reach" + hint},
		{"no system", head + "uri = \"qemu:///session\"\n", "lab.toml:4: nodes[1].uri: names no system libvirt: its path is not /system" + hint},
		{"a host without a way", head + "uri = \"qemu://two.example/system\"\n", "lab.toml:4: nodes[1].uri: names a host, but not how to reach it" + hint},
		{"no host", head + "uri = \"qemu+ssh:///system\"\n", "lab.toml:4: nodes[1].uri: names no host" + hint},
		{"an option for a host", head + "uri = \"qemu+ssh://-oProxyCommand=x/system\"\n", "lab.toml:4: nodes[1].uri: names no host" + hint},
		{"a password", head + "uri = \"qemu+ssh://me:secret@two.example/system\"\n",
			"lab.toml:4: nodes[1].uri: holds a password, which libvirt does not take; give the user a key there: `ssh-copy-id`"},
		{"a quote", head + "uri = \"qemu+ssh://two.example/system?keyfile=/home/o'neill/key\"\n",
			"lab.toml:4: nodes[1].uri: cannot be read as the URI of a hypervisor" + hint},
		{"empty", head + "uri = \"\"\n", "lab.toml:4: nodes[1].uri: \"\" is no kind of hypervisor that labctl can reach" + hint},
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
}
