//go:build linux

package script

import (
	_ "embed"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/moby/moby/api/types/common"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/system"

	"labctl/internal/dockerapi"
	"labctl/internal/remote/sshtest"
)

//go:embed testdata/node.sh
var nodeScript string

// The programs of a node: those that node.sh plays, and this machine's own.
var (
	played = strings.Fields("sh sudo docker systemctl apt-get apt-cache dpkg dpkg-query busybox hostname getent groupadd usermod id uname journalctl ip modprobe date df")
	real   = strings.Fields("awk basename cat chmod cmp cp cut dirname env find flock grep gzip head ln mkdir mktemp mv readlink rm sed sha256sum sleep sort stat tail tar timeout tr true")
)

// node is a machine that SSH reaches; Docker is not on it yet.
type node struct {
	dir    string // stands for "/"
	server *sshtest.Server
}

func startNode(t testing.TB, w *world, name string) *node {
	t.Helper()
	// Not the script's own folder: the path of a socket is short.
	dir, err := os.MkdirTemp("", "node-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, sub := range []string{"bin", "etc/docker", "var/lib", "var/tmp", "run", "tmp", "packages",
		"sys/module/overlay", "sys/module/br_netfilter", "sys/module/vxlan", "sys/module/ip_vs"} {
		must(t, os.MkdirAll(filepath.Join(dir, sub), 0o755))
	}
	for file, text := range map[string]string{
		"etc/os-release": "ID=debian\nVERSION_CODENAME=bookworm\n", "etc/hosts": "127.0.0.1\tlocalhost\n", "hostname": "box\n",
	} {
		must(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644))
	}
	must(t, os.WriteFile(filepath.Join(dir, "bin/node.sh"), []byte(nodeScript), 0o755))
	for _, p := range played {
		must(t, os.Symlink("node.sh", filepath.Join(dir, "bin", p)))
	}
	for _, p := range real {
		path, err := exec.LookPath(p)
		must(t, err)
		must(t, os.Symlink(path, filepath.Join(dir, "bin", p)))
	}
	sock := w.serve(t, name, filepath.Join(dir, "docker.sock"))
	return &node{dir: dir, server: sshtest.Start(t, sshtest.Options{
		Env: []string{"PATH=" + filepath.Join(dir, "bin"), "NODE=" + dir, "TMPDIR=" + filepath.Join(dir, "tmp"), "LC_ALL=C"},
		Socket: func(path string) string {
			_, err := os.Stat(filepath.Join(dir, "dockerd")) // node.sh makes it when dockerd is started
			if path != dockerapi.Socket || err != nil {
				return filepath.Join(dir, "nobody")
			}
			return sock
		},
	})}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world holds the engines of a script's nodes and the swarm that they form.
type world struct {
	mu      sync.Mutex
	engines map[string]*fakeEngine
	nodes   []swarm.Node
}

// fakeEngine answers as Docker 20.10.24 does, as far as labctl asks.
type fakeEngine struct {
	w    *world
	name string
	file string // in which the node's docker command finds its part in the swarm
	info swarm.Info
	// before is called with each question, "GET /nodes", if it is set.
	before func(question string)
}

func (w *world) serve(t testing.TB, name, sock string) string {
	t.Helper()
	lis, err := net.Listen("unix", sock)
	must(t, err)
	e := &fakeEngine{w: w, name: name, file: filepath.Join(filepath.Dir(sock), "swarm"), info: swarm.Info{LocalNodeState: swarm.LocalNodeStateInactive}}
	w.engines[name] = e
	srv := httptest.NewUnstartedServer(e)
	srv.Listener = lis
	srv.Start()
	t.Cleanup(srv.Close)
	return sock
}

var apiVersion = regexp.MustCompile(`^/v1\.\d+`)

var lists = []string{"/services", "/configs", "/secrets", "/containers/json", "/networks", "/volumes"}

func (e *fakeEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	path := apiVersion.ReplaceAllString(r.URL.Path, "")
	e.w.mu.Lock()
	before := e.before
	e.w.mu.Unlock()
	if before != nil {
		before(r.Method + " " + path)
	}
	e.w.mu.Lock()
	defer e.w.mu.Unlock()
	w.Header().Set("Api-Version", "1.41")
	w.Header().Set("Server", "Docker/20.10.24+dfsg1 (linux)")
	w.Header().Set("Content-Type", "application/json")
	reply := func(v any) { _ = json.NewEncoder(w).Encode(v) }
	if _, err := os.Stat(filepath.Join(filepath.Dir(e.file), "empty")); err == nil && slices.Contains(lists, path) {
		// Nothing lives here, for scripts that want an engine to be cleaned.
		_, _ = io.WriteString(w, map[bool]string{true: "{}", false: "[]"}[path == "/volumes"])
		return
	}
	switch path {
	case "/_ping":
	case "/version":
		reply(map[string]string{"Version": "20.10.24+dfsg1", "ApiVersion": "1.41"})
	case "/info":
		reply(system.Info{Swarm: e.info})
	case "/swarm":
		reply(swarm.Swarm{JoinTokens: swarm.JoinTokens{Worker: "SWMTKN-1-worker", Manager: "SWMTKN-1-manager"}})
	case "/nodes":
		reply(e.w.nodes)
	case "/tasks":
		reply([]swarm.Task{})
	case "/swarm/init":
		var req swarm.InitRequest
		_ = json.Unmarshal(body, &req)
		e.enter(req.AdvertiseAddr, true)
		reply(e.info.NodeID)
	case "/swarm/join":
		var req swarm.JoinRequest
		_ = json.Unmarshal(body, &req)
		e.enter(req.AdvertiseAddr, strings.HasSuffix(req.JoinToken, "manager"))
	case "/swarm/leave":
		e.w.nodes = slices.DeleteFunc(e.w.nodes, func(n swarm.Node) bool { return n.ID == e.info.NodeID })
		e.info = swarm.Info{LocalNodeState: swarm.LocalNodeStateInactive}
		_ = os.Remove(e.file)
	default:
		for i, n := range e.w.nodes {
			switch {
			case path == "/nodes/"+n.ID && r.Method == http.MethodDelete:
				e.w.nodes = slices.Delete(e.w.nodes, i, i+1)
				return
			case path == "/nodes/"+n.ID:
				reply(n)
				return
			case path == "/nodes/"+n.ID+"/update":
				e.changeNode(i, body)
				return
			}
		}
		w.WriteHeader(http.StatusNotFound)
		reply(common.ErrorResponse{Message: "page not found"})
	}
}

// changeNode takes a node's new spec; a demoted manager is none any more.
func (e *fakeEngine) changeNode(i int, body []byte) {
	n := &e.w.nodes[i]
	_ = json.Unmarshal(body, &n.Spec)
	if n.Spec.Role == swarm.NodeRoleWorker {
		n.ManagerStatus = nil
		e.w.engines[n.Description.Hostname].info.ControlAvailable = false
	}
}

func (e *fakeEngine) enter(addr string, manager bool) {
	first := len(e.w.nodes) == 0
	e.info = swarm.Info{NodeID: e.name + "-id", NodeAddr: addr, LocalNodeState: swarm.LocalNodeStateActive, ControlAvailable: manager}
	_ = os.WriteFile(e.file, []byte("active "+e.info.NodeID+" "+addr+":2377\n"), 0o644)
	n := swarm.Node{ID: e.info.NodeID}
	n.Spec.Role, n.Spec.Availability = swarm.NodeRoleWorker, swarm.NodeAvailabilityActive
	n.Description.Hostname = e.name
	n.Description.Engine.EngineVersion = "20.10.24+dfsg1"
	n.Status.State, n.Status.Addr = swarm.NodeStateReady, addr
	if manager {
		e.info.Cluster = &swarm.ClusterInfo{ID: "cluster", SubnetSize: 24, DataPathPort: 4789,
			DefaultAddrPool: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
		n.Spec.Role = swarm.NodeRoleManager
		n.ManagerStatus = &swarm.ManagerStatus{Leader: first, Reachability: swarm.ReachabilityReachable, Addr: addr + ":2377"}
	}
	e.w.nodes = append(e.w.nodes, n)
}
