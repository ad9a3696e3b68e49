package swarm

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/swarm"

	"labctl/internal/config"
)

func TestVerifyListsEverything(t *testing.T) {
	w, all := newWorld(t, config.Manager, config.Worker, config.Worker, config.Manager)
	w.form()
	w.nodes[0].Status.Addr = "0.0.0.0" // a manager that talks to itself
	w.nodes[1].Status.State = swarm.NodeStateDown
	w.nodes[1].Status.Addr = ""
	w.nodes[1].Spec.Availability = swarm.NodeAvailabilityDrain
	w.nodes[3].ManagerStatus = &swarm.ManagerStatus{Reachability: swarm.ReachabilityUnreachable, Addr: "10.0.2.15:2377"}
	twin := w.nodes[3]
	twin.ID, twin.Status.State = "old", swarm.NodeStateUnknown
	former := w.nodes[3]
	former.ID, former.Status.State = "former", swarm.NodeStateDown
	stranger := w.nodes[2]
	stranger.ID, stranger.Description.Hostname = "x", "stranger"
	w.nodes[0].ManagerStatus.Leader = false
	w.nodes = []swarm.Node{stranger, twin, former, w.nodes[3], w.nodes[1], w.nodes[0]} // docker3 is missing

	var reasons []string
	states, err := quick().verify(t.Context(), all[0], all, 30*time.Millisecond, func(r string) { reasons = append(reasons, r) })
	lines := []string{
		"docker2: state down, want ready",
		"docker2: availability drain, want active",
		"docker2: address unknown, want 192.168.33.12",
		"docker3: not in the swarm's node list",
		"docker4: manager address 10.0.2.15:2377, want 192.168.33.14:2377",
		"docker4: manager reachability unreachable, want reachable",
		"docker4: listed once more, as old in state unknown",
		"the swarm has no leader",
	}
	wantError(t, err, "the swarm is not as lab.toml wants it after 30ms:\n  "+strings.Join(lines, "\n  "))
	if diff := cmp.Diff([]string{strings.Join(lines, "; ")}, reasons); diff != "" {
		t.Error(diff)
	}
	var order []string
	for _, s := range states {
		order = append(order, s.Name+" "+s.ID+" "+s.Addr.String())
	}
	if diff := cmp.Diff([]string{"docker1 docker1-id1 192.168.33.11", "docker2 docker2-id2 invalid IP",
		"docker4 docker4-id4 192.168.33.14", "stranger x 192.168.33.13", "docker4 old 192.168.33.14", "docker4 former 192.168.33.14"}, order); diff != "" {
		t.Error(diff)
	}
}

func TestVerifyWaits(t *testing.T) {
	w, all := newWorld(t, config.Manager, config.Worker)
	w.form()
	w.nodes[1].Status.State = swarm.NodeStateUnknown
	_, err := quick().verify(t.Context(), all[0], all, 10*time.Second, func(r string) {
		if r != "docker2: state unknown, want ready" {
			t.Errorf("reason %s", r)
		}
		w.mu.Lock()
		w.nodes[1].Status.State = swarm.NodeStateReady
		w.mu.Unlock()
	})
	if err != nil {
		t.Error(err)
	}
}

func TestVerifyFindsWrongAddress(t *testing.T) {
	w, all := newWorld(t, config.Manager, config.Worker)
	w.form()
	w.nodes[1].Status.Addr = "10.0.2.15"
	_, err := quick().verify(t.Context(), all[0], all, 10*time.Millisecond, nil)
	wantError(t, err, "the swarm is not as lab.toml wants it after 10ms:\n  docker2: address 10.0.2.15, want 192.168.33.12")
}

func TestLeave(t *testing.T) {
	w, all := newWorld(t, config.Manager, config.Worker)
	w.form()
	for _, wantChanged := range []bool{true, false} {
		if changed, err := Leave(t.Context(), all[1], false); err != nil || changed != wantChanged {
			t.Errorf("changed %v, %v", changed, err)
		}
	}
	if changed, err := Leave(t.Context(), all[0], true); err != nil || !changed {
		t.Errorf("changed %v, %v", changed, err)
	}
	if diff := cmp.Diff([]string{"docker2 POST /swarm/leave", "docker1 POST /swarm/leave?force=1"}, w.log); diff != "" {
		t.Error(diff)
	}
}

func TestPruneFormer(t *testing.T) {
	w, all := newWorld(t, config.Manager, config.Worker, config.Manager)
	w.form()
	entry := func(like int, id, host string, state swarm.NodeState) swarm.Node {
		n := w.nodes[like]
		n.ID, n.Description.Hostname, n.Status.State = id, host, state
		return n
	}
	w.nodes[2].Status.State = swarm.NodeStateDown // today's docker3, just down
	w.nodes = append(w.nodes,
		entry(1, "former2", "docker2", swarm.NodeStateDown),
		entry(2, "former3", "docker3", swarm.NodeStateDown), // was a manager
		entry(1, "remembered", "docker9", swarm.NodeStateDown),
		entry(1, "stranger", "docker8", swarm.NodeStateDown),
		entry(1, "namesake", "docker2", swarm.NodeStateReady),
	)
	removed, err := quick().prune(t.Context(), all[0], all, []string{"remembered", "docker3-id3"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"former2", "former3", "remembered"}, removed); diff != "" {
		t.Error(diff)
	}
	want := []string{
		"docker1 DELETE /nodes/former2?force=1",
		`docker1 POST /nodes/former3/update?version=7 {"Labels":null,"Role":"worker","Availability":"active"}`,
		"docker1 DELETE /nodes/former3?force=1",
		"docker1 DELETE /nodes/remembered?force=1",
	}
	if diff := cmp.Diff(want, w.log); diff != "" {
		t.Error(diff)
	}
}

// A manager misses a node that left only after some seconds.
func TestPruneWaitsForDown(t *testing.T) {
	w, all := newWorld(t, config.Manager, config.Worker)
	w.form()
	old := w.nodes[1]
	old.ID = "former2"
	w.nodes = append(w.nodes, old)
	p := quick()
	p.down = 10 * time.Second
	time.AfterFunc(50*time.Millisecond, func() {
		w.mu.Lock()
		w.nodes[2].Status.State = swarm.NodeStateDown
		w.mu.Unlock()
	})
	removed, err := p.prune(t.Context(), all[0], all, nil)
	if diff := cmp.Diff([]string{"former2"}, removed); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestRedact(t *testing.T) {
	plain := errors.New("plain")
	if got := redact(plain); got != plain {
		t.Errorf("%v is not itself", got)
	}
	err := redact(errors.New("a " + workerToken + ", b SWMKEY-1-abc+/= c"))
	wantError(t, err, "a SWMTKN-[redacted], b SWMKEY-[redacted] c")
}
