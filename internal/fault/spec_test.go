package fault

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/config"
)

// testLab has one manager, and two workers that nobody reaches.
func testLab(t *testing.T) *Lab {
	t.Helper()
	l := &Lab{Dir: t.TempDir(), DataPath: 4789}
	for i, name := range []string{"docker1", "docker2", "docker3"} {
		n := Node{Name: name, Role: config.Worker, IP: netip.AddrFrom4([4]byte{192, 168, 33, byte(11 + i)})}
		if i == 0 {
			n.Role = config.Manager
		}
		l.Nodes = append(l.Nodes, n)
	}
	return l
}

func TestSpecWords(t *testing.T) {
	for _, c := range []struct {
		name string
		spec Spec
		node string
		want string
	}{
		{"the usual port on the last worker", Spec{Kind: Port}, "docker3", "kind=port lab=192.168.33.13 rules=INPUT/udp/4789 seconds=0"},
		{"the lab's own data path", Spec{Kind: Port, Params: map[string]string{"port": "4789"}, Nodes: []string{"@manager"}}, "docker1", "kind=port lab=192.168.33.11 rules=INPUT/udp/4789 seconds=0"},
		{"gossip from one node", Spec{Kind: Port, Params: map[string]string{"port": "7946"}, Nodes: []string{"@worker"}, From: []string{"@manager"}}, "docker2",
			"kind=port lab=192.168.33.12 peers=192.168.33.11 rules=INPUT/tcp/7946 INPUT/udp/7946 seconds=0"},
		{"a worker's way to the managers", Spec{Kind: Port, Params: map[string]string{"port": "2377"}, Nodes: []string{"docker2"}}, "docker2", "kind=port lab=192.168.33.12 rules=OUTPUT/tcp/2377 seconds=0"},
		{"a manager's door", Spec{Kind: Port, Params: map[string]string{"port": "2377"}, Nodes: []string{"docker1"}}, "docker1", "kind=port lab=192.168.33.11 rules=INPUT/tcp/2377 seconds=0"},
		{"one node alone", Spec{Kind: Partition}, "docker3", "kind=partition lab=192.168.33.13 peers=192.168.33.11 192.168.33.12 seconds=0"},
		{"two nodes together", Spec{Kind: Partition, Nodes: []string{"@workers"}}, "docker3", "kind=partition lab=192.168.33.13 peers=192.168.33.11 seconds=0"},
		{"every node alone", Spec{Kind: Partition, Nodes: []string{"@all"}}, "docker3", "kind=partition lab=192.168.33.13 peers=192.168.33.11 192.168.33.12 seconds=0"},
		{"a timer", Spec{Kind: Loss, For: 90 * time.Second}, "docker3", "kind=loss lab=192.168.33.13 peers=192.168.33.11 192.168.33.12 percent=30 seconds=90"},
		{"a clock", Spec{Kind: Clock, Params: map[string]string{"shift": "-90s"}, Nodes: []string{"@worker2"}}, "docker3", "kind=clock lab=192.168.33.13 peers=192.168.33.11 192.168.33.12 shift=-90 seconds=0"},
		{"a subnet", Spec{Kind: SubnetOverlap}, "docker1", "kind=subnet-overlap lab=192.168.33.11 peers=192.168.33.12 192.168.33.13 with=overlay image=labctl/toolbox:latest seconds=0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := testLab(t)
			s, err := c.spec.complete(l)
			if err != nil {
				t.Fatal(err)
			}
			if len(s.Nodes) == 0 || s.Nodes[len(s.Nodes)-1] != c.node {
				t.Errorf("nodes %v, want %s last", s.Nodes, c.node)
			}
			if got := strings.Join(l.words(s, c.node), " "); got != c.want {
				t.Errorf("words\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func TestSpecRefused(t *testing.T) {
	for _, c := range []struct {
		spec Spec
		want string
	}{
		{Spec{Kind: "fire"}, `there is no fault "fire": it must be random, port, partition, loss, delay, bandwidth, mtu, dns, clock, dockerd-stop, node-down, disk-full, cpu, image-missing, subnet-overlap`},
		{Spec{Kind: Port, Params: map[string]string{"port": "22"}}, `--port must be 2377, 7946 or 4789, not "22"`},
		{Spec{Kind: Loss, Params: map[string]string{"percent": "0"}}, `--percent must be a whole number from 1 to 100, not "0"`},
		{Spec{Kind: Loss, Params: map[string]string{"percent": "1e1"}}, `--percent must be a whole number from 1 to 100, not "1e1"`},
		{Spec{Kind: Clock, Params: map[string]string{"shift": "10s"}}, `--shift must be a duration such as 1h or -90s, of 30s to 24h either way, not "10s"`},
		{Spec{Kind: ImageMissing, Params: map[string]string{"image": "--all"}}, `--image must be the name of an image, not "--all"`},
		{Spec{Kind: DNS, Params: map[string]string{"percent": "3"}}, "a fault dns takes no --percent"},
		{Spec{Kind: DNS, From: []string{"docker1"}}, "a fault dns takes no --from"},
		{Spec{Kind: DNS, Nodes: []string{"docker9"}}, `no node "docker9" in this lab: it has docker1, docker2, docker3`},
		{Spec{Kind: DNS, Nodes: []string{"@worker3"}}, `no node "@worker3" in this lab: it has docker1, docker2, docker3`},
		{Spec{Kind: SubnetOverlap, Nodes: []string{"docker1"}}, "a fault subnet-overlap takes no --node: it is about the whole swarm"},
		{Spec{Kind: NodeDown, For: time.Minute}, "a fault node-down takes no --for: a node that is off has no timer; `labctl fault clear` boots it again"},
		{Spec{Kind: DNS, For: time.Millisecond}, "--for 1ms: it must be from 1s to 24h"},
		{Spec{Kind: Loss, Nodes: []string{"docker2"}, From: []string{"docker2"}}, "--from docker2: the fault is on that node itself"},
		{Spec{Kind: Port, Params: map[string]string{"port": "2377"}, Nodes: []string{"docker2"}, From: []string{"docker3"}}, "port 2377 between docker2 and docker3 is not used: workers speak to managers by it"},
	} {
		_, err := c.spec.complete(testLab(t))
		if err == nil || err.Error() != c.want {
			t.Errorf("%+v:\n%v\nwant\n%s", c.spec, err, c.want)
		}
	}
}

func TestCheckWords(t *testing.T) {
	for words, want := range map[string]string{
		"port --port 4789 --node @worker --from=@manager": "",
		"port --port \x00 --for 60s":                      "",
		"random --seed 7":                                 "",
		"subnet-overlap --with bridge":                    "",
		"":                                                "`labctl fault inject` wants the kind of fault first",
		"\x00":                                            "the kind of fault must be written out: no variable",
		"fire":                                            "there is no fault \"fire\": `labctl fault list` names them",
		"port --prot 4789":                                "a fault port takes no --prot",
		"port 4789":                                       "\"4789\" is no option: `labctl fault inject KIND` takes nothing else",
		"port --port":                                     "--port wants a value",
		"loss --percent 200":                              "--percent must be a whole number from 1 to 100, not \"200\"",
		"dns --from docker1":                              "a fault dns takes no --from",
		"node-down --for 3s":                              "a fault node-down takes no --for",
		"random --node docker2":                           "a fault random takes no --node",
		"subnet-overlap --node docker1":                   "a fault subnet-overlap takes no --node",
	} {
		err := CheckWords(strings.Fields(words))
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", words, got, want)
		}
	}
}

func TestCutFromManagers(t *testing.T) {
	for _, c := range []struct {
		nodes, from []string
		want        bool
	}{
		{[]string{"docker2"}, nil, true},
		{[]string{"docker2"}, []string{"docker3"}, false},
		{[]string{"docker2"}, []string{"docker1"}, true},
		{[]string{"docker1"}, []string{"docker2"}, false},
		{[]string{"docker1"}, nil, true},
	} {
		if got := testLab(t).cutFromManagers(Spec{Kind: Partition, Nodes: c.nodes, From: c.from}); got != c.want {
			t.Errorf("%v from %v: %v", c.nodes, c.from, got)
		}
	}
}

// TestDraw wants the same fault for the same seed, every kind once in a while,
// and each of them to be one that can be injected.
func TestDraw(t *testing.T) {
	l := testLab(t)
	seen := map[Kind]bool{}
	for seed := uint64(1); seed < 300; seed++ {
		s, again := seed, seed
		a, b := l.Draw(&s, time.Minute), l.Draw(&again, time.Minute)
		if d := cmp.Diff(a, b); d != "" {
			t.Fatalf("seed %d: %s", seed, d)
		}
		if _, err := a.complete(l); err != nil {
			t.Fatalf("seed %d: %+v: %v", seed, a, err)
		}
		if len(a.Nodes) > 0 && a.Nodes[0] == "docker1" {
			t.Errorf("seed %d breaks the only manager: %+v", seed, a)
		}
		seen[a.Kind] = true
	}
	if want := len(Kinds()) - 2; len(seen) != want { // no node-down, and no bandwidth
		t.Errorf("%d kinds were drawn, want %d: %v", len(seen), want, seen)
	}
	var zero uint64
	l.Draw(&zero, 0)
	if zero == 0 {
		t.Error("no seed was chosen")
	}
}

func TestRecord(t *testing.T) {
	l := testLab(t)
	plain := Record{ID: "f12345", Kind: Port, Params: map[string]string{"port": "7946"}, Nodes: []string{"docker2"}, Since: time.Unix(1700000000, 0).UTC(), Symptom: "s", Undo: "u"}
	mystery := plain
	mystery.ID, mystery.Mystery, mystery.Seed, mystery.Since = "f54321", true, 7, plain.Since.Add(time.Second)
	for _, r := range []Record{mystery, plain} {
		if err := l.save(r); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Noted(l.Dir)
	if d := cmp.Diff([]Record{plain, mystery}, got); err != nil || d != "" {
		t.Errorf("%v %s", err, d)
	}
	if text := string(mystery.Encode()); strings.Contains(text, "7946") || strings.Contains(text, "docker2") || !strings.Contains(text, `"seed":7`) {
		t.Errorf("a mystery is told: %s", text)
	}
	if got, want := plain.Name()+"; "+mystery.Name(), "port 7946 on docker2; a mystery"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if err := Forget(l.Dir, Port); err != nil {
		t.Fatal(err)
	}
	if got, err := Noted(l.Dir); err != nil || len(got) != 0 {
		t.Errorf("%v %v", got, err)
	}
	if _, err := Decode([]byte(`{"id":"../x","kind":"port"}`)); err == nil {
		t.Error("an id that leaves the folder was read")
	}
}
