package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"labctl/internal/config"

	"github.com/google/go-cmp/cmp"
)

// dockerRules are those of Docker 20.10 on a node of a swarm that publishes 8080.
var dockerRules = strings.Split(`*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-INGRESS - [0:0]
[0:0] -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER-INGRESS
[0:0] -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
[0:0] -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
[0:0] -A POSTROUTING -s 172.18.0.0/16 ! -o docker_gwbridge -j MASQUERADE
[0:0] -A DOCKER-INGRESS -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.18.0.2:8080
[0:0] -A DOCKER-INGRESS -j RETURN
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-INGRESS - [0:0]
:DOCKER-USER - [0:0]
[0:0] -A FORWARD -j DOCKER-USER
[0:0] -A FORWARD -j DOCKER-INGRESS
[0:0] -A FORWARD -o docker_gwbridge -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
[0:0] -A FORWARD -o docker_gwbridge -j DOCKER
[0:0] -A FORWARD -i docker_gwbridge ! -o docker_gwbridge -j ACCEPT
[0:0] -A FORWARD -i docker_gwbridge -o docker_gwbridge -j DROP
[0:0] -A DOCKER-INGRESS -p tcp -m tcp --dport 8080 -j ACCEPT
[0:0] -A DOCKER-INGRESS -j RETURN
[0:0] -A DOCKER-USER -j RETURN`, "\n")

// sound gives facts of two nodes all that newer facts have, and nothing wrong.
func sound(f *Facts) {
	probed(f)
	for i := range f.Probes {
		f.Probes[i].MTU, f.Probes[i].Large = 1500, 1500
		f.Probes[i].Overlay = &OverlayProbe{MTU: 1450, Large: 1450, Bulk: true}
	}
	f.Swarm.Services[0].Published = []string{"8080/tcp"}
	for i := range f.Nodes {
		n := &f.Nodes[i]
		n.ClockAhead, n.ClockFuzz = 0, 0
		n.DNS = map[string]bool{"192.168.121.1": true}
		n.Firewall = []RuleSet{{By: "iptables", Lines: append([]string(nil), dockerRules...)}}
		n.System = &System{Now: f.Swarm.Now, Hostname: n.Name, MachineID: fmt.Sprint("id", i), Forward: true,
			Links: []Link{{Dev: "eth0", MTU: 1500, Up: true, Carrier: true}, {Dev: "eth1", MTU: 1500, Up: true, Carrier: true},
				{Dev: "docker0", MTU: 1500, Up: true}, {Dev: "docker_gwbridge", MTU: 1500, Up: true, Carrier: true}},
			Gateway: Route{Dev: "eth0", Via: netip.MustParseAddr("192.168.121.1")},
			Modules: []Module{{Name: "vxlan", Loaded: true}, {Name: "ip_vs"}},
			Disks:   []Disk{{Mount: "/", Size: 6 << 20, Free: 4 << 20, Inodes: 400_000, FreeInodes: 300_000}},
			CPU:     CPU{Count: 1, Load: 0.3, Pressure: 5}, Memory: Memory{Total: 1 << 20, Available: 500 << 10},
			Units: []Unit{{Name: "docker", Active: "active", Load: "loaded"}, {Name: "docker.socket", Active: "active", Load: "loaded"},
				{Name: "containerd", Active: "active", Load: "loaded"}},
			Swarm: SwarmFile{Advertise: n.IP.String() + ":2377"},
			Cert:  &Certificate{Name: n.Member.NodeID, From: f.Swarm.Now.Add(-time.Hour), Until: f.Swarm.Now.Add(90 * 24 * time.Hour)},
			Sandbox: &Sandbox{Addrs: []Addr{{Dev: "eth0", Prefix: netip.MustParsePrefix("10.0.0.2/24")}, {Dev: "eth1", Prefix: netip.MustParsePrefix("172.18.0.2/16")}},
				Rules: []string{"-A PREROUTING -p tcp -m tcp --dport 8080 -j MARK --set-xmark 0x100/0xffffffff"}},
		}
	}
}

// deaf makes the probes from and to a node fail.
func deaf(f *Facts, names ...string) {
	for i := range f.Probes {
		p := &f.Probes[i]
		for _, name := range names {
			if p.From == name || p.To == name {
				p.Echo, p.Marked, p.Gossip, p.Large = false, false, false, 0
				p.Overlay = &OverlayProbe{MTU: 1450}
				for port := range p.Ports {
					p.Ports[port] = Lost
					if strings.HasSuffix(port, "tcp") {
						p.Ports[port] = Unanswered
					}
				}
			}
		}
	}
}

func without(lines []string, part string) (out []string) {
	for _, l := range lines {
		if !strings.Contains(l, part) {
			out = append(out, l)
		}
	}
	return out
}

// One cause, with what follows from it, on a sound lab: one finding.
func TestOneCause(t *testing.T) {
	sys := func(f *Facts) *System { return f.Nodes[1].System }
	down := func(f *Facts) { f.Swarm.Members[1].State, f.Swarm.Members[1].Message = "down", "heartbeat failure" }
	off := func(f *Facts, i int, vm string) {
		f.Nodes[i] = Node{Name: f.Nodes[i].Name, Role: f.Nodes[i].Role, IP: f.Nodes[i].IP, Unreachable: "context canceled", VM: vm}
	}
	stopped := func(f *Facts, u Unit) {
		s := sys(f)
		s.Units[0] = u
		f.Nodes[1] = Node{Name: "docker2", Role: config.Worker, IP: f.Nodes[1].IP, Addrs: f.Nodes[1].Addrs, Routes: f.Nodes[1].Routes,
			DockerError: "docker.service is not active", System: s}
		f.Probes = nil
		down(f)
	}
	tests := []struct {
		name   string
		change func(*Facts)
		want   string // severity, id, nodes, networks
		cause  string // a part of it
		remedy string
		fix    bool
	}{
		{"nothing", func(*Facts) {}, "", "", "", false},
		{"off", func(f *Facts) { off(f, 1, "powered off"); f.Probes = nil; down(f) },
			"error vm-off docker2 -", "the VM of docker2 is powered off", "labctl create", false},
		{"two managers of three off", func(f *Facts) {
			third := Node{Name: "docker3", Role: config.Manager, IP: netip.MustParseAddr("192.168.33.13")}
			f.Nodes = append(f.Nodes, third)
			f.Nodes[1].Role = config.Manager
			off(f, 1, "powered off")
			off(f, 2, "powered off")
			f.Probes, f.Swarm = nil, &Swarm{By: "docker1", Error: "no leader"}
		}, "error no-leader docker2,docker3 -", "of 3 managers 2 must work, and 1 do; the VMs of docker2 and docker3 are powered off", "labctl create", false},
		{"stopped", func(f *Facts) { stopped(f, Unit{Name: "docker", Active: "inactive", Sub: "dead", Load: "loaded"}) },
			"error engine-stopped docker2 -", "Docker is stopped on docker2", "labctl exec docker2 -- sudo systemctl start docker", true},
		{"masked", func(f *Facts) { stopped(f, Unit{Name: "docker", Active: "inactive", Sub: "dead", Load: "masked"}) },
			"error engine-stopped docker2 -", "masked", "labctl exec docker2 -- sh -c 'sudo systemctl unmask docker.service docker.socket && sudo systemctl start docker'", true},
		{"daemon.json", func(f *Facts) {
			sys(f).Daemon.Error = "invalid character"
			stopped(f, Unit{Name: "docker", Active: "failed", Load: "loaded"})
		}, "error engine-stopped docker2 -", "daemon.json is not valid JSON", "labctl exec docker2 -- sudo cat /etc/docker/daemon.json   (mend it; or put it aside:)", false},
		{"frozen", func(f *Facts) {
			sys(f).CPU.Stopped = []Process{{Name: "dockerd", PIDs: []int{400}}}
			stopped(f, Unit{Name: "docker", Active: "active", Load: "loaded"})
		}, "error engine-frozen docker2 -", "stopped by a signal", "labctl exec docker2 -- sudo kill -CONT 400", true},
		{"no containerd, and the engine answers", func(f *Facts) {
			sys(f).Units[2] = Unit{Name: "containerd", Active: "inactive", Sub: "dead", Load: "loaded"}
			f.Swarm.Tasks[0].State, f.Swarm.Tasks[0].Err = "rejected", "connection error: containerd.sock: no such file"
		}, "error containerd-stopped docker2 -", "containerd is stopped on docker2", "labctl exec docker2 -- sh -c 'sudo systemctl start containerd && sudo systemctl restart docker'", true},
		{"no containerd, and the engine is silent", func(f *Facts) {
			sys(f).Units[2] = Unit{Name: "containerd", Active: "failed", Load: "loaded"}
			stopped(f, Unit{Name: "docker", Active: "active", Load: "loaded"})
		}, "error containerd-stopped docker2 -", "containerd is stopped on docker2", "labctl exec docker2 -- sh -c 'sudo systemctl start containerd && sudo systemctl restart docker'", true},
		{"a containerd of the engine's own", func(f *Facts) {
			sys(f).Units[2] = Unit{Name: "containerd", Active: "inactive", Sub: "dead", Load: "loaded"}
			sys(f).OwnContainerd = true
		}, "", "", "", false},
		{"a containerd of the engine's own, and the engine is silent", func(f *Facts) {
			sys(f).Units[2] = Unit{Name: "containerd", Active: "inactive", Sub: "dead", Load: "loaded"}
			sys(f).OwnContainerd = true
			stopped(f, Unit{Name: "docker", Active: "active", Load: "loaded"})
		}, "error engine-silent docker2 -", "still starting or hangs", "labctl exec docker2 -- sudo systemctl restart docker.socket docker", false},
		{"neither containerd nor the engine", func(f *Facts) {
			sys(f).Units[2] = Unit{Name: "containerd", Active: "inactive", Load: "loaded"}
			stopped(f, Unit{Name: "docker", Active: "inactive", Load: "loaded"})
		}, "error engine-stopped docker2 -", "containerd and Docker are stopped on docker2", "labctl exec docker2 -- sudo systemctl start containerd docker", true},
		{"a full disk, and the engine failed of it", func(f *Facts) {
			sys(f).Disks[0].Free = 10
			stopped(f, Unit{Name: "docker", Active: "failed", Load: "loaded"})
		}, "error disk-full docker2 -", "the disk of docker2 is full", "labctl exec docker2 -- docker system prune --force", false},
		{"inodes", func(f *Facts) { sys(f).Disks[0].FreeInodes = 5 }, "error disk-full docker2 -", "inode", "labctl exec docker2 -- docker system prune --force", false},
		{"read-only", func(f *Facts) { sys(f).Disks[0].ReadOnly = true }, "error disk-full docker2 -", "read-only", "labctl exec docker2 -- sudo mount -o remount,rw /", true},
		{"a hog", func(f *Facts) {
			sys(f).CPU = CPU{Count: 1, Load: 4, Pressure: 90, Busy: []Process{{Name: "spin", PIDs: []int{7, 8}, Share: 0.8}, {Name: "dockerd", PIDs: []int{9}, Share: 0.2}}}
			deaf(f, "docker2")
			down(f)
		}, "warning cpu-starved docker2 -", "spin keeps the processors of docker2 busy", "labctl exec docker2 -- sudo kill 7 8", false},
		{"busy, and nothing waits", func(f *Facts) {
			sys(f).CPU = CPU{Count: 4, Load: 1, Pressure: 3, Busy: []Process{{Name: "spin", PIDs: []int{7}, Share: 0.9}}}
		}, "", "", "", false},
		{"Docker is busy", func(f *Facts) {
			sys(f).CPU = CPU{Count: 1, Load: 4, Pressure: 90, Busy: []Process{{Name: "dockerd", PIDs: []int{7}, Share: 0.9}}}
		}, "", "", "", false},
		{"memory", func(f *Facts) { sys(f).Memory.Available = 1000 }, "warning memory-low docker2 -", "used up", "labctl exec docker2 -- ps -eo pid,rss,comm --sort=-rss   (and end what is not needed; or raise memory in lab.toml)", false},
		{"the card is down", func(f *Facts) {
			sys(f).Links[1].Up, sys(f).Links[1].Carrier = false, false
			deaf(f, "docker2")
			down(f)
		}, "error interface-down docker2 -", "eth1 of docker2, which leads to the other nodes, is switched off", "labctl exec docker2 -- sudo ip link set dev eth1 up\nlabctl exec docker2 -- sudo systemctl restart docker", true},
		{"the address is gone", func(f *Facts) {
			f.Nodes[1].Addrs = f.Nodes[1].Addrs[:1]
			deaf(f, "docker2")
			down(f)
		}, "error address-missing docker2 -", "has not got the address 192.168.33.12", "labctl exec docker2 -- sudo ip addr add 192.168.33.12/24 dev eth1", true},
		{"a black hole", func(f *Facts) {
			sys(f).Blocked = []Route{{Dev: "blackhole", Dst: netip.MustParsePrefix("192.168.33.11/32")}}
			deaf(f, "docker2")
		}, "error route-astray docker2 -", "does not go through eth1", "labctl exec docker2 -- sudo ip route del blackhole 192.168.33.11/32", true},
		{"two of one address", func(f *Facts) {
			f.Nodes[1].Addrs = append(f.Nodes[1].Addrs, Addr{Dev: "eth1", Prefix: netip.MustParsePrefix("192.168.33.11/24")})
		}, "error duplicate-address docker2,docker1 -", "which lab.toml gives to docker1", "labctl exec docker2 -- sudo ip addr del 192.168.33.11/24 dev eth1", true},
		{"loss", func(f *Facts) {
			sys(f).Qdiscs = []Qdisc{{Dev: "eth1", Kind: "netem", Text: "loss 100%", Loss: 1}}
			deaf(f, "docker2")
			down(f)
		}, "error traffic-shaped docker2 -", "sends to the other nodes: loss 100%", "labctl exec docker2 -- sudo tc qdisc del dev eth1 root", true},
		{"forwarding", func(f *Facts) { sys(f).Forward = false }, "error forwarding-off docker2 -", "passes no packets on", "labctl exec docker2 -- sudo sysctl -w net.ipv4.ip_forward=1", true},
		{"module", func(f *Facts) {
			sys(f).Modules[1].Error = "modprobe: FATAL: Module ip_vs not found"
			sys(f).Sandbox = nil
		}, "error module-missing docker2 -", "no module ip_vs", "labctl exec docker2 -- sudo modprobe ip_vs", false},
		{"one machine-id", func(f *Facts) { sys(f).MachineID = "id0" }, "warning duplicate-machine-id docker1,docker2 -", "a copy", "", true},
		{"one hostname", func(f *Facts) { sys(f).Hostname = "docker1" }, "warning hostname-differs docker2,docker1 -", "as another node does",
			"labctl exec docker2 -- sh -c 'sudo hostnamectl set-hostname docker2 && sudo systemctl restart docker'", true},
		{"a name server is silent", func(f *Facts) { f.Nodes[1].DNS = map[string]bool{"192.0.2.53": false} },
			"warning nameserver-silent docker2 -", "192.0.2.53, which does not answer", "labctl exec docker2 -- sh -c 'echo nameserver 192.168.121.1 | sudo tee /etc/resolv.conf'", false},
		{"no name server", func(f *Facts) { f.Nodes[1].DNS = nil }, "warning nameserver-silent docker2 -", "names no name server", "", false},
		{"a rule against name servers", func(f *Facts) {
			f.Nodes[1].DNS["192.168.121.1"] = false
			f.Nodes[1].Firewall[0].Lines = append(f.Nodes[1].Firewall[0].Lines, "[3:100] -A OUTPUT -p udp -m udp --dport 53 -j DROP")
		}, "warning nameserver-silent docker2 -", "the firewall of docker2", "labctl exec docker2 -- sudo iptables -D OUTPUT -p udp -m udp --dport 53 -j DROP", false},
		{"rules flushed", func(f *Facts) { f.Nodes[1].Firewall = nil }, "error docker-rules-missing docker2 -", "somebody flushed", "labctl exec docker2 -- sudo systemctl restart docker", true},
		{"the jump to DOCKER-USER is gone", func(f *Facts) {
			f.Nodes[1].Firewall[0].Lines = without(dockerRules, "-j DOCKER-USER")
		}, "error docker-rules-missing docker2 -", "are gone", "labctl exec docker2 -- sudo systemctl restart docker", true},
		{"the masquerade is gone", func(f *Facts) { f.Nodes[1].Firewall[0].Lines = without(dockerRules, "172.18.0.0/16") },
			"error docker-rules-missing docker2 -", "are gone", "labctl exec docker2 -- sudo systemctl restart docker", true},
		{"a rule in DOCKER-USER", func(f *Facts) {
			f.Nodes[1].Firewall[0].Lines = append(without(dockerRules, "-A DOCKER-USER"), "[9:9] -A DOCKER-USER -i eth1 -j DROP", "[0:0] -A DOCKER-USER -j RETURN")
		}, "error forward-blocked docker2 -", "what comes in for the published port 8080/tcp", "labctl exec docker2 -- sudo iptables -D DOCKER-USER -i eth1 -j DROP", false},
		{"partition", func(f *Facts) {
			deaf(f, "docker1", "docker2")
			down(f)
			f.Nodes[0].Firewall[0].Lines = append(f.Nodes[0].Firewall[0].Lines, "[9:9] -A INPUT -s 192.168.33.12/32 -j DROP")
			f.Nodes[1].Firewall[0].Lines = append(f.Nodes[1].Firewall[0].Lines, "[9:9] -A INPUT -s 192.168.33.11/32 -j DROP")
		}, "error port-blocked docker2,docker1 -", "cut nodes off from each other", "labctl exec docker2 -- sudo iptables -D INPUT -s 192.168.33.11/32 -j DROP", false},
		{"an MTU", func(f *Facts) { sys(f).Links[1].MTU = 1400; f.Probes[1].MTU, f.Probes[1].Large = 1400, 1400 },
			"error mtu-differs docker2 -", "eth1 of docker2 has an MTU of 1400 instead of 1500", "labctl exec docker2 -- sudo ip link set dev eth1 mtu 1500", true},
		{"a narrow way", func(f *Facts) {
			f.Probes[0].Large, f.Probes[0].Overlay.Large, f.Probes[0].Overlay.Bulk = 1300, 1200, false
		}, "error mtu-path docker1,docker2 -", "packets of more than 1300 bytes get lost on the way (docker1 to docker2)",
			"labctl exec docker1 -- sudo ip route change 192.168.33.0/24 dev eth1 proto kernel scope link src 192.168.33.11 mtu lock 1300", false},
		{"a rule against large packets", func(f *Facts) {
			f.Probes[0].Large = 1300
			f.Nodes[1].Firewall[0].Lines = append(f.Nodes[1].Firewall[0].Lines, "[9:9] -A INPUT -i eth1 -m length --length 1301:65535 -j DROP")
		}, "error mtu-path docker1,docker2 -", "a firewall stops large packets", "labctl exec docker2 -- sudo iptables -D INPUT -i eth1 -m length --length 1301:65535 -j DROP", false},
		{"an overlay with an MTU of its own", func(f *Facts) { wire(f, 0, "mynet01").MTU = 1500; wire(f, 1, "mynet01").MTU = 1500 },
			"error overlay-mtu docker1,docker2 mynet01", "with an MTU of 1500; a VXLAN adds 50 bytes", "docker network create -d overlay --subnet 172.100.0.0/24 mynet01", false},
		{"the overlay is dead", func(f *Facts) { f.Probes[0].Overlay = &OverlayProbe{MTU: 1450} }, "error overlay-broken docker1,docker2 ingress", "carries nothing", "labctl exec docker1 -- sudo systemctl restart docker", true},
		{"the overlay is dead at one of three", func(f *Facts) {
			f.Probes[0].Overlay = &OverlayProbe{MTU: 1450}
			f.Probes = append(f.Probes, Probe{From: "docker3", To: "docker2", Overlay: &OverlayProbe{MTU: 1450}})
		}, "error overlay-broken docker2 ingress", "carries nothing", "labctl exec docker2 -- sudo systemctl restart docker", true},
		{"the overlay carries no bulk", func(f *Facts) { f.Probes[0].Overlay.Bulk = false }, "error overlay-broken docker1,docker2 ingress", "no bulk over TCP", "labctl exec docker2 -- sudo systemctl restart docker", true},
		{"no sandbox", func(f *Facts) { sys(f).Sandbox = nil; f.Probes[0].Overlay, f.Probes[1].Overlay = nil, nil },
			"error ingress-sandbox-broken docker2 ingress", "missing or damaged", "labctl exec docker2 -- sudo systemctl restart docker", true},
		{"a sandbox without its rules", func(f *Facts) { sys(f).Sandbox.Rules = nil }, "error ingress-sandbox-broken docker2 ingress", "missing or damaged", "labctl exec docker2 -- sudo systemctl restart docker", true},
		{"outside the ingress network", func(f *Facts) {
			f.Nodes[1].Networks = slices.DeleteFunc(slices.Clone(f.Nodes[1].Networks), func(w Network) bool { return w.Ingress })
			f.Nodes[1].Firewall[0].Lines = without(dockerRules, "DOCKER-INGRESS")
			sys(f).Sandbox = nil
			f.Probes[0].Overlay, f.Probes[1].Overlay = nil, nil
		}, "error ingress-sandbox-broken docker2 ingress", "docker2 is not connected to the swarm's ingress network", "labctl exec docker2 -- sudo systemctl restart docker", true},
		{"no ingress", func(f *Facts) {
			for i := range f.Nodes {
				f.Nodes[i].Networks = f.Nodes[i].Networks[:4]
				f.Nodes[i].System.Sandbox = nil
			}
			f.Swarm.Services = nil
		}, "error ingress-missing docker1 ingress", "no ingress network", "labctl exec docker1 -- docker network create -d overlay --ingress --subnet 10.20.0.0/24 ingress\nlabctl exec docker1 -- sudo systemctl restart docker\nlabctl exec docker2 -- sudo systemctl restart docker", true},
		{"a certificate", func(f *Facts) {
			sys(f).Cert.Until = f.Swarm.Now.Add(-time.Minute)
			f.Nodes[1].Member.State = "error"
			down(f)
		},
			"error certificate-expired docker2 -", "ended at", "labctl exec docker2 -- docker swarm leave --force", false},
		{"another data path", func(f *Facts) { sys(f).Swarm.DataPath = "192.168.121.5" }, "error wrong-advertise-address docker2 -", "data path address 192.168.121.5", "labctl swarm form", false},
		{"logs go nowhere", func(f *Facts) { f.Swarm.Services[0].LogDriver = "none" }, "warning log-driver - -", "log driver none", "labctl exec docker1 -- docker service update --log-driver json-file test01", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := recorded(t, "healthy-service")
			sound(&f)
			tt.change(&f)
			found := Judge(f)
			var got []string
			for _, x := range found {
				got = append(got, strings.Join([]string{string(x.Severity), x.ID, list(x.Nodes), list(x.Networks)}, " "))
			}
			out := text(t, f, found)
			if diff := cmp.Diff(tt.want, strings.Join(got, "; ")); diff != "" {
				t.Fatalf("findings (-want +got):\n%s\n%s", diff, out)
			}
			if tt.want == "" {
				return
			}
			if !strings.Contains(found[0].Cause, tt.cause) {
				t.Errorf("no %q in the cause: %s", tt.cause, found[0].Cause)
			}
			if !strings.Contains("\n"+found[0].Remedy+"\n", "\n"+tt.remedy+"\n") && tt.remedy != "" {
				t.Errorf("no line %q in the remedy:\n%s", tt.remedy, found[0].Remedy)
			}
			if (found[0].Fix != nil) != tt.fix {
				t.Errorf("fix %+v, want one: %v", found[0].Fix, tt.fix)
			}
		})
	}
}

// The swarm gives an ingress sandbox addresses when a service first publishes
// a port.
func TestEmptySandbox(t *testing.T) {
	for _, empty := range []*Sandbox{nil, {}} {
		f := recorded(t, "healthy-service")
		sound(&f)
		f.Swarm.Services, f.Swarm.Tasks = nil, nil
		for i := range f.Nodes {
			f.Nodes[i].System.Sandbox = empty
		}
		f.Probes[0].Overlay, f.Probes[1].Overlay = nil, nil
		if found := Judge(f); len(found) > 0 {
			t.Errorf("a new lab with the sandbox %v: %+v", empty, found)
		}
	}
}
