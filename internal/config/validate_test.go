package config

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// problemTests hold one mistake each; want is the whole answer.
var problemTests = []struct{ name, src, want string }{
	{"syntax error", "name = \"lab\"\nsubnet = \n",
		"lab.toml:2: not TOML: expected value but found '\\n' instead"},
	{"syntax: key twice", "name = \"a\"\nname = \"b\"\n",
		"lab.toml:2: not TOML: Key 'name' has already been defined."},
	{"syntax: table twice", "[box]\n[docker]\n[box]\n",
		"lab.toml:3: not TOML: Key 'box' has already been defined."},
	{"syntax: NUL", "name = \"a\x00\"\n",
		"lab.toml:1: not TOML: TOML files cannot contain control characters: '0x00'"},
	{"syntax: an unclosed string", "\n\nname = \"lab\n",
		"lab.toml:3: not TOML: strings cannot contain newlines"},
	{"unknown key", "\nsubnets = \"192.168.33.0/24\"\n",
		`lab.toml:2: subnets: unknown key; did you mean "subnet"?`},
	{"unknown key, nothing near", "colour = \"red\"\n",
		"lab.toml:1: colour: unknown key; known here: name, provider, acceleration, subnet, artifacts, workers, managers, cpus, memory, box, ssh, libvirt, nodes, docker, swarm, scenario"},
	{"unknown key in a node", "[[nodes]]\n[[nodes]]\nipaddress = \"192.168.33.12\"\nmem = 1024\n",
		"lab.toml:3: nodes[1].ipaddress: unknown key; did you mean \"ip\"?\n" +
			`lab.toml:4: nodes[1].mem: unknown key; did you mean "memory"?`},
	{"unknown key in underscores", "[swarm]\ndata_path_port = 4789\n",
		`lab.toml:2: swarm.data_path_port: unknown key; did you mean "data-path-port"?`},
	{"unknown key that needs quotes", "\"a b\" = 1\n",
		`lab.toml:1: "a b": unknown key; known here: name, provider, acceleration, subnet, artifacts, workers, managers, cpus, memory, box, ssh, libvirt, nodes, docker, swarm, scenario`},
	{"unknown key in capitals", "Name = \"x\"\n",
		`lab.toml:1: Name: unknown key; did you mean "name"?`},
	{"unknown table", "[dockr]\nsource = \"apt\"\n",
		`lab.toml:1: dockr: unknown key; did you mean "docker"?`},
	{"top-level key under a table", "[docker]\nworkers = 3\n",
		"lab.toml:2: docker.workers: unknown key; workers belongs above the first [table] of the file"},
	{"text for a number", "cpus = \"2\"\n",
		"lab.toml:1: cpus: must be a whole number, not text; write it without quotes"},
	{"fraction for a number", "cpus = 1.5\n",
		"lab.toml:1: cpus: must be a whole number, not a fraction"},
	{"number for text", "name = 7\n",
		"lab.toml:1: name: must be text, not a whole number; put it in quotes"},
	{"date for text", "name = 2020-01-01\n",
		"lab.toml:1: name: must be text, not a date or time; put it in quotes"},
	{"boolean for text", "[docker]\nversion = true\n",
		"lab.toml:2: docker.version: must be text, not true or false; put it in quotes"},
	{"text for a list", "[swarm]\ndefault-address-pool = \"10.20.0.0/16\"\n",
		`lab.toml:2: swarm.default-address-pool: must be a list of texts, not text; write it as ["…"]`},
	{"number in a list", "[swarm]\ndefault-address-pool = [\n  \"10.20.0.0/16\",\n  7,\n]\n",
		"lab.toml:4: swarm.default-address-pool[1]: must be text, not a whole number; put it in quotes"},
	{"text for a table", "docker = \"apt\"\n",
		"lab.toml:1: docker: must be a table, not text; write it as [docker]"},
	{"table for a list of tables", "[nodes]\nname = \"docker1\"\n",
		"lab.toml:1: nodes: must be a list of tables, not a table; write each one under [[nodes]]"},
	{"text in a list of tables", "nodes = [{ name = \"m1\" },\n  \"docker2\"]\n",
		"lab.toml:2: nodes[1]: must be a table, not text"},
	{"list for scenario parameters", "[scenario.lb]\nports = [80]\n",
		"lab.toml:2: scenario.lb.ports: must be text, a whole number, true or false, not a list"},
	{"scenario is no table", "[scenario]\nlb = 4\n",
		"lab.toml:2: scenario.lb: must be a table, not a whole number; write it as [scenario.lb]"},
	{"scenario name", "[scenario.\"l b\"]\nx = 1\n",
		`lab.toml:1: scenario."l b": "l b" cannot be the name of a scenario; write it like lb`},
	{"scenario parameter name", "[scenario.lb]\nReplicas = 1\n",
		`lab.toml:2: scenario.lb.Replicas: "Replicas" cannot be the name of a parameter; use a-z, 0-9 and _`},
	{"scenario parameter with NUL", "[scenario.lb]\nx = \"\\u0000\"\n",
		"lab.toml:2: scenario.lb.x: holds a NUL character, which no environment variable can"},
	{"unknown provider", "provider = \"virtualbx\"\n",
		`lab.toml:1: provider: unknown provider "virtualbx"; did you mean "virtualbox"?`},
	{"unknown provider in capitals", "provider = \"VirtualBox\"\n",
		`lab.toml:1: provider: unknown provider "VirtualBox"; did you mean "virtualbox"?`},
	{"unknown provider, nothing near", "provider = \"vmware\"\n",
		`lab.toml:1: provider: unknown provider "vmware"; choose one of auto, virtualbox, libvirt, embedded or existing`},
	{"unknown acceleration", "acceleration = \"kvn\"\n",
		`lab.toml:1: acceleration: unknown acceleration "kvn"; did you mean "kvm"?`},
	{"unknown role", "[[nodes]]\nrole = \"manger\"\n[[nodes]]\n",
		`lab.toml:2: nodes[0].role: unknown role "manger"; did you mean "manager"?`},
	{"unknown source", "[docker]\nsource = \"deb\"\n",
		`lab.toml:2: docker.source: unknown source "deb"; choose one of auto, bundle, apt or upstream`},
	{"lab name empty", "name = \"\"\n",
		"lab.toml:1: name: is empty; use a-z, 0-9 and -"},
	{"lab name too long", "name = \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\n",
		"lab.toml:1: name: is 41 characters long; at most 40 are allowed"},
	{"lab name with a blank", "name = \"my lab\"\n",
		`lab.toml:1: name: "my lab" holds ' ', which no host name may; use a-z, 0-9 and -`},
	{"node name empty", "[[nodes]]\nname = \"\"\n",
		"lab.toml:2: nodes[0].name: is empty; use a-z, 0-9 and -"},
	{"node name too long", "[[nodes]]\nname = \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\n",
		"lab.toml:2: nodes[0].name: is 64 characters long; at most 63 are allowed"},
	{"node name in capitals", "[[nodes]]\nname = \"Docker1\"\n",
		`lab.toml:2: nodes[0].name: "Docker1" holds capital letters; write "docker1"`},
	{"node name with a dash at its end", "[[nodes]]\nname = \"docker-\"\n",
		`lab.toml:2: nodes[0].name: "docker-" begins or ends with "-"; begin and end it with a letter or digit`},
	{"node name in another script", "[[nodes]]\nname = \"ノード1\"\n",
		`lab.toml:2: nodes[0].name: "ノード1" holds 'ノ', which no host name may; use a-z, 0-9 and -`},
	{"node name localhost", "[[nodes]]\nname = \"localhost\"\n",
		"lab.toml:2: nodes[0].name: localhost is every node's name for itself; choose another name"},
	{"node names twice", "[[nodes]]\nname = \"m1\"\n[[nodes]]\nname = \"m1\"\n",
		`lab.toml:4: nodes[1].name: "m1" is already the name of nodes[0]; give each node its own name`},
	{"addresses twice", "[[nodes]]\nip = \"192.168.33.11\"\n[[nodes]]\nip = \"192.168.33.11\"\n",
		"lab.toml:4: nodes[1].ip: 192.168.33.11 is already the address of nodes[0]; give each node its own address"},
	{"address is none", "[[nodes]]\nip = \"192.168.33.256\"\n",
		`lab.toml:2: nodes[0].ip: "192.168.33.256" is no IPv4 address; write it like 192.168.33.11`},
	{"address of IPv6", "[[nodes]]\nip = \"fd00::1\"\n",
		`lab.toml:2: nodes[0].ip: "fd00::1" is no IPv4 address; write it like 192.168.33.11`},
	{"address .0", "[[nodes]]\nip = \"192.168.33.0\"\n",
		"lab.toml:2: nodes[0].ip: 192.168.33.0 is the address of the subnet 192.168.33.0/24 itself; choose an address between .2 and .254"},
	{"address .1", "[[nodes]]\nip = \"192.168.33.1\"\n",
		"lab.toml:2: nodes[0].ip: 192.168.33.1 is the host's own address in the subnet 192.168.33.0/24; choose an address between .2 and .254"},
	{"address .255", "[[nodes]]\nip = \"192.168.33.255\"\n",
		"lab.toml:2: nodes[0].ip: 192.168.33.255 is the broadcast address of the subnet 192.168.33.0/24; choose an address between .2 and .254"},
	{"address .0.0 of a /16", "subnet = \"192.168.0.0/16\"\n[[nodes]]\nip = \"192.168.255.255\"\n[[nodes]]\nip = \"192.168.33.255\"\n",
		"lab.toml:3: nodes[0].ip: 192.168.255.255 is the broadcast address of the subnet 192.168.0.0/16; choose an address between 192.168.0.2 and 192.168.255.254"},
	{"address outside", "[[nodes]]\nip = \"10.0.2.15\"\n",
		"lab.toml:2: nodes[0].ip: 10.0.2.15 is outside the subnet 192.168.33.0/24; choose an address between .2 and .254"},
	{"address outside a refused subnet", "subnet = \"172.17.1.0/24\"\n[[nodes]]\nip = \"192.168.33.11\"\n",
		"lab.toml:1: subnet: 172.17.1.0/24 overlaps 172.17.0.0/16, Docker's bridge docker0; choose another one, as 192.168.33.0/24"},
	{"subnet is none", "subnet = \"192.168.33.0\"\n[[nodes]]\nip = \"192.168.34.11\"\n",
		`lab.toml:1: subnet: "192.168.33.0" is no IPv4 network; write it like 192.168.33.0/24`},
	{"subnet with host bits", "subnet = \"192.168.33.5/24\"\n",
		"lab.toml:1: subnet: 192.168.33.5/24 is an address inside a network; write 192.168.33.0/24"},
	{"subnet of IPv6", "subnet = \"fd00::/64\"\n",
		`lab.toml:1: subnet: "fd00::/64" is no IPv4 network; write it like 192.168.33.0/24`},
	{"subnet too small for any node", "subnet = \"192.168.33.0/30\"\n[[nodes]]\nip = \"192.168.33.2\"\n",
		"lab.toml:1: subnet: 192.168.33.0/30 is too small for a lab; take a /24"},
	{"subnet too small", "subnet = \"192.168.33.0/30\"\n",
		"lab.toml:1: subnet: 192.168.33.0/30 is too small for 2 nodes; choose a larger one"},
	{"addresses twice, one outside, in an unreadable subnet", "subnet = \"192.168\"\n[[nodes]]\nip = \"10.1.1.1\"\n[[nodes]]\nip = \"10.1.1.1\"\n",
		"lab.toml:1: subnet: \"192.168\" is no IPv4 network; write it like 192.168.33.0/24\n" +
			"lab.toml:5: nodes[1].ip: 10.1.1.1 is already the address of nodes[0]; give each node its own address"},
	{"subnet too small for its nodes", "subnet = \"192.168.33.0/29\"\nworkers = 5\n",
		"lab.toml:1: subnet: 192.168.33.0/29 is too small for 6 nodes; choose a larger one"},
	{"subnet /32", "subnet = \"192.168.33.7/32\"\n",
		"lab.toml:1: subnet: 192.168.33.7/32 is too small for 2 nodes; choose a larger one"},
	{"subnet too large", "subnet = \"0.0.0.0/0\"\n",
		"lab.toml:1: subnet: 0.0.0.0/0 is not for hosts; choose another one, as 192.168.33.0/24"},
	{"subnet larger than a /16", "subnet = \"192.160.0.0/12\"\n",
		"lab.toml:1: subnet: 192.160.0.0/12 is larger than a /16; take a /24"},
	{"subnet of loopback", "subnet = \"127.0.1.0/24\"\n",
		"lab.toml:1: subnet: 127.0.1.0/24 is not for hosts; choose another one, as 192.168.33.0/24"},
	{"subnet of multicast", "subnet = \"224.0.0.0/24\"\n",
		"lab.toml:1: subnet: 224.0.0.0/24 is not for hosts; choose another one, as 192.168.33.0/24"},
	{"subnet is VirtualBox's NAT", "subnet = \"10.0.2.0/24\"\n",
		"lab.toml:1: subnet: 10.0.2.0/24 overlaps 10.0.2.0/24, VirtualBox's NAT network; choose another one, as 192.168.33.0/24"},
	{"subnet holds VirtualBox's NAT", "subnet = \"10.0.0.0/16\"\n",
		"lab.toml:1: subnet: 10.0.0.0/16 overlaps 10.0.2.0/24, VirtualBox's NAT network; choose another one, as 192.168.33.0/24"},
	{"subnet is docker0's", "subnet = \"172.17.0.0/16\"\n",
		"lab.toml:1: subnet: 172.17.0.0/16 overlaps 172.17.0.0/16, Docker's bridge docker0; choose another one, as 192.168.33.0/24"},
	{"subnet in docker_gwbridge's", "subnet = \"172.18.33.0/24\"\n",
		"lab.toml:1: subnet: 172.18.33.0/24 overlaps 172.18.0.0/16, Docker's bridge docker_gwbridge; choose another one, as 192.168.33.0/24"},
	{"subnet in the engine's pool", "subnet = \"10.9.0.0/24\"\n",
		"lab.toml:1: subnet: 10.9.0.0/24 overlaps 10.0.0.0/8, from which Docker takes the ingress and overlay networks; choose another one, or set swarm.default-address-pool"},
	{"subnet in the engine's pool, pool empty", "subnet = \"10.9.0.0/24\"\n[swarm]\ndefault-address-pool = []\n",
		"lab.toml:1: subnet: 10.9.0.0/24 overlaps 10.0.0.0/8, from which Docker takes the ingress and overlay networks; choose another one, or set swarm.default-address-pool"},
	{"pool is none", "[swarm]\ndefault-address-pool = [\"10.20.0.0\"]\n",
		`lab.toml:2: swarm.default-address-pool[0]: "10.20.0.0" is no IPv4 network; write it like 10.20.0.0/16`},
	{"pool overlaps VirtualBox's NAT", "[swarm]\ndefault-address-pool = [\"10.0.0.0/8\"]\n",
		"lab.toml:2: swarm.default-address-pool[0]: 10.0.0.0/8 overlaps 10.0.2.0/24, VirtualBox's NAT network; choose another one, as 10.20.0.0/16"},
	{"pool overlaps docker0", "[swarm]\ndefault-address-pool = [\"172.16.0.0/12\"]\n",
		"lab.toml:2: swarm.default-address-pool[0]: 172.16.0.0/12 overlaps 172.17.0.0/16, Docker's bridge docker0; choose another one, as 10.20.0.0/16"},
	{"pool overlaps the subnet", "[swarm]\ndefault-address-pool = [\"10.20.0.0/16\", \"192.168.0.0/16\"]\n",
		"lab.toml:2: swarm.default-address-pool[1]: 192.168.0.0/16 overlaps the nodes' own subnet 192.168.33.0/24: containers could not reach the nodes; choose another one, as 10.20.0.0/16"},
	{"pools overlap", "[swarm]\ndefault-address-pool = [\"10.20.0.0/16\", \"10.20.5.0/24\"]\n",
		"lab.toml:2: swarm.default-address-pool[1]: 10.20.5.0/24 overlaps 10.20.0.0/16, swarm.default-address-pool[0]; keep one of the two"},
	{"pool too small", "[swarm]\ndefault-address-pool = [\"10.20.0.0/25\"]\n",
		"lab.toml:2: swarm.default-address-pool[0]: 10.20.0.0/25 is too small for networks of /24; take a larger pool, or a swarm.subnet-size between 25 and 29"},
	{"subnet-size", "[swarm]\nsubnet-size = 30\n",
		"lab.toml:2: swarm.subnet-size: 30 is not a prefix length between 8 and 29; take 24"},
	{"data-path-port too low", "[swarm]\ndata-path-port = 80\n",
		"lab.toml:2: swarm.data-path-port: 80 is not between 1024 and 49151; the usual one is 4789"},
	{"data-path-port too high", "[swarm]\ndata-path-port = 70000\n",
		"lab.toml:2: swarm.data-path-port: 70000 is not between 1024 and 49151; the usual one is 4789"},
	{"data-path-port of Swarm", "[swarm]\ndata-path-port = 7946\n",
		"lab.toml:2: swarm.data-path-port: 7946 is used by Swarm itself; the usual one is 4789"},
	{"no CPU, said once for all nodes", "cpus = 0\n[[nodes]]\n[[nodes]]\n",
		"lab.toml:1: cpus: 0 is not between 1 and 64"},
	{"no CPU of one node", "[[nodes]]\n[[nodes]]\ncpus = -1\n",
		"lab.toml:3: nodes[1].cpus: -1 is not between 1 and 64"},
	{"too many CPUs", "cpus = 65\n",
		"lab.toml:1: cpus: 65 is not between 1 and 64"},
	{"memory too small", "[[nodes]]\nmemory = 511\n",
		"lab.toml:2: nodes[0].memory: 511 MiB is too little: Docker needs at least 512; take 1024"},
	{"memory in bytes", "memory = 1073741824\n",
		"lab.toml:1: memory: 1073741824 MiB is more than any host has; write it in MiB"},
	{"no manager", "[[nodes]]\nrole = \"worker\"\n",
		`lab.toml:1: nodes: no node is a manager; give one node role = "manager"`},
	{"no managers", "managers = 0\n",
		"lab.toml:1: managers: 0 is not between 1 and 200"},
	{"too many workers", "workers = 1000000000000\n",
		"lab.toml:1: workers: 1000000000000 is not between 0 and 200"},
	{"nodes listed and counted", "managers = 1\nworkers = 3\n[[nodes]]\n",
		"lab.toml:1: managers: counts nodes up, but the file also lists them under nodes; keep one of the two"},
	{"box from a URL without a name", "[box]\nurl = \"https://boxes.example/a.box\"\n",
		"lab.toml:2: box.url: a box from a URL needs a name; set box.name too"},
	{"box URL of an unknown kind", "[box]\nname = \"a\"\nurl = \"ftp://boxes.example/a.box\"\n",
		"lab.toml:3: box.url: is no URL of a known kind; begin it with http://, https:// or file://"},
	{"box URL without a host", "[box]\nname = \"a\"\nurl = \"https:///a.box\"\n",
		"lab.toml:3: box.url: names no host; write it like https://mirror.example"},
	{"box URL of a relative file", "[box]\nname = \"a\"\nurl = \"file://boxes/a.box\"\n",
		"lab.toml:3: box.url: names no file by its absolute path; write it like file:///srv/boxes/debian.box"},
	{"box name with a line end", "[box]\nname = \"a\\nb\"\n",
		"lab.toml:2: box.name: holds a character that cannot be printed"},
	{"box release", "[box]\nrelease = \"Debian 12\"\n",
		`lab.toml:2: box.release: "Debian 12" holds a character that it may not hold; write it like bookworm`},
	{"box mirror", "[box]\nmirror = \"mirror.example\"\n",
		"lab.toml:2: box.mirror: is no URL of a known kind; begin it with http://, https:// or file://"},
	{"docker version", "[docker]\nversion = \"20.10; reboot\"\n",
		"lab.toml:2: docker.version: \"20.10; reboot\" holds a character that it may not hold; write it as `apt-cache policy` shows it"},
	{"registry mirror", "[docker]\nregistry-mirror = \"registry.example:5000\"\n",
		"lab.toml:2: docker.registry-mirror: is no URL of a known kind; begin it with http:// or https://"},
	{"proxy with a password is not repeated", "[docker]\nproxy = \"http://user:secret@:3128\"\n",
		"lab.toml:2: docker.proxy: names no host; write it like http://mirror.example"},
	{"proxy that is no URL", "[docker]\nproxy = \"http://user:sec ret@proxy.example\"\n",
		"lab.toml:2: docker.proxy: is no URL; write it like https://mirror.example/debian"},
	{"artifacts empty", "artifacts = \" \"\n",
		`lab.toml:1: artifacts: is empty; name a folder, as in "artifacts"`},
	{"artifacts in place", "artifacts = \"./\"\n",
		`lab.toml:1: artifacts: is the folder of lab.toml itself; name a folder of its own, as in "artifacts"`},
	{"artifacts with a line end", "artifacts = \"a\\nb\"\n",
		"lab.toml:1: artifacts: holds a character that cannot be printed"},
}

func TestProblems(t *testing.T) {
	for _, tt := range problemTests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := Parse("lab.toml", []byte(tt.src))
			got := ""
			if err != nil {
				got = err.Error()
				var all *Errors
				if !errors.As(err, &all) || len(all.Problems) != strings.Count(got, "\n")+1 {
					t.Errorf("not one line a problem: %v", err)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	tests := []struct{ name, src, want string }{
		{"one manager", "managers = 1", ""},
		{"three managers", "managers = 3", ""},
		{"two managers", "# two\nmanagers = 2",
			"lab.toml:2: managers: 2 managers tolerate no failure: without either of them the swarm cannot be managed; take 1 or 3"},
		{"two managers, listed", "\n[[nodes]]\n[[nodes]]\nrole = \"manager\"\n[[nodes]]\nrole = \"manager\"\n",
			"lab.toml:2: nodes: 2 managers tolerate no failure: without either of them the swarm cannot be managed; take 1 or 3"},
		{"four managers", "managers = 4",
			"lab.toml:1: managers: 4 managers tolerate no more failures than 3; take 3 or 5"},
		{"nine managers", "managers = 9",
			"lab.toml:1: managers: 9 managers slow the swarm down; Docker advises at most 7; take 3, 5 or 7"},
		{"a public subnet", "subnet = \"172.100.0.0/24\"",
			"lab.toml:1: subnet: 172.100.0.0/24 is not a private network: the real hosts of that range are out of reach while the lab stands; choose one like 192.168.33.0/24"},
		{"acceleration of VirtualBox", "provider = \"virtualbox\"\nacceleration = \"kvm\"",
			"lab.toml:2: acceleration: has no effect with the provider virtualbox"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, warnings, err := Parse("lab.toml", []byte(tt.src))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, w := range warnings {
				got = append(got, w.String())
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A warning must reach the user although the file has errors as well.
func TestWarningsBesideErrors(t *testing.T) {
	lab, warnings, err := Parse("lab.toml", []byte("managers = 2\ncpus = 0\n"))
	if lab != nil || len(warnings) != 1 || err == nil {
		t.Errorf("got %v, %v, %v", lab, warnings, err)
	}
}

func TestSizeLimit(t *testing.T) {
	_, _, err := Parse("lab.toml", make([]byte, maxFile+1))
	if err == nil || err.Error() != "lab.toml: is larger than 128 KiB; is it a lab.toml?" {
		t.Errorf("got %v", err)
	}
}
