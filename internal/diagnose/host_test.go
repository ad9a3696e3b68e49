package diagnose

import (
	"strings"
	"testing"
	"time"
)

// hostAnswer is what hostScript prints, shortened.
const hostAnswer = `### date
1764058163.500000000
### units
Id=docker.service
LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=enabled
Result=success

Id=containerd.service
LoadState=loaded
ActiveState=active
SubState=running
### processes
79
100.00 50.00
1 (systemd) S 0 1 1 0 -1 0 0 0 0 0 10 10 0 0 20 0 1 0 1 0 0
2 (kthreadd) S 0 0 0 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 1 0 0
77 (spin (1) er) R 1 77 77 0 -1 0 0 0 0 0 1000 0 0 0 20 0 1 0 5000 0 0
78 (dockerd) T 1 78 78 0 -1 0 0 0 0 0 1000 0 0 0 20 0 1 0 5000 0 0
79 (sh) R 1 79 79 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 100 0 0
### addr
[{"ifname":"lo","mtu":65536,"flags":["LOOPBACK","UP","LOWER_UP"],"link_type":"loopback","addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8}]},
{"ifname":"eth1","mtu":1500,"flags":["BROADCAST","UP","LOWER_UP"],"link_type":"ether","address":"52:54:00:00:00:01","addr_info":[{"family":"inet","local":"192.168.33.11","prefixlen":24},{"family":"inet6","local":"fe80::1","prefixlen":64}]},
{"ifname":"veth12","mtu":1500,"flags":["UP"],"link_type":"ether","addr_info":[]}]
### route
[{"dst":"default","gateway":"192.168.121.1","dev":"eth0"},{"dst":"192.168.33.0/24","dev":"eth1"},{"dst":"10.9.8.7","gateway":"192.168.33.1","dev":"eth1"},{"type":"blackhole","dst":"192.168.33.12"},{"type":"unreachable","dst":"192.168.33.0/24","dev":"lo","metric":4000,"flags":[]}]
### resolv
# made by hand
nameserver 127.0.0.1
nameserver 192.168.121.1
nameserver fd00::1
search lab
### names
docker1
0123456789abcdef0123456789abcdef
### forward
1
### qdiscs
[{"kind":"fq_codel","dev":"eth0","options":{}},{"kind":"netem","dev":"eth1","root":true,"options":{"limit":1000,"delay":{"delay":0.2,"jitter":0},"loss-random":{"loss":0.25},"rate":{"rate":125000}}},
{"kind":"tbf","dev":"eth0","options":{"rate":1250,"burst":4000}}]
### modules
overlay loaded
bridge insmod /lib/modules/6.1/bridge.ko
vxlan modprobe: FATAL: Module vxlan not found in directory /lib/modules/6.1
ip_vs install /bin/false
veth 
### disks
Filesystem     1024-blocks    Used Available Capacity Mounted on
/dev/vda1          6000000 1500000   4200000      27% /
/dev/vda1          6000000 1500000   4200000      27% /
Filesystem      Inodes  IUsed   IFree IUse% Mounted on
/dev/vda1       400000  50000  350000   13% /
### mounts
/dev/vda1 / ext4 ro,relatime 0 0
### load
2
0.50 0.20 0.10 1/90 1000
some avg10=12.50 avg60=1.00 avg300=0.10 total=1
### memory
MemTotal:         983040 kB
MemAvailable:     500000 kB
### log
### swarm
{"LocalAddr":"192.168.33.11","ListenAddr":"0.0.0.0:2377","AdvertiseAddr":"192.168.33.11:2377","DataPathAddr":""}
### cert
### ca
### daemon
{"log-driver":"none","iptables":false}
### sandbox
there
[{"ifname":"eth0","mtu":1450,"flags":["UP"],"link_type":"ether","addr_info":[{"family":"inet","local":"10.0.0.2","prefixlen":24}]}]
== rules
*mangle
-A PREROUTING -p tcp -m tcp --dport 8080 -j MARK --set-xmark 0x100/0xffffffff
### firewall
== iptables
*filter
:INPUT ACCEPT [0:0]
COMMIT
### again
101.00 50.00
1 (systemd) S 0 1 1 0 -1 0 0 0 0 0 10 10 0 0 20 0 1 0 1 0 0
77 (spin (1) er) R 1 77 77 0 -1 0 0 0 0 0 1100 0 0 0 20 0 1 0 5000 0 0
78 (dockerd) T 1 78 78 0 -1 0 0 0 0 0 1000 0 0 0 20 0 1 0 5000 0 0
79 (sh) R 1 79 79 0 -1 0 0 0 0 0 90 0 0 0 20 0 1 0 100 0 0
### end
`

// Whose child a containerd is tells who uses it.
func TestOwnContainerd(t *testing.T) {
	const rest = " 1 1 0 -1 0 0 0 0 0 10 10 0 0 20 0 1 0 1 0 0\n"
	const engine = "78 (dockerd) S 1" + rest
	for _, tt := range []struct {
		name, processes string
		want            bool
	}{
		{"none", engine, false},
		{"that of containerd.service", engine + "70 (containerd) S 1" + rest, false},
		{"the engine's own", engine + "90 (containerd) S 78" + rest, true},
		{"both", engine + "70 (containerd) S 1" + rest + "90 (containerd) S 78" + rest, true},
		{"one that has ended", engine + "90 (containerd) Z 78" + rest, false},
		{"a shim and a proxy", engine + "90 (docker-proxy) S 78" + rest + "91 (containerd-shim) S 1" + rest, false},
		{"that of an engine in a container", engine + "91 (containerd-shim) S 1" + rest + "95 (dockerd) S 91" + rest + "96 (containerd) S 95" + rest, false},
	} {
		if got := ownContainerd("100.00 50.00\n1 (systemd) S 0" + rest + tt.processes); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	for text, want := range map[string]bool{hostAnswer: false, strings.Replace(hostAnswer, "### end", "80 (containerd) S 78"+rest+"### end", 1): true} {
		var n Node
		if err := n.readHost(text, time.Now(), 0); err != nil || n.System.OwnContainerd != want {
			t.Errorf("of a whole node: %v, want %v; %v", !want, want, err)
		}
	}
}

// A node that cannot tell its interfaces is not one without any.
func TestReadHostWithoutIP(t *testing.T) {
	head, rest, _ := strings.Cut(hostAnswer, "### addr\n")
	_, rest, _ = strings.Cut(rest, "### route\n")
	var n Node
	err := n.readHost(head+"### addr\n\n### route\n"+rest, time.Now(), 0)
	if err == nil || err.Error() != "ip -j addr says nothing" {
		t.Errorf("error %v", err)
	}
}

func FuzzReadHost(f *testing.F) {
	f.Add(hostAnswer)
	f.Fuzz(func(t *testing.T, text string) {
		var n Node
		if err := n.readHost(text, time.Now(), 0); err != nil {
			return
		}
		for _, r := range n.Routes {
			if r.Dst.Bits() == 0 || r.Dst != r.Dst.Masked() {
				t.Errorf("route %v", r)
			}
		}
	})
}
