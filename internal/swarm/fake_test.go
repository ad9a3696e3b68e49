package swarm

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/common"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"

	"labctl/internal/config"
)

const (
	workerToken  = "SWMTKN-1-worker0secret0worker-aaaa"
	managerToken = "SWMTKN-1-manager0secret0manager-bbbb"
)

// world is a set of fake engines that know each other, as Docker 20.10.24
// behaves; requests go over HTTP through the real client.
type world struct {
	t       *testing.T
	mu      sync.Mutex
	engines map[string]*engine // by name
	nodes   []swarm.Node       // the node list of the swarm at docker1
	log     []string           // "docker1 POST /swarm/init {…}", no reads
	bridges []string           // the same of networks
	ids     int
}

// engine is one node's. The fields may be set by a test before it starts.
type engine struct {
	w    *world
	m    Member
	info swarm.Info
	// onJoin replaces the normal course of a join.
	onJoin func(e *engine, w http.ResponseWriter, req swarm.JoinRequest)
	// outOfSequence is how many node updates still fail for it.
	outOfSequence int
	// infoHook runs before each answer to info.
	infoHook func(e *engine)
}

func newWorld(t *testing.T, roles ...config.Role) (*world, []Member) {
	t.Helper()
	w := &world{t: t, engines: map[string]*engine{}}
	var all []Member
	for i, role := range roles {
		e := &engine{w: w, info: swarm.Info{LocalNodeState: swarm.LocalNodeStateInactive}}
		srv := httptest.NewServer(e)
		t.Cleanup(srv.Close)
		cli, err := client.New(client.WithHost("tcp://" + srv.Listener.Addr().String()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cli.Close() })
		e.m = Member{Name: fmt.Sprintf("docker%d", i+1), Role: role,
			Addr: netip.AddrFrom4([4]byte{192, 168, 33, byte(11 + i)}), API: cli}
		w.engines[e.m.Name] = e
		all = append(all, e.m)
	}
	return w, all
}

// quick is normal for tests.
func quick() pace {
	return pace{interval: 5 * time.Millisecond, call: 5 * time.Second, act: 5 * time.Second,
		settle: 50 * time.Millisecond, join: 100 * time.Millisecond, role: 100 * time.Millisecond, down: 100 * time.Millisecond}
}

func (w *world) newID(name string) string {
	w.ids++
	return fmt.Sprintf("%s-id%d", name, w.ids)
}

// add lists a node in the swarm.
func (w *world) add(e *engine, id, addr string, role swarm.NodeRole, leader bool) {
	n := swarm.Node{ID: id}
	n.Version.Index = 7
	n.Spec.Role, n.Spec.Availability = role, swarm.NodeAvailabilityActive
	n.Description.Hostname = e.m.Name
	n.Description.Engine.EngineVersion = "20.10.24"
	n.Status.State, n.Status.Addr = swarm.NodeStateReady, addr
	if role == swarm.NodeRoleManager {
		n.ManagerStatus = &swarm.ManagerStatus{Leader: leader, Reachability: swarm.ReachabilityReachable, Addr: addr + ":2377"}
	}
	w.nodes = append(w.nodes, n)
}

// form makes a swarm of all at once, without requests.
func (w *world) form() {
	for i := range len(w.engines) {
		e := w.engines[fmt.Sprintf("docker%d", i+1)]
		e.enter(w.newID(e.m.Name), e.m.Addr.String(), "cluster1", e.m.Role == config.Manager)
		w.add(e, e.info.NodeID, e.m.Addr.String(), swarm.NodeRole(e.m.Role), i == 0)
	}
}

func (e *engine) enter(id, addr, cluster string, manager bool) {
	e.info = swarm.Info{NodeID: id, NodeAddr: addr, LocalNodeState: swarm.LocalNodeStateActive, ControlAvailable: manager,
		RemoteManagers: []swarm.Peer{{NodeID: "docker1-id1", Addr: "192.168.33.11:2377"}}}
	if manager {
		e.info.Cluster = &swarm.ClusterInfo{ID: cluster, SubnetSize: 24,
			DefaultAddrPool: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, DataPathPort: 4789}
	}
}

func (e *engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	e.w.mu.Lock()
	defer e.w.mu.Unlock()
	w.Header().Set("Api-Version", "1.41")
	w.Header().Set("Content-Type", "application/json")
	path := regexp.MustCompile(`^/v1\.41`).ReplaceAllString(r.URL.Path, "")
	if r.Method == http.MethodPost || r.Method == http.MethodDelete {
		line := e.m.Name + " " + r.Method + " " + path
		if r.URL.RawQuery != "" {
			line += "?" + r.URL.RawQuery
		}
		to := &e.w.log
		if path == "/networks/create" {
			to = &e.w.bridges
		}
		*to = append(*to, strings.TrimSpace(line+" "+string(body)))
	}
	switch {
	case path == "/_ping":
	case path == "/info":
		if e.infoHook != nil {
			e.infoHook(e)
		}
		reply(w, system.Info{Swarm: e.info})
	case path == "/swarm/init":
		var req swarm.InitRequest
		must(e.w.t, json.Unmarshal(body, &req))
		e.enter(e.w.newID(e.m.Name), req.AdvertiseAddr, "cluster1", true)
		if len(req.DefaultAddrPool) > 0 {
			e.info.Cluster.DefaultAddrPool = req.DefaultAddrPool
		}
		if req.DataPathPort != 0 {
			e.info.Cluster.DataPathPort = req.DataPathPort
		}
		e.w.add(e, e.info.NodeID, req.AdvertiseAddr, swarm.NodeRoleManager, true)
		reply(w, e.info.NodeID)
	case path == "/networks/create":
		fail(w, http.StatusConflict, "network with name docker_gwbridge already exists")
	case path == "/swarm/join":
		var req swarm.JoinRequest
		must(e.w.t, json.Unmarshal(body, &req))
		if e.onJoin != nil {
			e.onJoin(e, w, req)
			return
		}
		e.joined(req)
	case path == "/swarm/leave":
		for i := range e.w.nodes {
			if e.w.nodes[i].ID == e.info.NodeID {
				e.w.nodes[i].Status.State = swarm.NodeStateDown
			}
		}
		e.info = swarm.Info{LocalNodeState: swarm.LocalNodeStateInactive}
	case path == "/swarm":
		if !e.info.ControlAvailable {
			fail(w, http.StatusServiceUnavailable, "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.")
			return
		}
		var s swarm.Swarm
		if e.info.Cluster != nil {
			s.ClusterInfo = *e.info.Cluster
		}
		s.JoinTokens = swarm.JoinTokens{Worker: workerToken, Manager: managerToken}
		reply(w, s)
	case path == "/nodes":
		reply(w, e.w.nodes)
	case strings.HasPrefix(path, "/nodes/"):
		e.node(w, r, strings.Split(path, "/")[2], body)
	default:
		fail(w, 404, "page not found")
	}
}

// joined is what a join does in the end.
func (e *engine) joined(req swarm.JoinRequest) {
	manager := req.JoinToken == managerToken
	role := swarm.NodeRoleWorker
	if manager {
		role = swarm.NodeRoleManager
	}
	e.enter(e.w.newID(e.m.Name), req.AdvertiseAddr, "cluster1", manager)
	e.w.add(e, e.info.NodeID, req.AdvertiseAddr, role, false)
}

func (e *engine) node(w http.ResponseWriter, r *http.Request, id string, body []byte) {
	for i := range e.w.nodes {
		n := &e.w.nodes[i]
		if n.ID != id {
			continue
		}
		switch r.Method {
		case http.MethodGet:
			reply(w, n)
		case http.MethodPost:
			if e.outOfSequence > 0 {
				e.outOfSequence--
				n.Version.Index++
				fail(w, 500, "rpc error: code = Unknown desc = update out of sequence")
				return
			}
			must(e.w.t, json.Unmarshal(body, &n.Spec))
			n.Version.Index++
			manager := n.Spec.Role == swarm.NodeRoleManager
			n.ManagerStatus = nil
			if manager {
				n.ManagerStatus = &swarm.ManagerStatus{Reachability: swarm.ReachabilityReachable, Addr: n.Status.Addr + ":2377"}
			}
			for _, other := range e.w.engines {
				if other.info.NodeID == id {
					other.info.ControlAvailable = manager
				}
			}
		case http.MethodDelete:
			if n.Spec.Role == swarm.NodeRoleManager {
				fail(w, 400, "rpc error: code = FailedPrecondition desc = node "+id+" is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal")
				return
			}
			e.w.nodes = append(e.w.nodes[:i:i], e.w.nodes[i+1:]...)
		}
		return
	}
	fail(w, 404, "node "+id+" not found")
}

func reply(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }

func fail(w http.ResponseWriter, code int, message string) {
	w.WriteHeader(code)
	reply(w, common.ErrorResponse{Message: message})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// wantError compares an error's whole text.
func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Errorf("error %v\nwant  %s", err, want)
	}
}
