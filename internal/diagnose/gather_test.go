package diagnose

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	mobynet "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"

	"labctl/internal/config"
	"labctl/internal/remote"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// fakeAPI is an engine with an overlay that got no addresses.
type fakeAPI struct {
	API
	manager bool
	infoErr error
	nodeErr error
	gone    string // a network that is removed between list and inspection
}

func (f fakeAPI) Info(context.Context, client.InfoOptions) (r client.SystemInfoResult, err error) {
	r.Info.ServerVersion = "20.10.24"
	r.Info.SystemTime = "2026-11-25T08:09:23.209048302Z"
	r.Info.Swarm = swarm.Info{NodeID: "n1", NodeAddr: "192.168.33.11", LocalNodeState: swarm.LocalNodeStateActive, ControlAvailable: f.manager}
	return r, f.infoErr
}

func (fakeAPI) ImageList(context.Context, client.ImageListOptions) (client.ImageListResult, error) {
	return client.ImageListResult{}, nil
}

func (f fakeAPI) NetworkList(context.Context, client.NetworkListOptions) (r client.NetworkListResult, err error) {
	for _, n := range []mobynet.Network{
		{ID: "ov1", Name: "mynet01", Driver: "overlay", Scope: "swarm"},
		{ID: "ov2", Name: "mynet02", Scope: "swarm"},
		{ID: "0123456789abcdef", Name: "dev", Driver: "bridge", Scope: "local",
			IPAM: mobynet.IPAM{Config: []mobynet.IPAMConfig{{Subnet: netip.MustParsePrefix("172.19.0.0/16")}}}},
	} {
		r.Items = append(r.Items, mobynet.Summary{Network: n})
	}
	return r, nil
}

func (f fakeAPI) NetworkInspect(_ context.Context, id string, _ client.NetworkInspectOptions) (r client.NetworkInspectResult, err error) {
	if id == f.gone {
		return r, fmt.Errorf("network %s: %w", id, errdefs.ErrNotFound)
	}
	r.Network.Network = mobynet.Network{ID: id, Name: "mynet01", Driver: "overlay", Scope: "swarm",
		IPAM:  mobynet.IPAM{Config: []mobynet.IPAMConfig{{Subnet: netip.MustParsePrefix("172.100.0.0/24")}}},
		Peers: []mobynet.PeerInfo{{IP: netip.MustParseAddr("192.168.33.12")}, {IP: netip.MustParseAddr("192.168.33.11")}}}
	return r, nil
}

func (f fakeAPI) NodeList(context.Context, client.NodeListOptions) (r client.NodeListResult, err error) {
	return r, f.nodeErr
}

func (fakeAPI) ServiceList(context.Context, client.ServiceListOptions) (r client.ServiceListResult, err error) {
	s := swarm.Service{ID: "s1"}
	s.Spec.Name = "test01"
	s.Spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Image: "web:1"}
	s.Spec.TaskTemplate.Networks = []swarm.NetworkAttachmentConfig{{Target: "ov2"}}
	r.Items = []swarm.Service{s}
	return r, nil
}

func (fakeAPI) TaskList(context.Context, client.TaskListOptions) (r client.TaskListResult, err error) {
	r.Items = []swarm.Task{{ID: "t2", ServiceID: "s1", Slot: 2, DesiredState: "running"}, {ID: "t1", ServiceID: "s1", Slot: 1, DesiredState: "running"}}
	return r, nil
}

// fakeHost answers the scripts.
type fakeHost struct {
	mu       sync.Mutex
	argvs    []string
	scripts  string
	host     string
	wanted   string
	firewall string // "": an empty one
}

func (h *fakeHost) Run(_ context.Context, c remote.Command) (remote.Result, error) {
	if slices.Contains(c.Argv, "perl") { // not there: the tries end before they begin
		return remote.Result{Argv: c.Argv, ExitCode: 127}, nil
	}
	script, err := io.ReadAll(c.Stdin)
	if err != nil {
		return remote.Result{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.argvs = append(h.argvs, strings.Join(c.Argv, " "))
	h.scripts += string(script)
	res := remote.Result{Argv: c.Argv}
	switch {
	case strings.Contains(string(script), "ip -j"):
		res.Stdout = h.host
		if h.firewall != "" {
			res.Stdout = strings.Replace(h.host, "== iptables\n*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n", h.firewall, 1)
		}
		if c.Stdout != nil {
			_, _ = io.WriteString(c.Stdout, res.Stdout)
		}
	case strings.Contains(string(script), "journalctl"):
		res.Stdout = `time="x" level=error msg="Failed allocation for network ov2" error="failed allocating pools and gateway IP for network ov2: Pool overlaps with other one on this address space"` + "\n"
	case strings.Contains(string(script), "ListNetworks"):
		if h.wanted == "" {
			res.ExitCode = 58
		}
		res.Stdout = h.wanted
	}
	return res, nil
}

func lab(t *testing.T) *config.Lab {
	t.Helper()
	l := config.Default()
	if len(l.Nodes) != 2 {
		t.Fatalf("the default lab has %d nodes", len(l.Nodes))
	}
	return l
}

func TestGather(t *testing.T) {
	l := lab(t)
	h := &fakeHost{host: hostAnswer, wanted: base64.StdEncoding.EncodeToString(listNetworks)}
	f := Gather(t.Context(), l, []Target{
		{Node: l.Nodes[0], Runner: h, API: fakeAPI{manager: true}},
		{Node: l.Nodes[1], Err: errors.New("no route to host")},
	})
	n := f.Nodes[0]
	if n.ClockFuzz > time.Minute {
		t.Errorf("fuzz %v", n.ClockFuzz)
	}
	n.ClockAhead, n.ClockFuzz = 0, 0
	want := Node{Name: "docker1", Role: config.Manager, IP: netip.MustParseAddr("192.168.33.11"), Engine: "20.10.24",
		Member: Member{State: "active", NodeID: "n1", Addr: netip.MustParseAddr("192.168.33.11"), Manager: true},
		Networks: []Network{
			{ID: "0123456789abcdef", Name: "dev", Driver: "bridge", Scope: "local", Bridge: "br-0123456789ab", Subnets: prefixes("172.19.0.0/16")},
			{ID: "ov1", Name: "mynet01", Driver: "overlay", Scope: "swarm", Subnets: prefixes("172.100.0.0/24"),
				Peers: []netip.Addr{netip.MustParseAddr("192.168.33.11"), netip.MustParseAddr("192.168.33.12")}},
			{ID: "ov2", Name: "mynet02", Scope: "swarm", Wanted: prefixes("172.100.0.0/24")},
		},
		Addrs: []Addr{{Dev: "eth1", Prefix: netip.MustParsePrefix("192.168.33.11/24")}},
		Routes: []Route{{Dev: "eth1", Dst: netip.MustParsePrefix("192.168.33.0/24")},
			{Dev: "eth1", Dst: netip.MustParsePrefix("10.9.8.7/32"), Via: netip.MustParseAddr("192.168.33.1")}},
		Nameservers: []netip.Addr{netip.MustParseAddr("192.168.121.1")},
		RefusedNets: []string{"ov2"},
		Firewall:    []RuleSet{{By: "iptables", Lines: []string{"*filter", ":INPUT ACCEPT [0:0]"}}},
		System: &System{Now: time.Unix(1764058163, 0).UTC(), Hostname: "docker1", MachineID: "0123456789abcdef0123456789abcdef",
			Links:   []Link{{Dev: "eth1", MTU: 1500, Up: true, Carrier: true, MAC: "52:54:00:00:00:01"}},
			Gateway: Route{Dev: "eth0", Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("192.168.121.1")},
			Blocked: []Route{{Dev: "blackhole", Dst: netip.MustParsePrefix("192.168.33.12/32")}},
			Qdiscs: []Qdisc{{Dev: "eth1", Kind: "netem", Text: "delay 200ms, loss 25%, rate 1000kbit", Loss: 0.25},
				{Dev: "eth0", Kind: "tbf", Text: "rate 10kbit"}},
			Forward: true,
			Modules: []Module{{Name: "overlay", Loaded: true}, {Name: "bridge"},
				{Name: "vxlan", Error: "modprobe: FATAL: Module vxlan not found in directory /lib/modules/6.1"},
				{Name: "ip_vs", Error: "modprobe is told to do something else: install /bin/false"}, {Name: "veth"}},
			Disks: []Disk{{Mount: "/", Size: 6000000, Free: 4200000, Inodes: 400000, FreeInodes: 350000, ReadOnly: true}},
			CPU: CPU{Count: 2, Load: 0.5, Pressure: 12.5, Busy: []Process{{Name: "spin (1) er", PIDs: []int{77}, Share: 0.5}},
				Stopped: []Process{{Name: "dockerd", PIDs: []int{78}}}},
			Memory: Memory{Total: 983040, Available: 500000},
			Units: []Unit{{Name: "docker", Active: "active", Sub: "running", Load: "loaded", File: "enabled", Result: "success"},
				{Name: "containerd", Active: "active", Sub: "running", Load: "loaded"}},
			Swarm:   SwarmFile{Advertise: "192.168.33.11:2377"},
			Daemon:  Daemon{NoTables: true, LogDriver: "none"},
			Sandbox: &Sandbox{Addrs: []Addr{{Dev: "eth0", Prefix: netip.MustParsePrefix("10.0.0.2/24")}}, Rules: []string{"-A PREROUTING -p tcp -m tcp --dport 8080 -j MARK --set-xmark 0x100/0xffffffff"}},
		},
	}
	opt := cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})
	if diff := cmp.Diff(want, n, opt, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("node (-want +got):\n%s", diff)
	}
	if f.Nodes[1].Unreachable != "no route to host" {
		t.Errorf("unreachable %q", f.Nodes[1].Unreachable)
	}
	if f.Swarm == nil || f.Swarm.By != "docker1" || len(f.Swarm.Tasks) != 2 || f.Swarm.Tasks[0].ID != "t1" ||
		f.Swarm.Services[0].Name != "test01" || !slices.Equal(f.Swarm.Services[0].Networks, []string{"ov2"}) {
		t.Errorf("swarm %+v", f.Swarm)
	}
	// One node alone has nobody whose ports it could try.
	if f.Probes != nil || f.DataPath != 4789 {
		t.Errorf("probes %+v, data path %d", f.Probes, f.DataPath)
	}
	slices.Sort(h.argvs)
	if diff := cmp.Diff([]string{"sudo -n sh -eu", "sudo -n sh -eu", "sudo -n sh -u"}, h.argvs); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
}

// What cannot be asked is a fact too.
func TestGatherFails(t *testing.T) {
	l := lab(t)
	for name, tt := range map[string]struct {
		target Target
		check  func(Facts) string
	}{
		"engine": {Target{Runner: &fakeHost{host: hostAnswer}, API: fakeAPI{infoErr: errors.New("refused")}},
			func(f Facts) string { return f.Nodes[0].DockerError + "," + f.Nodes[0].HostError }},
		"host": {Target{Runner: &fakeHost{host: "### date\n1.5\n### addr\n"}, API: fakeAPI{}},
			func(f Facts) string { return f.Nodes[0].DockerError + "," + f.Nodes[0].HostError }},
		"no client": {Target{Runner: &fakeHost{host: hostAnswer}, Err: errors.New("no socket")},
			func(f Facts) string { return f.Nodes[0].DockerError + "," + f.Nodes[0].HostError }},
		"leaderless": {Target{Runner: &fakeHost{host: hostAnswer}, API: fakeAPI{manager: true, nodeErr: errors.New("no leader")}},
			func(f Facts) string { return f.Swarm.By + "," + f.Swarm.Error }},
		"removed meanwhile": {Target{Runner: &fakeHost{host: hostAnswer}, API: fakeAPI{gone: "ov1"}},
			func(f Facts) string { return fmt.Sprint(len(f.Nodes[0].Networks), f.Nodes[0].DockerError) }},
		"wish unknown": {Target{Runner: &fakeHost{host: hostAnswer}, API: fakeAPI{manager: true}},
			func(f Facts) string { return fmt.Sprint(f.Nodes[0].Networks[2].Wanted, f.Nodes[0].RefusedNets) }},
		"engine stopped": {Target{Runner: &fakeHost{host: strings.Replace(hostAnswer, "ActiveState=active", "ActiveState=inactive", 1)}, API: fakeAPI{infoErr: errors.New("it was asked")}},
			func(f Facts) string { return f.Nodes[0].DockerError + "," + f.Nodes[0].System.Units[0].Active }},
		"firewall": {Target{Runner: &fakeHost{host: hostAnswer, firewall: "not allowed\n"}, API: fakeAPI{}},
			func(f Facts) string { return fmt.Sprint(f.Nodes[0].FirewallError, f.Nodes[0].Firewall) }},
	} {
		want := map[string]string{
			"engine": "refused,", "no client": "no socket,", "leaderless": "docker1,no leader", "removed meanwhile": "2",
			"host":           `,the host's answer is not whole: "### date\n1.5\n### addr\n"`,
			"wish unknown":   "[] [ov2]",
			"engine stopped": "docker.service is not active,inactive",
			"firewall":       `the firewall's answer cannot be read: "not allowed\n"[]`,
		}[name]
		t.Run(name, func(t *testing.T) {
			tt.target.Node = l.Nodes[0]
			if got := tt.check(Gather(t.Context(), l, []Target{tt.target})); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	l := lab(t)
	why := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, _, err := Run(ctx, l, []Target{{Node: l.Nodes[0]}}); !errors.Is(err, why) {
		t.Errorf("error %v", err)
	}
}

// No key may stand on a command line, where ps shows it.
func TestKeyTravelsThroughAPipe(t *testing.T) {
	if strings.Count(wantedScript, "swarm-node.key") != 1 || !strings.Contains(wantedScript, "--key /dev/fd/3") ||
		!strings.Contains(wantedScript, "3<<END") || strings.Contains(wantedScript, ">\"") {
		t.Errorf("script:\n%s", wantedScript)
	}
}

// message puts a protobuf field of bytes together.
func message(num byte, parts ...[]byte) []byte {
	value := slices.Concat(parts...)
	out := []byte{num<<3 | 2}
	for n := len(value); ; n >>= 7 {
		if n < 0x80 {
			return append(append(out, byte(n)), value...)
		}
		out = append(out, byte(n)|0x80)
	}
}

// listNetworks is the swarm's answer about ov1 and ov2, laid out as the
// engine's own was; varints and fixed numbers of other fields are passed by.
var listNetworks = slices.Concat([]byte{0, 0, 0, 0, 9},
	message(1, message(1, []byte("ov1")), message(2, []byte{0x08, 0x96, 0x01}), message(3, message(1, message(1, []byte("mynet01"))),
		[]byte{0x38, 0x01, 0x49, 1, 2, 3, 4, 5, 6, 7, 8, 0x55, 1, 2, 3, 4})),
	message(1, message(1, []byte("ov2")), message(3, message(1, message(1, []byte("mynet02"))), message(2, message(1, []byte("overlay"))),
		message(5, message(1, message(1, []byte("default"))), message(3, message(2, []byte("172.100.0.0/24")), message(4, []byte("172.100.0.1")))))),
)

func TestReadWanted(t *testing.T) {
	got, err := readWanted(listNetworks)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]netip.Prefix{"ov1": nil, "ov2": prefixes("172.100.0.0/24")}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("wanted (-want +got):\n%s", diff)
	}
	for _, bad := range [][]byte{nil, {1, 0, 0, 0, 0}, listNetworks[:len(listNetworks)-1], append(slices.Clone(listNetworks), 0x0b)} {
		if _, err := readWanted(bad); err == nil {
			t.Errorf("no error for %q", bad)
		}
	}
}

func FuzzReadWanted(f *testing.F) {
	f.Add(listNetworks)
	f.Add([]byte{0, 0, 0, 0, 0, 0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := readWanted(data)
		if err == nil && got == nil {
			t.Error("neither answer nor error")
		}
	})
}

// otherSwarm is the engine of a manager that knows only these nodes, and calls
// itself the first.
type otherSwarm struct {
	fakeAPI
	ids []string
}

func (o otherSwarm) Info(ctx context.Context, opt client.InfoOptions) (client.SystemInfoResult, error) {
	r, err := o.fakeAPI.Info(ctx, opt)
	r.Info.Swarm.NodeID = o.ids[0]
	return r, err
}

func (o otherSwarm) NodeList(context.Context, client.NodeListOptions) (r client.NodeListResult, err error) {
	for _, id := range o.ids {
		r.Items = append(r.Items, swarm.Node{ID: id})
	}
	return r, nil
}

// A manager that has left and formed a swarm of its own is the stranger, not
// the others, though it is asked first.
func TestGatherAsksTheLargerSwarm(t *testing.T) {
	l := lab(t)
	var targets []Target
	for i, ids := range [][]string{{"n1"}, {"n2", "n3"}, {"n3", "n2"}} {
		n := config.Node{Name: fmt.Sprintf("docker%d", i+1), Role: config.Manager}
		targets = append(targets, Target{Node: n, Runner: &fakeHost{host: hostAnswer}, API: otherSwarm{fakeAPI{manager: true}, ids}})
	}
	f := Gather(t.Context(), l, targets)
	if f.Swarm == nil || f.Swarm.By != "docker2" {
		t.Errorf("asked %+v", f.Swarm)
	}
	var other []string
	for _, x := range Judge(f) {
		if x.ID == OtherSwarm {
			other = append(other, x.Nodes...)
		}
	}
	if !slices.Equal(other, []string{"docker1"}) {
		t.Errorf("in another swarm: %q", other)
	}
}
