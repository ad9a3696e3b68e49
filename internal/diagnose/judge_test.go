package diagnose

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// recorded reads facts that `labctl diagnose --json` printed on real VMs.
func recorded(t *testing.T, name string) Facts {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var f Facts
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		t.Fatal(err)
	}
	return f
}

func text(t *testing.T, f Facts, found []Finding) string {
	t.Helper()
	var out bytes.Buffer
	if err := WriteText(&out, f, found); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// Facts recorded on real labs, Docker 20.10.24, lead to these findings; the
// whole text stands in testdata.
func TestRecorded(t *testing.T) {
	tests := []struct {
		name     string
		ids      []string
		networks []string
		nodes    []string
	}{
		{"healthy", nil, nil, nil},
		{"healthy-service", nil, nil, nil},
		{"overlay", []string{OverlapsOverlay}, []string{"mynet02", "mynet01"}, []string{"docker1"}},
		{"bridge", []string{OverlapsBridge}, []string{"mynet02", "docker0"}, []string{"docker1", "docker2"}},
		{"machines", []string{OverlapsMachines}, []string{"mynet02", "192.168.33.0/24"}, []string{"docker1", "docker2"}},
		{"three-nodes", nil, nil, nil},
		{"port-2377", []string{PortBlocked}, nil, []string{"docker1", "docker2"}},
		{"port-7946-tcp", []string{PortBlocked}, nil, []string{"docker2", "docker1"}},
		{"port-7946-udp", []string{PortBlocked}, nil, []string{"docker2", "docker1"}},
		{"port-7946-refused", []string{PortBlocked}, nil, []string{"docker2", "docker1", "docker3"}},
		{"port-4789-in", []string{PortBlocked}, nil, []string{"docker2", "docker1"}},
		{"port-4789-out", []string{PortBlocked}, nil, []string{"docker2", "docker1"}},
		// On a host that was busy, so that labctl's own asking took much of the
		// nodes' processors; the swarm publishes nothing.
		{"delay", []string{TrafficShaped}, nil, []string{"docker2"}},
		{"clock", []string{ClocksDiffer}, nil, []string{"docker2"}},
		{"disk-full", []string{DiskFull}, nil, []string{"docker2"}},
		{"cpu", []string{CPUStarved}, nil, []string{"docker2"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := recorded(t, tt.name)
			found := Judge(f)
			var ids []string
			for _, x := range found {
				ids = append(ids, x.ID)
			}
			if diff := cmp.Diff(tt.ids, ids); diff != "" {
				t.Fatalf("findings (-want +got):\n%s\n%s", diff, text(t, f, found))
			}
			if len(found) > 0 {
				if diff := cmp.Diff(tt.networks, found[0].Networks); diff != "" {
					t.Errorf("networks (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(tt.nodes, found[0].Nodes); diff != "" {
					t.Errorf("nodes (-want +got):\n%s", diff)
				}
			}
			golden(t, tt.name+".txt", text(t, f, found))
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// A worker may still have an overlay that the swarm has removed, and whose
// addresses it has given to another one.
func TestRemovedOverlay(t *testing.T) {
	f := recorded(t, "three-nodes")
	i := slices.IndexFunc(f.Nodes[1].Networks, func(w Network) bool { return w.Driver == "overlay" })
	old := f.Nodes[1].Networks[i]
	old.ID, old.Name, old.Ingress, old.Created = "old", "mynet", false, old.Created.Add(time.Minute)
	f.Nodes[1].Networks = append(f.Nodes[1].Networks, old)
	if found := Judge(f); len(found) != 0 {
		t.Errorf("found\n%s", text(t, f, found))
	}
	f.Nodes[0].Networks = append(f.Nodes[0].Networks, old) // docker1 is the manager
	if found := Judge(f); len(found) != 1 || found[0].ID != OverlapsOverlay {
		t.Errorf("found\n%s", text(t, f, found))
	}
}

// The facts survive JSON, so that what was recorded is what was judged.
func TestFactsRoundTrip(t *testing.T) {
	f := recorded(t, "bridge")
	data, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	var back Facts
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(f, back, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}
}

// wire returns the node's network of that name.
func wire(f *Facts, node int, name string) *Network {
	i := slices.IndexFunc(f.Nodes[node].Networks, func(w Network) bool { return w.Name == name })
	return &f.Nodes[node].Networks[i]
}

func prefixes(words ...string) (out []netip.Prefix) {
	for _, w := range words {
		out = append(out, netip.MustParsePrefix(w))
	}
	return out
}

// One thing that is wrong with a sound lab on which a service runs in mynet01
// (172.100.0.0/24): the finding, and the line of its text that matters most.
func TestOneThingWrong(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Facts)
		want   string // severity, id, nodes, networks
		lines  []string
	}{
		{"unreachable", func(f *Facts) {
			f.Nodes[1] = Node{Name: "docker2", IP: f.Nodes[1].IP, Unreachable: "dial tcp:\n no route"}
		}, "error node-unreachable docker2 -", []string{"symptom   labctl cannot reach docker2", "evidence  docker2: dial tcp: no route", "remedy    labctl status"}},
		{"silent engine", func(f *Facts) {
			f.Nodes[1] = Node{Name: "docker2", IP: f.Nodes[1].IP, DockerError: "nobody listens"}
		}, "error engine-silent docker2 -", []string{"remedy    labctl exec docker2 -- sudo systemctl restart docker.socket docker"}},
		{"host mute", func(f *Facts) { f.Nodes[1].HostError = "ip: not found" },
			"warning node-mute docker2 -", []string{"evidence  docker2: ip: not found"}},
		{"left", func(f *Facts) {
			f.Nodes[1].Member = Member{State: "inactive"}
			f.Nodes[1].Networks = nil
		}, "error not-in-swarm docker2 -", []string{`evidence  docker2: swarm state "inactive"`, "remedy    labctl swarm form"}},
		{"joined by the wrong address", func(f *Facts) { f.Nodes[1].Member.Addr = netip.MustParseAddr("10.0.2.15") },
			"error wrong-advertise-address docker2 -", []string{
				"cause     docker2 joined the swarm with the address 10.0.2.15 instead of 192.168.33.12, and the others send their packets there",
				"evidence  docker2: advertises 10.0.2.15, lab.toml says 192.168.33.12"}},
		{"no leader", func(f *Facts) { f.Swarm = &Swarm{By: "docker1", Error: "The swarm does not have a leader."} },
			"error no-leader docker1 -", []string{"evidence  docker1: The swarm does not have a leader."}},
		{"the other manager has left", func(f *Facts) {
			f.Nodes[0].Member.Managers = []netip.Addr{f.Nodes[0].IP, f.Nodes[1].IP}
			f.Nodes[1].Member, f.Nodes[1].Networks = Member{State: "inactive"}, nil
			f.Swarm = &Swarm{By: "docker1", Error: "The swarm does not have a leader."}
		}, "error no-leader docker1 -", []string{
			"cause     the swarm has lost its quorum: of 2 managers 2 must work, and docker2 has left it",
			"evidence  docker1: The swarm does not have a leader.",
			`docker2: is one of the managers that docker1 knows, and its swarm state is "inactive"`,
			"remedy    labctl exec docker1 -- docker swarm init --force-new-cluster --advertise-addr 192.168.33.11",
			"          labctl exec docker1 -- sudo systemctl restart docker", "          labctl swarm form"}},
		{"the other manager has left, and cannot come back", func(f *Facts) {
			f.Nodes[0].Member.Managers = []netip.Addr{f.Nodes[0].IP, f.Nodes[1].IP}
			f.Nodes[1].Member, f.Nodes[1].Networks = Member{State: "error", Error: "no leader"}, nil
			f.Swarm = &Swarm{By: "docker1", Error: "The swarm does not have a leader."}
		}, "error no-leader docker1 -", []string{
			"          labctl exec docker1 -- sudo systemctl restart docker",
			"          labctl exec docker2 -- docker swarm leave --force", "          labctl swarm form"}},
		{"the other manager has left, and the leader has not missed it yet", func(f *Facts) {
			f.Nodes[1].Member, f.Nodes[1].Networks = Member{State: "inactive"}, nil
			f.Swarm.Members[0].Reachability = "reachable"
			f.Swarm.Members[1].Reachability, f.Swarm.Members[1].Addr = "unreachable", f.Nodes[1].IP
		}, "error no-leader docker1 -", []string{
			"symptom   the manager will answer no question about the swarm in some seconds, and change nothing; services that run go on running",
			"cause     the swarm has lost its quorum: of 2 managers 2 must work, and docker2 has left it",
			`evidence  docker2: is one of the managers that docker1 knows, and its swarm state is "inactive"`,
			"remedy    labctl exec docker1 -- docker swarm init --force-new-cluster --advertise-addr 192.168.33.11"}},
		{"down", func(f *Facts) { f.Swarm.Members[1].State, f.Swarm.Members[1].Message = "down", "heartbeat failure" },
			"error node-down docker2 -", []string{"evidence  docker1: node list says docker2 is down, heartbeat failure"}},
		{"former self", func(f *Facts) {
			f.Swarm.Members = append(f.Swarm.Members, SwarmMember{ID: "old", Hostname: "docker2", State: "down", Availability: "active"})
		}, "warning former-self docker2 -", []string{"remedy    labctl exec docker1 -- docker node rm --force old"}},
		{"former self, not missed yet", func(f *Facts) {
			f.Swarm.Members = append(f.Swarm.Members, SwarmMember{ID: "old", Hostname: "docker2", State: "ready", Addr: f.Nodes[1].IP, Availability: "active"})
		}, "warning former-self docker2 -", []string{"remedy    labctl exec docker1 -- docker node rm --force old"}},
		{"come back by the wrong address", func(f *Facts) {
			f.Nodes[1].Member.Addr = netip.MustParseAddr("10.0.2.15")
			f.Swarm.Members = append(f.Swarm.Members, SwarmMember{ID: "old", Hostname: "docker2", State: "down", Addr: f.Nodes[1].IP, Availability: "active"})
		}, "error wrong-advertise-address docker2 -", []string{"labctl swarm form"}},
		{"another machine of that name", func(f *Facts) {
			f.Swarm.Members = append(f.Swarm.Members, SwarmMember{ID: "new", Hostname: "docker2", State: "ready", Addr: netip.MustParseAddr("192.168.33.99"), Availability: "active"})
		}, "warning unknown-node - -", []string{"remedy    labctl exec docker1 -- docker node rm --force new"}},
		{"a stranger", func(f *Facts) {
			f.Swarm.Members = append(f.Swarm.Members, SwarmMember{ID: "new", Hostname: "laptop", State: "ready", Availability: "active"})
		}, "warning unknown-node - -", []string{"remedy    labctl exec docker1 -- docker node rm --force new"}},
		{"drained, and no service is harmed", func(f *Facts) { f.Swarm.Members[1].Availability = "drain" }, "", nil},
		{"drained, and a task has no place", func(f *Facts) {
			f.Swarm.Members[1].Availability = "drain"
			f.Swarm.Tasks[1].State, f.Swarm.Tasks[1].Node, f.Swarm.Tasks[1].Err = "pending", "", "no suitable node (1 node not available for new tasks)"
		}, "error node-drained docker2 -", []string{"remedy    labctl exec docker1 -- docker node update --availability active docker2"}},
		{"another swarm", func(f *Facts) {
			f.Nodes[1].Member.NodeID = "other"
			f.Swarm.Members[1].State = "down"
			f.Nodes[1].Networks = slices.Clone(f.Nodes[1].Networks)
			for i, w := range f.Nodes[1].Networks {
				if w.Ingress {
					f.Nodes[1].Networks[i].ID = "its own, with the usual subnet"
				}
			}
		},
			"error other-swarm docker2 -", []string{"remedy    labctl exec docker2 -- docker swarm leave --force"}},
		{"clocks", func(f *Facts) { f.Nodes[1].ClockAhead = -48 * time.Hour; f.Swarm.Members[1].State = "down" },
			"error clocks-differ docker2 -", []string{"symptom   certificates are not valid yet or no longer, joining fails, times in logs do not fit"}},
		{"slow answer is no wrong clock", func(f *Facts) {
			f.Nodes[0].ClockAhead, f.Nodes[0].ClockFuzz = 0, 0
			f.Nodes[1].ClockAhead, f.Nodes[1].ClockFuzz = 15*time.Second, 6*time.Second
		}, "", nil},
		{"a bigger bridge on one node", func(f *Facts) {
			f.Nodes[1].Networks = append(f.Nodes[1].Networks, Network{ID: "x", Name: "dev", Driver: "bridge", Scope: "local", Bridge: "br-x", Subnets: prefixes("172.100.0.0/16")})
			f.Nodes[1].Routes = append(f.Nodes[1].Routes, Route{Dev: "br-x", Dst: prefixes("172.100.0.0/16")[0]})
		}, "error overlay-overlaps-bridge docker2 mynet01,br-x", []string{
			"evidence  docker2: network dev (bridge br-x) has 172.100.0.0/16",
			"cause     the overlay network mynet01 has a subnet inside that of br-x (172.100.0.0/16), a network that exists on each node for itself and that the managers do not see"}},
		{"a route", func(f *Facts) {
			f.Nodes[0].Routes = append(f.Nodes[0].Routes, Route{Dev: "tun0", Dst: prefixes("172.100.0.128/25")[0]})
		}, "error overlay-overlaps-machines docker1 mynet01,172.100.0.128/25", []string{
			"evidence  docker1: route to 172.100.0.128/25 by tun0",
			"cause     the overlay network mynet01 has 172.100.0.0/24, which overlaps a network that docker1 has a route to (172.100.0.128/25): a container looks for those machines inside the overlay, where they are not"}},
		{"the lab's own network, and no node tells its routes", func(f *Facts) {
			f.Subnet = prefixes("172.100.0.0/22")[0]
		}, "error overlay-overlaps-machines docker1,docker2 mynet01,172.100.0.0/22", []string{
			"evidence  lab.toml: the nodes' own network is 172.100.0.0/22"}},
		{"a name server", func(f *Facts) { f.Nodes[1].Nameservers = []netip.Addr{netip.MustParseAddr("172.100.0.53")} },
			"error overlay-hides-nameserver docker2 mynet01", []string{"evidence  docker2: name server 172.100.0.53"}},
		{"two overlays that both have addresses", func(f *Facts) {
			wire(f, 0, "ingress").Subnets = prefixes("172.100.0.0/20")
		}, "error overlay-overlaps-overlay docker1,docker2 mynet01,ingress", []string{
			"cause     the overlay network mynet01 has a subnet inside that of the overlay network ingress (172.100.0.0/20)"}},
		{"peer missing", func(f *Facts) {
			wire(f, 1, "mynet01").Peers = []netip.Addr{netip.MustParseAddr("192.168.33.12")}
		}, "error peer-missing docker2 mynet01", []string{
			"evidence  docker2: peers of mynet01 are 192.168.33.12, without 192.168.33.11 of docker1",
			"cause     in mynet01 some nodes are not known: docker1 by docker2; the nodes tell each other by port 7946, tcp and udp"}},
		{"peer not heard of yet", func(f *Facts) {
			wire(f, 1, "mynet01").Peers = nil
			f.Swarm.Now = f.Swarm.Tasks[0].Since.Add(5 * time.Second)
		}, "", nil},
		{"image missing", func(f *Facts) {
			f.Swarm.Services[0].Image = "shop:1"
			f.Nodes[0].Images = append(f.Nodes[0].Images, "shop:1")
			f.Swarm.Tasks[0].State, f.Swarm.Tasks[0].Err = "rejected", "No such image: shop:1"
		}, "error image-missing docker2 -", []string{"evidence  docker2: task of test01 rejected: No such image: shop:1",
			"docker2: has no image shop:1", "remedy    labctl ssh docker1 -- docker save shop:1 | labctl ssh docker2 -- docker load"}},
		{"toolbox missing", func(f *Facts) { f.Nodes[1].Images = nil },
			"warning image-missing docker2 -", []string{"evidence  docker2: has no image labctl/toolbox:latest", "remedy    labctl create"}},
		{"program missing", func(f *Facts) {
			f.Swarm.Tasks[1].State, f.Swarm.Tasks[1].Err = "failed", `starting container failed: exec: "nginx": executable file not found in $PATH`
		}, "error tasks-fail docker1 -", []string{"cause     the image does not contain the program that it is to run", "remedy    docker run --rm labctl/toolbox:latest ls /bin"}},
		{"unknown error", func(f *Facts) { f.Swarm.Tasks[1].State, f.Swarm.Tasks[1].Err = "rejected", "never seen" },
			"error tasks-fail docker1 -", []string{"cause     the swarm says: never seen", "remedy    docker service ps --no-trunc test01"}},
		{"an update under way, of a task that failed long ago", func(f *Facts) {
			one := f.Swarm.Tasks[0]
			old := Task{ID: "old", Service: one.Service, Slot: one.Slot, Node: one.Node, Desired: "shutdown", State: "failed", Err: "task: non-zero exit (1)", Since: one.Since.Add(-time.Hour)}
			f.Swarm.Tasks[0].Desired, f.Swarm.Tasks[0].State = "shutdown", "shutdown"
			next := Task{ID: "next", Service: one.Service, Slot: one.Slot, Node: one.Node, Desired: "running", State: "preparing", Since: f.Swarm.Now}
			f.Swarm.Tasks = append(f.Swarm.Tasks, old, next)
		}, "", nil},
		{"an update whose new task fails", func(f *Facts) {
			one := f.Swarm.Tasks[0]
			f.Swarm.Tasks[0].Desired, f.Swarm.Tasks[0].State = "shutdown", "shutdown"
			failed := Task{ID: "bad", Service: one.Service, Slot: one.Slot, Node: one.Node, Desired: "shutdown", State: "failed", Err: "task: non-zero exit (1)", Since: f.Swarm.Now.Add(-5 * time.Second)}
			next := Task{ID: "next", Service: one.Service, Slot: one.Slot, Node: one.Node, Desired: "ready", State: "ready", Since: f.Swarm.Now}
			f.Swarm.Tasks = append(f.Swarm.Tasks, failed, next)
		}, "error tasks-fail docker2 -", []string{"cause     the program in the container ends with an error"}},
		{"an old error of a service that runs", func(f *Facts) {
			f.Swarm.Tasks = append(f.Swarm.Tasks, Task{Service: f.Swarm.Services[0].ID, Slot: 1, Desired: "shutdown", State: "rejected", Err: "No such image"})
		}, "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := recorded(t, "healthy-service")
			tt.change(&f)
			found := Judge(f)
			got := ""
			for i, x := range found {
				if i > 0 {
					got += "; "
				}
				got += strings.Join([]string{string(x.Severity), x.ID, list(x.Nodes), list(x.Networks)}, " ")
			}
			out := text(t, f, found)
			if diff := cmp.Diff(tt.want, got); diff != "" {
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

func list(words []string) string {
	if words == nil {
		return "-"
	}
	return strings.Join(words, ",")
}

// Where the wish of a network cannot be read, the log and the networks that
// are there still tell much.
func TestUnknownWish(t *testing.T) {
	f := recorded(t, "overlay")
	wire(&f, 0, "mynet02").Wanted = nil
	found := Judge(f)
	if len(found) != 1 || found[0].ID != OverlapsOverlay {
		t.Fatalf("findings %+v", found)
	}
	want := "the overlay network mynet02 was to have a subnet that another overlay network has: ingress (10.0.0.0/24) or mynet01 (172.100.0.0/24)"
	if diff := cmp.Diff(want, found[0].Cause); diff != "" {
		t.Errorf("cause (-want +got):\n%s", diff)
	}

	f.Nodes[0].RefusedNets = nil
	found = Judge(f)
	if len(found) != 1 || found[0].ID != NotAllocated {
		t.Fatalf("findings %+v", found)
	}
	// A network that was made just now gets its addresses soon.
	f.Swarm.Now = wire(&f, 0, "mynet02").Created.Add(settled - time.Second)
	f.Swarm.Tasks = nil
	if found = Judge(f); found != nil {
		t.Errorf("findings %+v", found)
	}
}

// The proposed subnet collides with nothing that is known.
func TestFreeSubnet(t *testing.T) {
	f := recorded(t, "healthy")
	f.Nodes[1].Routes = append(f.Nodes[1].Routes, Route{Dev: "eth2", Dst: prefixes("10.20.0.0/23")[0]})
	f.Nodes[0].Nameservers = append(f.Nodes[0].Nameservers, netip.MustParseAddr("10.20.2.7"))
	j := &judge{Facts: f}
	j.gatherOverlays()
	if got := j.freeSubnet().String(); got != "10.20.3.0/24" {
		t.Errorf("proposed %s", got)
	}
}

func TestJudgeOfNothing(t *testing.T) {
	if found := Judge(Facts{}); found != nil {
		t.Errorf("findings %+v", found)
	}
}
