package scenario

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"labctl/internal/config"

	"github.com/google/go-cmp/cmp"
)

func runSubnet(t *testing.T, variant string) (*Result, string) {
	t.Helper()
	var more []Node
	if variant == "three-nodes" {
		more = []Node{{Name: "docker3", Role: config.Worker, LabIP: netip.MustParseAddr("192.168.33.13")}}
	}
	return replay(t, "subnet", variant, nil, more...)
}

// made lists the networks and services that were made and removed, in order.
func made(calls string) []string {
	var out []string
	for line := range strings.Lines(calls) {
		f := strings.Fields(line)
		if len(f) > 3 && f[1] == "docker" && (f[3] == "create" || f[3] == "rm") {
			words := []string{f[2], f[3], f[len(f)-1]}
			if i := slices.Index(f, "--network"); i > 0 {
				words[2] = "test01 in " + f[i+1]
			}
			if i := slices.Index(f, "--subnet"); i > 0 {
				words = append(words, f[i+1])
			}
			out = append(out, strings.Join(words, " "))
		}
	}
	return out
}

// What the fake cannot remove any more, since it is not there, counts too.
var (
	cleared  = []string{"service rm test01", "network rm mynet02", "network rm mynet03"}
	remedied = []string{"service rm test01", "network rm mynet02", "network create mynet03 172.101.0.0/24", "service create test01 in mynet03"}
	wholeWay = slices.Concat(
		[]string{"network create mynet01 172.100.0.0/24"},
		[]string{"network create mynet02 172.100.0.0/24", "service create test01 in mynet02"}, remedied, cleared,
		[]string{"network create mynet02 172.17.0.0/16", "service create test01 in mynet02"}, remedied, cleared,
		[]string{"network create mynet02 192.168.33.0/24", "service create test01 in mynet02"}, remedied, cleared,
		[]string{"network rm mynet01"},
	)
)

func TestSubnetPasses(t *testing.T) {
	res, calls := runSubnet(t, "healthy")
	if !res.Passed {
		t.Fatal(res.Failure.Answers())
	}
	if diff := cmp.Diff(wholeWay, made(calls)); diff != "" {
		t.Errorf("made and removed (-want +got):\n%s", diff)
	}
	// Diagnose is never told where to look.
	if n := strings.Count(calls, "host: labctl --config lab.toml diagnose\n"); n != 4 {
		t.Errorf("%d calls of diagnose, want 4:\n%s", n, calls)
	}
}

// An engine that refuses the first network at once is right, and the document
// goes on with the remedy.
func TestSubnetAcceptsRefusal(t *testing.T) {
	res, calls := runSubnet(t, "refused")
	if !res.Passed {
		t.Fatal(res.Failure.Answers())
	}
	want := slices.Concat(wholeWay[:2], []string{"network create mynet03 172.101.0.0/24", "service create test01 in mynet03"}, wholeWay[7:])
	if diff := cmp.Diff(want, made(calls)); diff != "" {
		t.Errorf("made and removed (-want +got):\n%s", diff)
	}
	for _, b := range res.Blocks {
		if b.Kind == Check && b.Chapter == "Another overlay's subnet" {
			want := "this engine refused the network at once: Error response from daemon: " +
				"invalid pool request: Pool overlaps with other one on this address space\n"
			if diff := cmp.Diff(want, b.Nodes[0].Stdout); diff != "" {
				t.Errorf("symptom (-want +got):\n%s", diff)
			}
			break
		}
	}
}

// Every block of the document can fail, says what a trainee needs, and leaves
// nothing behind.
func TestSubnetCanFail(t *testing.T) {
	const (
		begin    = "A sound beginning"
		overlay  = "Another overlay's subnet"
		bridge   = "A bridge's subnet"
		machines = "The machines' own subnet"
	)
	tests := []struct {
		variant, chapter, node string
		output                 string // its end
	}{
		{"unsound", begin, "host", "1 finding\nthe lab is not sound: do what diagnose says above, then begin again"},
		{"name-taken", begin, "docker1", "a network or service called mynet02 is already there: remove it, or choose another name with --set"},
		{"three-nodes", begin, "docker1", "2 replicas are too few for 3 nodes: use --set replicas=3"},
		{"not-created", overlay, "docker1", "Error response from daemon: rpc error: code = Unknown desc = The swarm does not have a leader."},
		{"overlay-driver", overlay, "docker1", "the symptom does not show: mynet02 has got the driver overlay, so its subnet was free"},
		{"overlay-young", overlay, "docker1", "test01.1||New 1 second ago|\ntest01.2||New 4 seconds ago|\n2 of 2 tasks wait without a node, 0 of them for ten seconds and more"},
		{"overlay-runs", overlay, "docker1", "1 of 2 tasks wait without a node, 1 of them for ten seconds and more"},
		{"overlay-unseen", overlay, "host", "diagnose finds nothing wrong, though the tasks of test01 do not start"},
		{"overlay-vague", overlay, "host", "diagnose does not say: mynet01"},
		{"overlay-remains", overlay, "docker1", "an error was seen: test01.2 on docker2: No such image: labctl/toolbox:latest\n1/2 replicas run"},
		{"bridge-runs", bridge, "docker1", "the symptom does not show: 2 tasks run"},
		{"bridge-quiet", bridge, "docker1", "2 tasks were rejected so far, 0 because of an overlap"},
		{"bridge-waits", bridge, "docker1", "0 tasks were rejected so far, 0 because of an overlap"},
		{"bridge-unseen", bridge, "host", "diagnose finds nothing wrong, though the tasks of test01 are rejected"},
		{"bridge-vague", bridge, "host", "diagnose does not say: overlay-overlaps-bridge"},
		{"machines-stuck", machines, "docker1", "1/2 replicas run"},
		{"machines-alone", machines, "docker2", "docker2 runs no container of test01: is it drained, or was it away when they started?"},
		{"machines-mute", machines, "docker1", "the container on docker1 cannot even ping itself: has the image a ping?"},
		{"machines-answer", machines, "docker1", "192.168.33.11 answers\n192.168.33.12 answers\nthe symptom does not show: the container reaches the machines"},
		{"machines-unseen", machines, "host", "diagnose finds nothing wrong, though the containers do not reach the machines"},
		{"machines-vague", machines, "host", "diagnose does not say: 192.168.33.11"},
		{"machines-remain", machines, "docker1", "192.168.33.11 does not answer a container on docker1"},
	}
	for _, tt := range tests {
		t.Run(tt.variant, func(t *testing.T) {
			t.Parallel()
			res, calls := runSubnet(t, tt.variant)
			wantFailure(t, res, tt.chapter, tt.node, tt.output)
			left := map[string]bool{}
			for _, m := range made(calls) {
				switch f := strings.Fields(m); f[1] {
				case "create":
					left[f[0]+" "+f[2]] = true
				case "rm":
					delete(left, f[0]+" "+f[2])
				}
			}
			if tt.variant == "not-created" {
				delete(left, "network mynet02") // asked for, and refused
			}
			if len(left) > 0 {
				t.Errorf("left behind: %v\n%s", left, calls)
			}
		})
	}
}
