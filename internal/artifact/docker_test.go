package artifact

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/client"
)

// engine answers as Docker 20.10.24 does: the text for a path, or a status.
type engine struct {
	answers map[string]string
	hang    []string // paths that get no answer
	// then is called before the answer.
	then func(path string)

	mu    sync.Mutex
	asked []string
	busy  int
	most  int // requests at once
}

var version = regexp.MustCompile(`^/v1\.41`)

func (e *engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := version.ReplaceAllString(r.URL.Path, "")
	if r.URL.RawQuery != "" {
		path += "?" + r.URL.RawQuery
	}
	e.mu.Lock()
	e.asked = append(e.asked, path)
	e.busy++
	e.most = max(e.most, e.busy)
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		e.busy--
		e.mu.Unlock()
	}()
	if e.then != nil {
		e.then(path)
	}
	w.Header().Set("Api-Version", "1.41")
	w.Header().Set("Content-Type", "application/json")
	answer, known := e.answers[path]
	switch {
	case path == "/_ping":
	case slices.Contains(e.hang, path):
		_, _ = w.Write([]byte(answer)) // what came before
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	case !known:
		w.WriteHeader(http.StatusNotFound)
		_ = json.NewEncoder(w).Encode(map[string]string{"message": "no such path: " + path + " " + token + "\nmore"})
	default:
		_, _ = w.Write([]byte(answer))
	}
}

func (e *engine) start(t *testing.T) *client.Client {
	t.Helper()
	srv := httptest.NewServer(e)
	t.Cleanup(srv.Close)
	cli, err := client.New(client.WithHost("tcp://" + srv.Listener.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cli.Close() })
	return cli
}

// frame is a piece of a log as the engine sends it.
func frame(stream byte, text string) string {
	head := make([]byte, 8)
	head[0] = stream
	binary.BigEndian.PutUint32(head[4:], uint32(len(text)))
	return string(head) + text
}

const (
	logs        = "/logs?stderr=1&stdout=1&tail=500&timestamps=1"
	serviceLogs = "/logs?details=1&stderr=1&stdout=1&tail=500&timestamps=1"
)

// manager is a node with one service, an overlay and a container.
func manager() *engine {
	line := func(second int, task, node, text string) string {
		return fmt.Sprintf("2026-01-02T03:04:%02d.000000000Z com.docker.swarm.node.id=%s,com.docker.swarm.service.id=s1,com.docker.swarm.task.id=%s %s\n", second, node, task, text)
	}
	return &engine{answers: map[string]string{
		"/info":              `{"Name":"docker1","HttpProxy":"http://u:passw0rd@proxy:3128","Swarm":{"NodeID":"n1","ControlAvailable":true}}`,
		"/swarm":             `{"ID":"c1","JoinTokens":{"Worker":"` + token + `","Manager":"SWMTKN-1-` + strings.Repeat("m", 50) + `-` + strings.Repeat("s", 25) + `"},"Spec":{"EncryptionConfig":{"AutoLockManagers":true}}}`,
		"/swarm/unlockkey":   `{"UnlockKey":"` + unlock + `"}`,
		"/version":           `{"Version":"20.10.24","ApiVersion":"1.41"}`,
		"/images/json?all=1": `[{"Id":"sha256:1","RepoTags":["labctl/toolbox:1"]}]`,
		"/networks": `[{"Name":"mynet01","Id":"net2","Scope":"swarm","Driver":"overlay","IPAM":{"Config":[{"Subnet":"10.0.1.0/24"}]}},
			{"Name":"bridge","Id":"net1","Scope":"local","Driver":"bridge","IPAM":{"Config":null}}]`,
		"/networks/net1":              `{"Name":"bridge","Odd":"<kept>"}`,
		"/networks/net2?verbose=true": `{"Name":"mynet01","Services":{"test01":{"VIP":"10.0.1.2"}}}`,
		"/containers/json?all=1": `[{"Id":"c1","Names":["/test01.1.k1"],"Image":"labctl/toolbox:1","State":"running","Status":"Up 2 minutes",
			"Ports":[{"PrivatePort":80,"PublicPort":8080,"Type":"tcp"},{"PrivatePort":53,"Type":"udp"}]}]`,
		"/containers/c1/json":   `{"Id":"c1","Config":{"Tty":false,"Env":["TOKEN=` + token + `"]}}`,
		"/containers/c1" + logs: frame(1, "2026-01-02T03:04:05.000000000Z out\n") + frame(2, "2026-01-02T03:04:05.100000000Z SWMKEY-1-abcdef err\n"),
		"/nodes": `[{"ID":"n1","Description":{"Hostname":"docker1","Engine":{"EngineVersion":"20.10.24"}},"Status":{"State":"ready","Addr":"192.168.33.11"},
			"Spec":{"Availability":"active"},"ManagerStatus":{"Leader":true,"Reachability":"reachable"}},
			{"ID":"n2","Description":{"Hostname":"docker2","Engine":{"EngineVersion":"20.10.24"}},"Status":{"State":"down","Addr":"192.168.33.12","Message":"heartbeat\nfailure"},"Spec":{"Availability":"drain"}}]`,
		"/services?status=true": `[{"ID":"s1","Spec":{"Name":"test01","Mode":{"Replicated":{"Replicas":2}},"TaskTemplate":{"ContainerSpec":{"Image":"labctl/toolbox:1"}}},
			"Endpoint":{"Ports":[{"Protocol":"tcp","TargetPort":80,"PublishedPort":8080,"PublishMode":"ingress"}]},"ServiceStatus":{"RunningTasks":1,"DesiredTasks":2}}]`,
		"/tasks": `[{"ID":"k2","ServiceID":"s1","Slot":2,"NodeID":"n2","DesiredState":"running","Spec":{"ContainerSpec":{"Image":"labctl/toolbox:1"}},
			"Status":{"State":"rejected","Timestamp":"2026-01-02T03:04:05Z","Err":"Pool overlaps with other one on this address space"}},
			{"ID":"k1","CreatedAt":"2026-01-02T03:04:05Z","ServiceID":"s1","Slot":1,"NodeID":"n1","DesiredState":"running","Status":{"State":"running"}},
			{"ID":"k0","CreatedAt":"2026-01-02T03:04:01Z","ServiceID":"s1","Slot":1,"NodeID":"n1","DesiredState":"shutdown","Status":{"State":"failed"}},
			{"ID":"g1","ServiceID":"gone","NodeID":"n2","DesiredState":"running","Status":{"State":"new"}}]`,
		"/services/s1" + serviceLogs: frame(2, line(9, "k2", "n2", "late")) + frame(1, line(7, "k1", "n1", "early com.docker.swarm.task.id=k2")) +
			frame(1, line(8, "k9", "n9", token)) + frame(1, "odd\n") + frame(3, "Error grabbing logs: node docker2 is not available\n") + frame(1, line(8, "k2", "n2", "no end")[:50]),
	}}
}

func TestDocker(t *testing.T) {
	e := manager()
	r := newRun(t, "create")
	worker := &engine{answers: map[string]string{"/info": `{}`, "/networks": `[]`, "/containers/json?all=1": `[]`}}
	Collect(t.Context(), r, []Node{
		{Name: "docker1", Runner: sends(archive(t, file("uname.txt", "Linux")), 0, nil), API: e.start(t)},
		{Name: "docker2", API: worker.start(t)},
	}, CollectOptions{})
	files, missing := closed(t, r)
	var names []string
	for _, f := range files {
		name, _, _ := strings.Cut(f, " ")
		names = append(names, name)
	}
	want := []string{
		"nodes/docker1/docker/container-ls.txt",
		"nodes/docker1/docker/container-test01.1.k1.json",
		"nodes/docker1/docker/containers.json",
		"nodes/docker1/docker/images.json",
		"nodes/docker1/docker/info.json",
		"nodes/docker1/docker/logs/container-test01.1.k1.log",
		"nodes/docker1/docker/logs/service-test01.log",
		"nodes/docker1/docker/network-bridge.json",
		"nodes/docker1/docker/network-ls.txt",
		"nodes/docker1/docker/network-mynet01.json",
		"nodes/docker1/docker/networks.json",
		"nodes/docker1/docker/node-ls.txt",
		"nodes/docker1/docker/nodes.json",
		"nodes/docker1/docker/service-ls.txt",
		"nodes/docker1/docker/service-ps.txt",
		"nodes/docker1/docker/services.json",
		"nodes/docker1/docker/swarm.json",
		"nodes/docker1/docker/tasks.json",
		"nodes/docker1/docker/version.json",
		"nodes/docker1/uname.txt",
		"nodes/docker2/docker/container-ls.txt",
		"nodes/docker2/docker/containers.json",
		"nodes/docker2/docker/info.json",
		"nodes/docker2/docker/network-ls.txt",
		"nodes/docker2/docker/networks.json",
	}
	if d := cmp.Diff(want, names); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	want = []string{
		"nodes/docker1/docker/logs/service-test01.log: Error grabbing logs: node docker2 is not available",
		"nodes/docker2: no connection",
		"nodes/docker2/docker/images.json: Error response from daemon: no such path: /images/json?all=1 [redacted]",
		"nodes/docker2/docker/version.json: Error response from daemon: no such path: /version [redacted]",
	}
	if d := cmp.Diff(want, missing); d != "" {
		t.Errorf("missing (-want +got):\n%s", d)
	}
	for name, want := range map[string]string{
		"network-bridge.json": "{\n  \"Name\": \"bridge\",\n  \"Odd\": \"<kept>\"\n}\n",
		"network-ls.txt": `ID     NAME      DRIVER    SCOPE   SUBNETS
net1   bridge    bridge    local   
net2   mynet01   overlay   swarm   10.0.1.0/24
`,
		"container-ls.txt": `ID   NAME          IMAGE              STATE     STATUS         PORTS
c1   test01.1.k1   labctl/toolbox:1   running   Up 2 minutes   8080->80/tcp, 53/udp
`,
		"container-test01.1.k1.json": "{\n  \"Id\": \"c1\",\n  \"Config\": {\n    \"Tty\": false,\n    \"Env\": [\n      \"TOKEN=[redacted]\"\n    ]\n  }\n}\n",
		"node-ls.txt": `ID   HOSTNAME   STATUS   AVAILABILITY   MANAGER STATUS   ADDRESS         ENGINE VERSION   MESSAGE
n1   docker1    ready    active         leader           192.168.33.11   20.10.24         
n2   docker2    down     drain                           192.168.33.12   20.10.24         heartbeat failure
`,
		"service-ls.txt": `ID   NAME     MODE         REPLICAS   IMAGE              PORTS
s1   test01   replicated   1/2        labctl/toolbox:1   8080->80/tcp (ingress)
`,
		"service-ps.txt": `ID   NAME           IMAGE              NODE      DESIRED STATE   CURRENT STATE   SINCE                  ERROR
g1   gone.docker2                      docker2   running         new                                    
k1   test01.1                          docker1   running         running                                
k0   test01.1                          docker1   shutdown        failed                                 
k2   test01.2       labctl/toolbox:1   docker2   running         rejected        2026-01-02T03:04:05Z   Pool overlaps with other one on this address space
`,
		"logs/container-test01.1.k1.log": "2026-01-02T03:04:05.000000000Z out\n2026-01-02T03:04:05.100000000Z [redacted] err\n",
		"logs/service-test01.log": `2026-01-02T03:04:07.000000000Z test01.1@docker1 | early com.docker.swarm.task.id=k2
2026-01-02T03:04:08.000000000Z k9@n9 | [redacted]
2026-01-02T03:04:08.000000000Z com.docker.swarm.no
2026-01-02T03:04:09.000000000Z test01.2@docker2 | late
odd
`,
	} {
		if d := cmp.Diff(want, read(t, filepath.Join(r.Dir(), "nodes/docker1/docker", name))); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	// No secret was asked for but those that must be known to be taken out, and
	// all of it only once.
	for i, path := range e.asked {
		if strings.Contains(path, "secrets") || strings.Contains(path, "configs") || slices.Contains(e.asked[:i], path) {
			t.Errorf("asked for %s", path)
		}
	}
	if e.most > atOnce {
		t.Errorf("%d questions at once", e.most)
	}
}

// What an engine calls its things is no path, and two of them no one file.
func TestHostileNames(t *testing.T) {
	long := strings.Repeat("x", 300)
	e := &engine{answers: map[string]string{
		"/info":                 `{"Swarm":{"ControlAvailable":true}}`,
		"/nodes":                `[]`,
		"/tasks":                `[]`,
		"/services?status=true": `[{"ID":"s1","Spec":{"Name":"../../../../escape"}}]`,
		"/networks":             `[{"Name":"../../escape","Id":"n1"},{"Name":"Web","Id":"n2"},{"Name":"web","Id":"n3"},{"Id":"n4"}]`,
		"/networks/n1":          `{}`, "/networks/n2": `{}`, "/networks/n3": `{}`, "/networks/n4": `{}`,
		"/containers/json?all=1": `[{"Id":"c1","Names":["/../../../escape\u0000\n/x"]},{"Id":"c2","Names":["C:\\escape"]},{"Id":"c3","Names":["` + long + `"]},{"Id":"../c4"}]`,
		"/containers/c1/json":    `{}`, "/containers/c2/json": `{}`, "/containers/c3/json": `{}`,
		"/services/s1" + serviceLogs: "", "/containers/c1" + logs: "", "/containers/c2" + logs: "", "/containers/c3" + logs: "",
	}}
	r := newRun(t, "create")
	parent := filepath.Dir(filepath.Dir(r.Dir()))
	Collect(t.Context(), r, []Node{{Name: "docker1", Runner: sends(archive(t, file("x", "x")), 0, nil), API: e.start(t)}}, CollectOptions{})
	files, missing := closed(t, r)
	var names []string
	for _, f := range files {
		name, _, _ := strings.Cut(f, " ")
		if strings.Contains(name, "/network-") || strings.Contains(name, "/logs/") {
			names = append(names, strings.TrimPrefix(name, "nodes/docker1/docker/"))
		}
	}
	want := []string{
		"logs/container-.._.._.._escape___x.log",
		"logs/container-C__escape.log",
		"logs/container-" + long[:100] + ".log",
		"logs/service-.._.._.._.._escape.log",
		"network-.._.._escape.json",
		"network-Web.json",
		"network-ls.txt",
		"network-n4.json",
		"network-web~2.json",
	}
	if d := cmp.Diff(want, names); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	for _, m := range missing {
		if !strings.HasPrefix(m, "nodes/docker1/docker/") || strings.Contains(m, "\n") {
			t.Errorf("missing: %q", m)
		}
	}
	err := filepath.WalkDir(parent, func(p string, d fs.DirEntry, err error) error {
		if strings.Contains(p, "escape") && !strings.HasPrefix(p, filepath.Join(r.Dir(), "nodes/docker1/docker")+string(filepath.Separator)) {
			t.Errorf("%s has escaped", p)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// An engine that gives no answer costs one deadline, not one a question; one
// that stops at a single question costs the others nothing.
func TestSilentEngine(t *testing.T) {
	dead := &engine{hang: []string{"/info"}}
	half := manager()
	delete(half.answers, "/networks/net2?verbose=true")
	half.answers["/containers/json?all=1"] = `[{"Id":"c1","Names":["/test01.1.k1"]},{"Id":"c2","Names":["/starts"]}]`
	half.hang = []string{"/networks/net2?verbose=true", "/containers/c1" + logs, "/containers/c2/json", "/containers/c2" + logs}
	lost, err := client.New(client.WithHost("unix:///x"), client.WithDialContext(func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("docker3: the SSH connection was lost")
	}))
	if err != nil {
		t.Fatal(err)
	}
	r := newRun(t, "create")
	begin := time.Now()
	script := sends(archive(t, file("x", "x")), 0, nil)
	Collect(t.Context(), r, []Node{
		{Name: "docker1", Runner: script, API: half.start(t)},
		{Name: "docker2", Runner: script, API: dead.start(t)},
		{Name: "docker3", Runner: script, API: lost},
	}, CollectOptions{PerItem: 300 * time.Millisecond})
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	_, missing := closed(t, r)
	want := []string{
		"nodes/docker1/docker/container-starts.json: no answer within 300ms",
		"nodes/docker1/docker/logs/container-starts.log: not asked for: the container itself could not be inspected",
		"nodes/docker1/docker/logs/container-test01.1.k1.log: no answer within 300ms",
		"nodes/docker1/docker/logs/service-test01.log: Error grabbing logs: node docker2 is not available",
		"nodes/docker1/docker/network-mynet01.json: no answer within 300ms",
		"nodes/docker2/docker: the Docker engine was asked for nothing else: no answer within 300ms",
		"nodes/docker3/docker: the Docker engine was asked for nothing else: docker3: the SSH connection was lost",
	}
	if d := cmp.Diff(want, missing); d != "" {
		t.Errorf("missing (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"/_ping", "/info"}, dead.asked); d != "" {
		t.Errorf("asked (-want +got):\n%s", d)
	}
	// What came of a log that hangs is kept.
	want2 := "2026-01-02T03:04:05.000000000Z out\n2026-01-02T03:04:05.100000000Z [redacted] err\n"
	if got := read(t, filepath.Join(r.Dir(), "nodes/docker1/docker/logs/container-test01.1.k1.log")); got != want2 {
		t.Errorf("the log is %q", got)
	}
}

// A node cannot fill the host's disk.
func TestDockerFloods(t *testing.T) {
	r := newRun(t, "create")
	d := &docker{run: r, dir: "nodes/docker1/docker", room: maxFile + 10}
	d.write("huge.log", make([]byte, maxFile+1))
	d.write("most.log", make([]byte, 9))
	d.write("more.log", make([]byte, 2))
	d.write("last.log", make([]byte, 1))
	if got := some(d, "networks", make([]int, maxObjects+2)); len(got) != maxObjects {
		t.Errorf("%d objects are looked at", len(got))
	}
	files, missing := closed(t, r)
	want := []string{"nodes/docker1/docker/huge.log 8388608", "nodes/docker1/docker/last.log 1", "nodes/docker1/docker/most.log 9"}
	if diff := cmp.Diff(want, files); diff != "" || d.count != 3 {
		t.Errorf("%d files (-want +got):\n%s", d.count, diff)
	}
	want = []string{
		"nodes/docker1/docker/huge.log: cut off after 8 MiB of 8388609 bytes",
		"nodes/docker1/docker/more.log: not kept: more than 64 MiB from this engine",
		"nodes/docker1/docker/networks: 2 of 202 left out",
	}
	if diff := cmp.Diff(want, missing); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
}
