package scenario

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"labctl/internal/config"

	"github.com/google/go-cmp/cmp"
)

// loadShipped reads a document of the tree, which must be free of warnings.
func loadShipped(t *testing.T, name string) *Document {
	t.Helper()
	src, err := os.ReadFile("../../scenarios/" + name)
	if err != nil {
		t.Fatal(err)
	}
	d, warnings, err := Load(name, src)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range warnings {
		t.Error(w)
	}
	return d
}

// replay runs a document over fake programs of testdata/NAME/fake, which
// answer with what was recorded for the variant. Each check has one try.
func replay(t *testing.T, name, variant string, set map[string]string, more ...Node) (*Result, string) {
	t.Helper()
	d := loadShipped(t, name+".md")
	for _, b := range d.Blocks {
		if b.Kind == Check {
			b.Within, b.Every = Span(DefaultTimeout), Span(DefaultTimeout)
		}
	}
	base, err := filepath.Abs(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	state := t.TempDir()
	s := shell{env: []string{
		"PATH=" + filepath.Join(base, "fake") + string(os.PathListSeparator) + os.Getenv("PATH"),
		"FAKE=" + filepath.Join(base, variant), "HEALTHY=" + filepath.Join(base, "healthy"),
		"STATE=" + state, "CALLS=" + filepath.Join(state, "calls"),
	}}
	o := Options{Lab: "lab", Host: s, Set: set, Labctl: filepath.Join(base, "fake", "labctl"), LabFile: "lab.toml", Nodes: []Node{
		{Name: "docker1", Role: config.Manager, LabIP: netip.MustParseAddr("192.168.33.11"), Runner: s},
		{Name: "docker2", Role: config.Worker, LabIP: netip.MustParseAddr("192.168.33.12"), Runner: s},
	}}
	for _, n := range more {
		n.Runner = s
		o.Nodes = append(o.Nodes, n)
	}
	res, err := Run(context.Background(), d, o)
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(filepath.Join(state, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	return res, string(log)
}

func runPing(t *testing.T, variant string, set map[string]string) (*Result, string) {
	t.Helper()
	var more []Node
	if variant == "three-nodes" {
		more = []Node{{Name: "docker3", Role: config.Worker, LabIP: netip.MustParseAddr("192.168.33.13")}}
	}
	return replay(t, "ping", variant, set, more...)
}

// pings is what A's node printed as the table of the six pings.
func pings(t *testing.T, res *Result) string {
	t.Helper()
	for _, b := range res.Blocks {
		if b.Chapter == "Six pings" {
			return b.Nodes[0].Stdout
		}
	}
	t.Fatal("no block in \"Six pings\"")
	return ""
}

// Both programs called ping, busybox's and iputils', lead to such a table.
func TestPingPasses(t *testing.T) {
	const roles = `A docker1 b7e62b7191a2 test01.4.5jeqm4f7dohj3h409gq8gi3n7 172.100.0.6
B docker1 62a0d4ad12dc test01.2.ve8xylutpoztcvlanh4hd7ip8 172.100.0.4
C docker2 ffb3011db3d0 test01.3.95v4kfvexc2pns7ijgh8by3fv 172.100.0.5
D docker2 cf719864feba test01.1.4zojmjpaarjbka0v40q0igpcs 172.100.0.3`
	for variant, table := range map[string]string{
		"healthy": `FROM TO FORM ADDRESS         VERDICT       RTT_MS TARGET
A    B  ip   172.100.0.4     ok            1.600  172.100.0.4
A    B  id   172.100.0.4     ok            1.200  62a0d4ad12dc
A    B  name 172.100.0.4     ok            1.100  test01.2.ve8xylutpoztcvlanh4hd7ip8
A    D  ip   172.100.0.3     ok            4.800  172.100.0.3
A    D  id   172.100.0.3     ok            3.400  cf719864feba
A    D  name 172.100.0.3     ok            2.900  test01.1.4zojmjpaarjbka0v40q0igpcs
`,
		"iputils": `FROM TO FORM ADDRESS         VERDICT       RTT_MS TARGET
A    B  ip   172.100.0.4     ok            0.080  172.100.0.4
A    B  id   172.100.0.4     ok            0.060  62a0d4ad12dc
A    B  name 172.100.0.4     ok            0.055  test01.2.ve8xylutpoztcvlanh4hd7ip8
A    D  ip   172.100.0.3     ok            0.240  172.100.0.3
A    D  id   172.100.0.3     ok            0.170  cf719864feba
A    D  name 172.100.0.3     ok            0.145  test01.1.4zojmjpaarjbka0v40q0igpcs
`,
	} {
		t.Run(variant, func(t *testing.T) {
			res, calls := runPing(t, variant, nil)
			if !res.Passed {
				t.Fatal(res.Failure.Answers())
			}
			if diff := cmp.Diff(table, pings(t, res)); diff != "" {
				t.Errorf("table (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(roles, res.Saved["ROLES"]); diff != "" {
				t.Errorf("ROLES (-want +got):\n%s", diff)
			}
			for _, line := range []string{
				"docker1: docker network create -d overlay --subnet 172.100.0.0/24 mynet01\n",
				"docker1: docker service create --detach --no-resolve-image --name test01 --network mynet01 --replicas 4 --stop-grace-period 1s labctl/toolbox tail -f /dev/null\n",
				"docker1: docker exec b7e62b7191a2 ping -c 2 -W 2 test01.1.4zojmjpaarjbka0v40q0igpcs\n",
				"docker1: docker service rm test01\ndocker1: docker network rm mynet01\n",
			} {
				if strings.Count(calls, line) != 1 {
					t.Errorf("not once: %q in\n%s", line, calls)
				}
			}
			if n := strings.Count(calls, "docker exec"); n != 6 {
				t.Errorf("%d pings", n)
			}
		})
	}
}

// Every block of the document can fail, and says what a trainee needs.
func TestPingCanFail(t *testing.T) {
	tests := []struct {
		variant string
		set     map[string]string
		chapter string
		node    string
		output  string // its end
		cleaned bool
	}{
		{"one-node", nil, "Before you begin", "docker1",
			"1 node(s) ready for work, 2 are needed: is Docker running on the others, and did they join?", false},
		{"name-taken", nil, "Before you begin", "docker1",
			"a network or service called test01 is already there: remove it, or choose another name with --set", false},
		{"three-nodes", map[string]string{"replicas": "3"}, "Before you begin", "docker1",
			"of 3 replicas on 3 nodes no two need to share a node: use --set replicas=6", false},
		{"replica-missing", nil, "Four idle containers", "docker1",
			"an error was seen:  \\_ test01.4 on docker1: No such image: labctl/toolbox:latest\n3/4 replicas run", true},
		{"no-container", nil, "Who is who", "docker2",
			"docker2 runs no container of test01: `docker service ps test01` on the manager shows where they went", true},
		{"no-address", nil, "Who is who", "docker2",
			"test01.3.95v4kfvexc2pns7ijgh8by3fv has no address in the network yet", true},
		{"alone", nil, "Who is who", "docker1",
			"two containers of one node are needed, and one of another: is a node drained, or was it away when they started?", true},
		{"peer-missing", nil, "The nodes know each other", "docker2",
			"peers: 192.168.33.12 \n192.168.33.11 is missing from the peers that docker2 sees: did that node join with --advertise-addr 192.168.33.11?", true},
		{"peer-nat", nil, "The nodes know each other", "docker1",
			"peers: 192.168.33.11 10.0.2.15 \n192.168.33.12 is missing from the peers that docker1 sees: did that node join with --advertise-addr 192.168.33.12?", true},
		{"cut", nil, "Six pings", "docker1",
			"A    D  name 172.100.0.3     lost          -      test01.1.4zojmjpaarjbka0v40q0igpcs\n" +
				"A -> D by ip: 0 of 2 packets came back\n" +
				"A -> D by id: 0 of 2 packets came back\n" +
				"A -> D by name: 0 of 2 packets came back\n" +
				"on one node it works, between the nodes it does not: is 4789/udp open from docker1 to docker2 and back?", true},
		{"one-lost", nil, "Six pings", "docker1",
			"A -> B by name: 1 of 2 packets came back\n" +
				"packets get lost now and then: is a node busy with something else?", true},
		{"astray", nil, "Six pings", "docker1",
			"A -> D by name: test01.1.4zojmjpaarjbka0v40q0igpcs leads to 172.100.0.5, but docker inspect says 172.100.0.3\n" +
				"addresses answer, names do not: ask A whom it asks, with docker exec b7e62b7191a2 cat /etc/resolv.conf", true},
		{"no-names", nil, "Six pings", "docker1",
			"A -> B by id: no ping was sent: ping: bad address '62a0d4ad12dc'\n" +
				"A -> D by id: no ping was sent: ping: bad address 'cf719864feba'\n" +
				"addresses answer, names do not: ask A whom it asks, with docker exec b7e62b7191a2 cat /etc/resolv.conf", true},
		{"no-program", nil, "Six pings", "docker1",
			"A and B share docker1, so no cable is to blame: look at the containers themselves", true},
	}
	for _, tt := range tests {
		t.Run(tt.variant, func(t *testing.T) {
			t.Parallel()
			res, calls := runPing(t, tt.variant, tt.set)
			wantFailure(t, res, tt.chapter, tt.node, tt.output)
			if got := strings.Contains(calls, "docker service rm"); got != tt.cleaned {
				t.Errorf("service removed: %t, want %t", got, tt.cleaned)
			}
		})
	}
}

func wantFailure(t *testing.T, res *Result, chapter, node, output string) {
	t.Helper()
	if res.Failure == nil {
		t.Fatal("it passed")
	}
	f := res.Failure
	if f.Chapter != chapter || f.Node != node {
		t.Errorf("failed in %q on %s, want %q on %s", f.Chapter, f.Node, chapter, node)
	}
	if !strings.HasSuffix(f.Output, output) {
		t.Errorf("output:\n%s\nwant it to end with:\n%s", f.Output, output)
	}
	if len(res.CleanupFailures) > 0 {
		t.Error(res.CleanupFailures[0].Answers())
	}
}
