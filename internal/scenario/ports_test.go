package scenario

import (
	"net/netip"
	"strings"
	"testing"

	"labctl/internal/config"

	"github.com/google/go-cmp/cmp"
)

func runPorts(t *testing.T, variant string) (*Result, string) {
	t.Helper()
	return replay(t, "ports", variant, nil, Node{Name: "docker3", Role: config.Worker, LabIP: netip.MustParseAddr("192.168.33.13")})
}

// ruled lists what set rules and what took them away, in order.
func ruled(calls string) (out []string) {
	for line := range strings.Lines(calls) {
		line = strings.TrimSpace(line)
		if node, rule, ok := strings.Cut(line, ": sudo -n iptables -D "); ok {
			out = append(out, node+" -D "+rule)
		}
		if words, ok := strings.CutPrefix(line, "host: labctl --config lab.toml --progress plain fault "); ok {
			out = append(out, words)
		}
	}
	return out
}

func TestPortsPasses(t *testing.T) {
	res, calls := runPorts(t, "healthy")
	if !res.Passed {
		t.Fatal(res.Failure.Answers())
	}
	// Each rule is taken away by the remedy, and the fault cleared by the undo.
	want := []string{
		"inject port --port 4789 --node @worker --from @manager",
		"docker2 -D INPUT -s 192.168.33.11/32 -i eth1 -p udp -m udp --dport 4789 -m comment --comment labctl-fault-fb0c4e -j DROP",
		"clear",
		"inject port --port 7946 --node @worker",
		"docker2 -D INPUT -i eth1 -p udp -m udp --dport 7946 -m comment --comment labctl-fault-f5a119 -j DROP",
		"docker2 -D INPUT -i eth1 -p tcp -m tcp --dport 7946 -m comment --comment labctl-fault-f5a119 -j DROP",
		"clear",
	}
	if diff := cmp.Diff(want, ruled(calls)); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	// Diagnose is never told where to look.
	if n := strings.Count(calls, "host: labctl --config lab.toml diagnose\n"); n != 3 {
		t.Errorf("%d calls of diagnose, want 3:\n%s", n, calls)
	}
	cleanedPorts(t, calls)
}

// cleanedPorts asks that the last word on each fault was that it is over, and
// that what was made was removed.
func cleanedPorts(t *testing.T, calls string) {
	t.Helper()
	left := map[string]bool{}
	for line := range strings.Lines(calls) {
		line = strings.TrimSpace(line)
		f := strings.Fields(line)
		last := f[len(f)-1]
		switch {
		case strings.Contains(line, "docker network create"):
			left["network "+last] = true
		case strings.Contains(line, "docker service create"):
			left["service "+f[7]] = true
		case strings.Contains(line, "docker network rm"):
			delete(left, "network "+last)
		case strings.Contains(line, "docker service rm"):
			delete(left, "service "+last)
		case strings.Contains(line, "fault inject"):
			left["fault"] = true
		case strings.Contains(line, "fault clear"):
			delete(left, "fault")
		}
	}
	if len(left) > 0 {
		t.Errorf("left behind: %v\n%s", left, calls)
	}
}

// Two nodes are too few: the third shows what still works.
func TestPortsNeedsThreeNodes(t *testing.T) {
	if diff := cmp.Diff(Needs{Managers: 1, Workers: 2}, loadShipped(t, "ports.md").Head.Needs); diff != "" {
		t.Errorf("needs (-want +got):\n%s", diff)
	}
}

// Every check fails when the lab is not as it should be, or when a fault does
// not show what it should, and says so.
func TestPortsFails(t *testing.T) {
	const start, overlay, gossip = "A sound beginning", "The door of the overlay", "The door of the gossip"
	tests := []struct{ variant, chapter, node, output string }{
		{"unsound", start, "host", "the lab is not sound: do what diagnose says above, then begin again"},
		{"no-iptables", start, "docker2", "docker2 cannot set firewall rules: has it no iptables, or may this user not use sudo?"},
		{"name-taken", start, "docker1", "a network or service called mynet01 is already there: remove it, or choose another name with --set"},
		{"service-taken", start, "docker1", "a network or service called test-docker3 is already there: remove it, or choose another name with --set"},
		{"not-started", start, "docker3", "docker3 runs no container of test-docker3 yet"},
		{"no-answer", start, "docker1", "test-docker3 does not answer the container on docker1"},
		{"overlay-answers", overlay, "docker1", "the symptom does not show: test-docker2 answers"},
		{"overlay-unnamed", overlay, "docker1", "the name test-docker2 does not even resolve, so more is broken than 4789/udp"},
		{"overlay-wider", overlay, "docker1", "test-docker3 does not answer, and it should"},
		{"overlay-gone", overlay, "docker1", "docker1 runs no container of test-docker1"},
		{"overlay-third", overlay, "docker3", "test-docker2 does not answer the container on docker3 either"},
		{"overlay-third-gone", overlay, "docker3", "docker3 runs no container of test-docker3"},
		{"overlay-unseen", overlay, "host", "diagnose finds nothing wrong, though docker2 does not hear docker1"},
		{"overlay-vague", overlay, "host", "diagnose does not say: 4789/udp"},
		{"overlay-helpless", overlay, "host", "diagnose does not say: labctl exec docker2 -- sudo iptables -D INPUT"},
		{"overlay-remains", overlay, "docker2", "test-docker1 does not answer the container on docker2"},
		{"overlay-remains-gone", overlay, "docker2", "docker2 runs no container of test-docker2"},
		{"gossip-peers", gossip, "docker1", "the symptom does not show: 192.168.33.12 is still among the peers"},
		{"gossip-resolves", gossip, "docker1", "the symptom does not show: the name test-docker2 resolves"},
		{"gossip-down", gossip, "docker1", "docker2 is down, so more is broken than 7946"},
		{"gossip-gone", gossip, "docker1", "docker1 runs no container of test-docker1"},
		{"gossip-third", gossip, "docker3", "test-docker1 does not answer the container on docker3 either"},
		{"gossip-third-gone", gossip, "docker3", "docker3 runs no container of test-docker3"},
		{"gossip-unseen", gossip, "host", "diagnose finds nothing wrong, though docker2 hears nobody"},
		{"gossip-vague", gossip, "host", "diagnose does not say: 7946/tcp"},
		{"gossip-forgotten", gossip, "docker3", "docker3 has not heard of 192.168.33.12 yet"},
		{"gossip-remains", gossip, "docker3", "test-docker2 does not answer the container on docker3"},
		{"gossip-remains-gone", gossip, "docker2", "docker2 runs no container of test-docker2"},
	}
	for _, tt := range tests {
		t.Run(tt.variant, func(t *testing.T) {
			t.Parallel()
			res, calls := runPorts(t, tt.variant)
			wantFailure(t, res, tt.chapter, tt.node, tt.output)
			cleanedPorts(t, calls)
		})
	}
}
