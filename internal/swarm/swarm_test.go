package swarm

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/swarm"

	"labctl/internal/config"
)

// The whole way from two engines to a verified swarm, and a second time.
func TestForm(t *testing.T) {
	w, all := newWorld(t, config.Manager, config.Worker)
	leader, worker := all[0], all[1]
	o := Options{Pool: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16")}, SubnetSize: 24, DataPathPort: 4790, Heartbeat: 10 * time.Second}
	ctx := t.Context()
	for round, wantChanged := range []bool{true, false} {
		if changed, err := Init(ctx, leader, o); err != nil || changed != wantChanged {
			t.Fatalf("round %d: init: changed %v, %v", round, changed, err)
		}
		if changed, err := Join(ctx, leader, worker, false); err != nil || changed != wantChanged {
			t.Fatalf("round %d: join: changed %v, %v", round, changed, err)
		}
		got, err := Verify(ctx, leader, all, time.Second, func(r string) { t.Errorf("waits: %s", r) })
		if err != nil {
			t.Fatal(err)
		}
		want := []NodeState{
			{ID: "docker1-id1", Name: "docker1", Role: config.Manager, Addr: all[0].Addr, State: "ready", Availability: "active",
				Leader: true, Reachability: "reachable", ManagerAddr: "192.168.33.11:2377", EngineVersion: "20.10.24"},
			{ID: "docker2-id2", Name: "docker2", Role: config.Worker, Addr: all[1].Addr, State: "ready", Availability: "active", EngineVersion: "20.10.24"},
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Error(diff)
		}
	}
	// Each change was asked for once, with the addresses; the token is in
	// the body of the join alone.
	want := []string{
		`docker1 POST /swarm/init {"ListenAddr":"0.0.0.0:2377","AdvertiseAddr":"192.168.33.11","DataPathAddr":"192.168.33.11","DataPathPort":4790,` +
			`"ForceNewCluster":false,"Spec":{"Labels":null,"Orchestration":{},"Raft":{"ElectionTick":0,"HeartbeatTick":0},"Dispatcher":{"HeartbeatPeriod":10000000000},"CAConfig":{},"TaskDefaults":{},` +
			`"EncryptionConfig":{"AutoLockManagers":false}},"AutoLockManagers":false,"Availability":"","DefaultAddrPool":["10.20.0.0/16"],"SubnetSize":24}`,
		`docker2 POST /swarm/join {"ListenAddr":"0.0.0.0:2377","AdvertiseAddr":"192.168.33.12","DataPathAddr":"192.168.33.12",` +
			`"RemoteAddrs":["192.168.33.11:2377"],"JoinToken":"` + workerToken + `","Availability":""}`,
	}
	for i, node := range []string{"docker1", "docker2"} {
		begin := node + ` POST /networks/create {"Name":"docker_gwbridge","Driver":"bridge",`
		options := `"Options":{"com.docker.network.bridge.enable_icc":"false","com.docker.network.bridge.enable_ip_masquerade":"true","com.docker.network.bridge.name":"docker_gwbridge"}`
		if len(w.bridges) != 2 || !strings.HasPrefix(w.bridges[i], begin) || !strings.Contains(w.bridges[i], options) {
			t.Errorf("bridges %q, want %s…%s", w.bridges, begin, options)
		}
	}
	if diff := cmp.Diff(want, w.log); diff != "" {
		t.Error(diff)
	}
}

// What Ahead has found out is not asked again.
func TestAhead(t *testing.T) {
	w, all := newWorld(t, config.Manager, config.Worker)
	asked := 0
	w.engines["docker2"].infoHook = func(*engine) { asked++ }
	free, err := Ahead(t.Context(), all[1])
	if err != nil || !free || asked != 1 || len(w.bridges) != 1 || !strings.HasPrefix(w.bridges[0], "docker2 ") {
		t.Fatalf("free %v, %v, asked %d times, bridges %q", free, err, asked, w.bridges)
	}
	if _, err := Init(t.Context(), all[0], Options{}); err != nil {
		t.Fatal(err)
	}
	w.engines["docker1"].infoHook = func(*engine) { t.Error("docker1 was asked, too") }
	if changed, err := Join(t.Context(), all[0], all[1], free); err != nil || !changed || asked != 1 || len(w.bridges) != 2 {
		t.Errorf("changed %v, %v, asked %d times, bridges %q", changed, err, asked, w.bridges)
	}
	if free, err := Ahead(t.Context(), all[1]); err != nil || free || len(w.bridges) != 2 {
		t.Errorf("in a swarm: free %v, %v, bridges %q", free, err, w.bridges)
	}
}

func TestJoinAsManager(t *testing.T) {
	w, all := newWorld(t, config.Manager, config.Manager)
	if _, err := Init(t.Context(), all[0], Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := Join(t.Context(), all[0], all[1], false); err != nil {
		t.Fatal(err)
	}
	if last := w.log[len(w.log)-1]; !strings.Contains(last, managerToken) || strings.Contains(last, workerToken) {
		t.Errorf("sent %s", last)
	}
	if _, err := Verify(t.Context(), all[0], all, time.Second, nil); err != nil {
		t.Error(err)
	}
}

func TestInitStates(t *testing.T) {
	pool := Options{Pool: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16")}}
	for _, c := range []struct {
		name string
		o    Options
		set  func(*swarm.Info)
		want string // error; "" for kept
	}{
		{"kept", Options{SubnetSize: 24, DataPathPort: 4789}, func(*swarm.Info) {}, ""},
		{"worker", Options{}, func(i *swarm.Info) { i.ControlAvailable = false }, "docker1: is a worker of a swarm, want it to be a manager"},
		{"address", Options{}, func(i *swarm.Info) { i.NodeAddr = "10.0.2.15" }, "docker1: is a manager at address 10.0.2.15, want 192.168.33.11"},
		{"locked", Options{}, func(i *swarm.Info) { i.LocalNodeState = swarm.LocalNodeStateLocked }, "docker1: its swarm is locked"},
		{"error", Options{}, func(i *swarm.Info) {
			i.LocalNodeState = swarm.LocalNodeStateError
			i.Error = "bad " + workerToken + " there"
		},
			"docker1: its swarm state is error (bad SWMTKN-[redacted] there), want active"},
		{"pending", Options{}, func(i *swarm.Info) { i.LocalNodeState = swarm.LocalNodeStatePending }, "docker1: its swarm state is pending, want active"},
		{"pool", pool, func(*swarm.Info) {}, "docker1: its swarm has the address pool 10.0.0.0/8, want 10.20.0.0/16"},
		{"subnet size", Options{SubnetSize: 26}, func(*swarm.Info) {}, "docker1: its swarm has the subnet size 24, want 26"},
		{"port", Options{DataPathPort: 4790}, func(i *swarm.Info) { i.Cluster.DataPathPort = 0 }, "docker1: its swarm has the data path port 4789, want 4790"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, all := newWorld(t, config.Manager)
			w.form()
			c.set(&w.engines["docker1"].info)
			changed, err := quick().init(t.Context(), all[0], c.o)
			if c.want == "" {
				if err != nil || changed {
					t.Errorf("changed %v, %v", changed, err)
				}
				return
			}
			wantError(t, err, c.want)
			var typed *StateError
			if !errors.As(err, &typed) || typed.Hint() == "" {
				t.Errorf("no hint in %T", err)
			}
			if len(w.log) != 0 {
				t.Errorf("changed something: %q", w.log)
			}
		})
	}
}

// A dockerd that has just started finds its swarm only after a moment.
func TestPendingSettles(t *testing.T) {
	w, all := newWorld(t, config.Manager)
	w.form()
	e := w.engines["docker1"]
	e.info.LocalNodeState = swarm.LocalNodeStatePending
	asked := 0
	e.infoHook = func(e *engine) {
		if asked++; asked == 3 {
			e.info.LocalNodeState = swarm.LocalNodeStateActive
		}
	}
	if changed, err := quick().init(t.Context(), all[0], Options{}); err != nil || changed {
		t.Errorf("changed %v, %v", changed, err)
	}
}

func TestJoinRepairsHalfDone(t *testing.T) {
	for _, state := range []swarm.LocalNodeState{swarm.LocalNodeStatePending, swarm.LocalNodeStateError} {
		w, all := newWorld(t, config.Manager, config.Worker)
		w.form()
		w.nodes = w.nodes[:1]
		w.engines["docker2"].info = swarm.Info{LocalNodeState: state, NodeID: "half"}
		if changed, err := quick().joinNode(t.Context(), all[0], all[1], false); err != nil || !changed {
			t.Errorf("%s: changed %v, %v", state, changed, err)
		}
		if len(w.log) != 2 || w.log[0] != "docker2 POST /swarm/leave?force=1" || !strings.HasPrefix(w.log[1], "docker2 POST /swarm/join {") {
			t.Errorf("%s: sent %q", state, w.log)
		}
	}
}

// The engine gives up its request after 20 s and goes on in the background.
func TestJoinGoesOnInTheBackground(t *testing.T) {
	w, all := newWorld(t, config.Manager, config.Worker)
	w.form()
	w.nodes = w.nodes[:1]
	e := w.engines["docker2"]
	e.info = swarm.Info{LocalNodeState: swarm.LocalNodeStateInactive}
	asked := 0
	e.onJoin = func(e *engine, hw http.ResponseWriter, req swarm.JoinRequest) {
		e.info = swarm.Info{LocalNodeState: swarm.LocalNodeStatePending}
		e.infoHook = func(e *engine) {
			if asked++; asked == 3 {
				e.joined(req)
			}
		}
		fail(hw, 503, "Timeout was reached before node joined.")
	}
	if changed, err := quick().joinNode(t.Context(), all[0], all[1], false); err != nil || !changed {
		t.Errorf("changed %v, %v", changed, err)
	}
}

func TestJoinFails(t *testing.T) {
	for _, c := range []struct {
		name  string
		after swarm.Info
		text  string
		want  string
	}{
		{"stays pending", swarm.Info{LocalNodeState: swarm.LocalNodeStatePending, Error: "rpc error: dial tcp 192.168.33.11:2377: i/o timeout"}, "Timeout was reached before node joined.",
			"docker2: join the swarm of docker1 at 192.168.33.11:2377: state pending after 0s: rpc error: dial tcp 192.168.33.11:2377: i/o timeout"},
		{"refused, token echoed", swarm.Info{LocalNodeState: swarm.LocalNodeStateInactive}, "invalid join token " + workerToken,
			"docker2: join the swarm of docker1 at 192.168.33.11:2377: state inactive after 0s: Error response from daemon: invalid join token SWMTKN-[redacted]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, all := newWorld(t, config.Manager, config.Worker)
			w.form()
			e := w.engines["docker2"]
			e.info = swarm.Info{LocalNodeState: swarm.LocalNodeStateInactive}
			e.onJoin = func(e *engine, hw http.ResponseWriter, _ swarm.JoinRequest) {
				e.info = c.after
				fail(hw, 503, c.text)
			}
			_, err := quick().joinNode(t.Context(), all[0], all[1], false)
			wantError(t, err, c.want)
			var typed *JoinError
			if !errors.As(err, &typed) || !strings.HasPrefix(typed.Hint(), "can docker2 reach 192.168.33.11:2377?") {
				t.Errorf("%T", err)
			}
			for ; err != nil; err = errors.Unwrap(err) {
				if strings.Contains(err.Error(), "secret") {
					t.Errorf("the token shows in %v", err)
				}
			}
		})
	}
}

func TestJoinForeign(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(*swarm.Info)
		want string
	}{
		{"manager of its own swarm", func(i *swarm.Info) {
			i.ControlAvailable, i.Cluster = true, &swarm.ClusterInfo{ID: "other"}
			i.RemoteManagers[0].Addr = "192.168.33.12:2377"
		}, "docker2: is already in another swarm, with its managers at 192.168.33.12:2377"},
		{"worker elsewhere", func(i *swarm.Info) {
			i.NodeID = "unknown"
			i.RemoteManagers = []swarm.Peer{{Addr: "192.168.33.11:2377"}, {Addr: "10.9.9.9:2377"}}
		}, "docker2: is already in another swarm, with its managers at 192.168.33.11:2377, 10.9.9.9:2377"},
		{"worker of nobody", func(i *swarm.Info) { i.NodeID, i.RemoteManagers = "unknown", nil },
			"docker2: is already in another swarm"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, all := newWorld(t, config.Manager, config.Worker)
			w.form()
			c.set(&w.engines["docker2"].info)
			_, err := quick().joinNode(t.Context(), all[0], all[1], false)
			wantError(t, err, c.want)
			var typed *ForeignSwarmError
			if !errors.As(err, &typed) || !strings.Contains(typed.Hint(), "labctl exec docker2 -- docker swarm leave --force") {
				t.Errorf("%T", err)
			}
			if len(w.log) != 0 {
				t.Errorf("changed something: %q", w.log)
			}
		})
	}
}

// docker1 was rebuilt and leads a new swarm; docker2 still waits for the old.
func TestJoinMovesOrphan(t *testing.T) {
	w, all := newWorld(t, config.Manager, config.Worker)
	w.form()
	w.nodes = w.nodes[:1]
	if changed, err := quick().joinNode(t.Context(), all[0], all[1], false); err != nil || !changed {
		t.Errorf("changed %v, %v", changed, err)
	}
	if len(w.log) != 2 || w.log[0] != "docker2 POST /swarm/leave?force=1" {
		t.Errorf("sent %q", w.log)
	}
}

// Joined by hand without --advertise-addr, on a VM with two network cards.
func TestJoinWrongAddress(t *testing.T) {
	w, all := newWorld(t, config.Manager, config.Worker)
	w.form()
	w.engines["docker2"].info.NodeAddr = "10.0.2.15"
	_, err := quick().joinNode(t.Context(), all[0], all[1], false)
	wantError(t, err, "docker2: is in the swarm with address 10.0.2.15, want 192.168.33.12")
}

func TestJoinLeaderWithoutSwarm(t *testing.T) {
	_, all := newWorld(t, config.Manager, config.Worker)
	_, err := quick().joinNode(t.Context(), all[0], all[1], false)
	wantError(t, err, "docker1: leads no swarm that docker2 could join")
}

func TestJoinChangesRole(t *testing.T) {
	w, all := newWorld(t, config.Manager, config.Worker)
	w.form()
	w.engines["docker1"].outOfSequence = 2
	all[1].Role = config.Manager
	for _, wantChanged := range []bool{true, false} {
		if changed, err := quick().joinNode(t.Context(), all[0], all[1], false); err != nil || changed != wantChanged {
			t.Errorf("promote: changed %v, %v", changed, err)
		}
	}
	all[1].Role = config.Worker
	if changed, err := quick().joinNode(t.Context(), all[0], all[1], false); err != nil || !changed {
		t.Errorf("demote: changed %v, %v", changed, err)
	}
	const update = "docker1 POST /nodes/docker2-id2/update?version="
	const manager = ` {"Labels":null,"Role":"manager","Availability":"active"}`
	want := []string{update + "7" + manager, update + "8" + manager, update + "9" + manager,
		update + `10 {"Labels":null,"Role":"worker","Availability":"active"}`}
	if diff := cmp.Diff(want, w.log); diff != "" {
		t.Error(diff)
	}
}

func TestJoinInterrupted(t *testing.T) {
	w, all := newWorld(t, config.Manager, config.Worker)
	w.form()
	e := w.engines["docker2"]
	e.info = swarm.Info{LocalNodeState: swarm.LocalNodeStateInactive}
	ctx, cancel := context.WithCancel(t.Context())
	e.onJoin = func(e *engine, _ http.ResponseWriter, _ swarm.JoinRequest) {
		e.info.LocalNodeState = swarm.LocalNodeStatePending
		cancel()
	}
	_, err := normal().joinNode(ctx, all[0], all[1], false)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if !strings.HasPrefix(err.Error(), "docker2: ") {
		t.Errorf("error %v names no node", err)
	}
}

func TestNoLeader(t *testing.T) {
	said := errors.New("Error response from daemon: rpc error: code = Unknown desc = The swarm does not have a leader. It's possible that too few managers are online.")
	err := failed(Member{Name: "docker1"}, "ask for the join token", said)
	var typed *StateError
	if !errors.As(err, &typed) || typed.Hint() != "labctl diagnose   (it tells what has become of them)" ||
		err.Error() != "docker1: ask for the join token: the swarm has no leader, since half of its managers or more are not there" {
		t.Errorf("error %#v", err)
	}
}
