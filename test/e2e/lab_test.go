package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/ui"
)

// Deadlines are for two cores without KVM that do other things as well.
const (
	createWithin   = 20 * time.Minute
	scenarioWithin = 12 * time.Minute
	shortWithin    = 3 * time.Minute
)

// status is what the tests read of `labctl status --json`.
type status struct {
	Ready bool `json:"ready"`
	Nodes []struct {
		Name, Role, IP, VM, Swarm string
		Leader                    bool
	} `json:"nodes"`
}

func (l *lab) status() status {
	l.t.Helper()
	var st status
	r := l.ok(shortWithin, "status", "--json")
	if err := json.Unmarshal([]byte(r.out), &st); err != nil {
		l.t.Fatalf("status --json: %v\n%s", err, r.out)
	}
	return st
}

// engine is what the tests read of `labctl engine status --json`.
type engine struct {
	Running bool
	PID     int
	NetNS   string
}

func (l *lab) engine() engine {
	l.t.Helper()
	var e engine
	r := l.ok(shortWithin, "engine", "status", "--json")
	if err := json.Unmarshal([]byte(r.out), &e); err != nil {
		l.t.Fatalf("engine status --json: %v\n%s", err, r.out)
	}
	return e
}

// TestLab is the main job from the first command to the last, in one lab.
func TestLab(t *testing.T) {
	needVMs(t)
	before := lookAtHost(t)
	l := newLab(t, "provider = \"embedded\"\n")

	// step runs a part that the following ones build on.
	step := func(name string, f func(t *testing.T)) {
		t.Helper()
		if !t.Run(name, func(t *testing.T) { l.t = t; f(t) }) {
			t.FailNow()
		}
		l.t = t
	}

	step("create is interrupted while the VMs boot", func(t *testing.T) {
		r := l.run(createWithin, func(e ui.Event) bool {
			return e.Step == "boot" && strings.Contains(e.Detail, "Waiting for domain to get an IP address")
		}, "create", "--no-cache")
		if r.code != 130 {
			t.Fatalf("exit code %d, want 130\n%s", r.code, r.err)
		}
		if r.took > 15*time.Second {
			t.Errorf("it took %v to leave, want 15 s at most", r.took)
		}
		if want := "interrupted: what stands is kept; the same command goes on from here"; !strings.Contains(r.err, want) {
			t.Errorf("it says\n%s\nwant %q", r.err, want)
		}
	})

	step("the next create finishes the job", func(t *testing.T) {
		r := l.ok(createWithin, "create", "--no-cache")
		for _, want := range []string{
			"docker1 install docker: done", "docker2 install docker: done",
			"docker1 swarm init: done", "docker2 swarm join: done", "verify: kept",
		} {
			if !strings.Contains(strings.Join(r.steps(), "\n"), want) {
				t.Errorf("no event %q in\n%s", want, strings.Join(r.steps(), "\n"))
			}
		}
		st := l.status()
		if !st.Ready || len(st.Nodes) != 2 {
			t.Errorf("status %+v", st)
		}
		nodes := l.ok(shortWithin, "exec", "docker1", "--", "docker", "node", "ls", "--format", "{{.Hostname}} {{.Status}} {{.ManagerStatus}}")
		if want := "docker1 Ready Leader\ndocker2 Ready \n"; nodes.out != want {
			t.Errorf("docker node ls says %q, want %q", nodes.out, want)
		}
		addr := l.ok(shortWithin, "exec", "@all", "--", "docker", "info", "--format", "{{.Swarm.NodeAddr}}")
		for _, want := range []string{"docker1: 192.168.33.11\n", "docker2: 192.168.33.12\n"} {
			if !strings.Contains(addr.out, want) {
				t.Errorf("advertise addresses %q lack %q", addr.out, want)
			}
		}
		if now := lookAtHost(t); now != before {
			t.Errorf("the host has changed: %s", cmp.Diff(before, now, cmp.AllowUnexported(host{})))
		}
	})

	step("the scenario image is the same on every node", func(t *testing.T) {
		r := l.ok(shortWithin, "exec", "@all", "--", "docker", "image", "inspect", "-f", "{{.Id}}", "labctl/toolbox")
		ids := regexp.MustCompile(`sha256:[0-9a-f]{64}`).FindAllString(r.out, -1)
		if len(ids) != 2 || ids[0] != ids[1] {
			t.Errorf("image ids %q", ids)
		}
	})

	step("a second create changes nothing and takes seconds", func(t *testing.T) {
		r := l.ok(shortWithin, "create")
		for _, s := range r.steps() {
			if !strings.HasSuffix(s, ": kept") {
				t.Errorf("step %q, want kept", s)
			}
		}
		if r.took > time.Minute {
			t.Errorf("it took %v", r.took)
		}
	})

	step("scenario 4-1", func(t *testing.T) {
		networks := func() string {
			return l.ok(shortWithin, "exec", "docker1", "--", "docker", "network", "ls", "--format", "{{.Name}}").out
		}
		before := networks()
		r := l.ok(scenarioWithin, "scenario", "lb")
		if diff := cmp.Diff(before, networks()); diff != "" {
			t.Errorf("the first service changed the networks: %s", diff)
		}
		if !strings.Contains(r.out, "\nPASS: 4-1 Load balancing across hosts: 5 of 5 checks held") {
			t.Errorf("no verdict in\n%s", r.out)
		}
		checkAnswers(t, r.out)
		checkEvidence(t, filepath.Join(l.dir, "artifacts", "latest"))
		left := l.ok(shortWithin, "exec", "docker1", "--", "sh", "-c", "docker service ls -q; docker network ls -q -f name=mynet01")
		if left.out != "" {
			t.Errorf("left behind: %q", left.out)
		}
	})

	step("a sound lab gives diagnose nothing to find", func(t *testing.T) {
		r := l.ok(shortWithin, "diagnose", "--json")
		var d struct{ Findings []json.RawMessage }
		if err := json.Unmarshal([]byte(r.out), &d); err != nil || len(d.Findings) != 0 {
			t.Errorf("%v: %s", err, r.out)
		}
	})

	step("nor does one whose services publish ports", func(t *testing.T) {
		// The time after which ports that do not answer would be told.
		l.ok(shortWithin, "exec", "docker1", "--", "sh", "-c", "docker service create -q --no-resolve-image --name web --replicas 2 --publish 8081:80 labctl/toolbox >/dev/null && sleep 31")
		r := l.ok(shortWithin, "diagnose", "--json")
		var d struct {
			Findings []json.RawMessage
			Facts    struct {
				Probes []struct{ Overlay struct{ Bulk bool } }
			}
		}
		if err := json.Unmarshal([]byte(r.out), &d); err != nil || len(d.Findings) != 0 || len(d.Facts.Probes) != 2 {
			t.Errorf("%v: %s", err, r.out)
		}
		for _, p := range d.Facts.Probes {
			if !p.Overlay.Bulk {
				t.Errorf("the overlay was not tried: %s", r.out)
			}
		}
		l.ok(shortWithin, "exec", "docker1", "--", "docker", "service", "rm", "web")
	})

	step("ssh, Docker's client and Ansible of this machine reach the nodes", func(t *testing.T) { checkExports(t, l) })

	step("scenario 4-2", func(t *testing.T) {
		r := l.ok(scenarioWithin, "scenario", "ping")
		if !strings.Contains(r.out, "\nPASS: 4-2 Containers reach each other: 5 of 5 checks held") {
			t.Errorf("no verdict in\n%s", r.out)
		}
		var pings []string
		for _, row := range ping.FindAllStringSubmatch(r.out, -1) {
			pings = append(pings, strings.Join(row[1:], " "))
		}
		want := []string{"A B ip ok", "A B id ok", "A B name ok", "A D ip ok", "A D id ok", "A D name ok"}
		if diff := cmp.Diff(want, pings); diff != "" {
			t.Errorf("pings: %s\n%s", diff, r.out)
		}
	})

	step("scenario 4-3", func(t *testing.T) {
		r := l.ok(2*scenarioWithin, "scenario", "subnet")
		if !regexp.MustCompile(`\nPASS: 4-3 .*: (\d+) of (\d+) checks held`).MatchString(r.out) {
			t.Errorf("no verdict in\n%s", r.out)
		}
		left := l.ok(shortWithin, "exec", "docker1", "--", "sh", "-c", "docker service ls -q; docker network ls -q -f driver=overlay | wc -l")
		if left.out != "1\n" { // ingress
			t.Errorf("left behind: %q", left.out)
		}
	})

	step("the first document of docs/scenarios.md runs, and stands the test", func(t *testing.T) {
		page, err := os.ReadFile("../../docs/scenarios.md")
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(page), "\n````md\n")
		doc, _, ok := strings.Cut(rest, "\n````\n")
		if !ok {
			t.Fatal("docs/scenarios.md shows no document")
		}
		l.write("first.md", doc+"\n")
		r := l.ok(scenarioWithin, "scenario", "./first.md")
		if want := "\nPASS: my-1 A first look: 1 of 1 checks held"; !strings.Contains(r.out, want) {
			t.Errorf("no %q in\n%s", want, r.out)
		}
		l.ok(scenarioWithin, "scenario", "test", "./first.md")
	})

	step("a check that fails is exit code 3, and the cleanup runs", func(t *testing.T) {
		doc, err := filepath.Abs("testdata/fails.md")
		if err != nil {
			t.Fatal(err)
		}
		r := l.run(shortWithin, nil, "scenario", doc)
		if r.code != 3 {
			t.Fatalf("exit code %d, want 3\n%s%s", r.code, r.out, r.err)
		}
		for _, want := range []string{"fails.md:21: docker2: did not hold within 3s", "no such thing on this node", "\nFAIL: fails A check that fails: 0 of 1 checks held"} {
			if !strings.Contains(r.out, want) {
				t.Errorf("no %q in\n%s", want, r.out)
			}
		}
		if mark := l.run(shortWithin, nil, "exec", "docker1", "--", "test", "-e", "/tmp/labctl-e2e-mark"); mark.code != 1 {
			t.Errorf("the mark is still there (exit code %d)", mark.code)
		}
	})

	step("reset brings back the swarm of create in seconds", func(t *testing.T) {
		mess := "docker network create -d overlay mess >/dev/null; docker service create -q --detach --no-resolve-image --name web --network mess --replicas 2 labctl/toolbox httpd -f >/dev/null"
		l.ok(shortWithin, "exec", "docker1", "--", "sh", "-c", mess)
		l.ok(shortWithin, "exec", "docker2", "--", "sudo", "sh", "-c", "systemctl stop docker.socket docker; iptables -I INPUT -p udp --dport 4789 -j DROP; touch /home/vagrant/mess")
		r := l.ok(shortWithin, "reset")
		if r.took > 30*time.Second {
			t.Errorf("it took %v, want 30 s at most", r.took)
		}
		if st := l.status(); !st.Ready {
			t.Errorf("not ready: %+v", st)
		}
		left := l.ok(shortWithin, "exec", "docker1", "--", "sh", "-c", "docker service ls -q; docker network ls -q -f name=mess")
		left2 := l.ok(shortWithin, "exec", "docker2", "--", "sudo", "sh", "-c", "iptables -S INPUT; ls /home/vagrant")
		if left.out != "" || left2.out != "-P INPUT ACCEPT\n" {
			t.Errorf("left behind: %q, %q", left.out, left2.out)
		}
		now := l.ok(shortWithin, "exec", "@all", "--", "date", "+%s")
		for _, m := range regexp.MustCompile(`docker\d: (\d+)`).FindAllStringSubmatch(now.out, -1) {
			if at, _ := strconv.ParseInt(m[1], 10, 64); time.Since(time.Unix(at, 0)).Abs() > 10*time.Second {
				t.Errorf("a clock is at %s, here it is %d", m[0], time.Now().Unix())
			}
		}
		// The cleaning way, which other providers must be content with.
		l.ok(shortWithin, "exec", "docker1", "--", "sh", "-c", mess)
		l.ok(shortWithin, "reset", "--clean")
		left = l.ok(shortWithin, "exec", "docker1", "--", "sh", "-c", "docker service ls -q; docker network ls -q -f name=mess")
		if left.out != "" {
			t.Errorf("left behind after --clean: %q", left.out)
		}
	})

	step("faults are found, survive a kill, and are undone exactly", func(t *testing.T) { checkFaults(t, l) })

	// The following steps need a sound lab, not these findings.
	t.Run("what is broken is found, alone, and its remedy works", func(t *testing.T) { diagnoseBroken(t, l) })
	l.t = t
	step("reset after all that", func(t *testing.T) { l.ok(shortWithin, "reset") })

	step("ssh and exec pass output and exit code on", func(t *testing.T) {
		r := l.run(shortWithin, nil, "ssh", "docker2", "--", "hostname; exit 7")
		if r.out != "docker2\n" || r.code != 7 {
			t.Errorf("ssh: %q, exit code %d", r.out, r.code)
		}
		r = l.run(shortWithin, nil, "exec", "@workers", "--", "sh", "-c", "hostname; exit 8")
		if r.out != "docker2\n" || r.code != 8 {
			t.Errorf("exec: %q, exit code %d", r.out, r.code)
		}
		shell := l.ok(shortWithin, "engine", "shell", "--", "bash", "-c", "exec 3<>/dev/tcp/192.168.33.11/22; head -c 4 <&3")
		if shell.out != "SSH-" {
			t.Errorf("port 22 of docker1 says %q to a shell of the host", shell.out)
		}
		if r := l.run(shortWithin, nil, "engine", "shell", "--", "sh", "-c", "exit 7"); r.code != 7 {
			t.Errorf("exit code %d, want 7", r.code)
		}
	})

	step("the swarm is left and formed again", func(t *testing.T) {
		l.ok(shortWithin, "swarm", "leave")
		if st := l.status(); st.Ready {
			t.Errorf("still ready: %+v", st)
		}
		l.ok(shortWithin, "swarm", "form")
		if st := l.status(); !st.Ready {
			t.Errorf("not ready: %+v", st)
		}
	})

	step("a node that was powered off comes back with create", func(t *testing.T) {
		pid := strconv.Itoa(l.engine().PID)
		off := exec.Command("nsenter", "-t", pid, "-m", "-n", "virsh", "-c", "qemu:///system", "destroy", "lab_docker2")
		if out, err := off.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if st := l.status(); st.Ready || st.Nodes[1].VM != "powered off" {
			t.Errorf("status %+v", st)
		}
		c := l.ok(shortWithin, "collect")
		if c.took > 90*time.Second {
			t.Errorf("collect took %v with a node that is off", c.took)
		}
		manifest, err := os.ReadFile(filepath.Join(l.dir, "artifacts", "latest", "manifest.json"))
		if err != nil {
			t.Fatal(err)
		}
		var m struct {
			Files   []struct{ Name string }
			Missing []struct{ Name, Reason string }
		}
		if err := json.Unmarshal(manifest, &m); err != nil {
			t.Fatal(err)
		}
		lacks := slices.ContainsFunc(m.Missing, func(x struct{ Name, Reason string }) bool { return strings.Contains(x.Name, "docker2") })
		if !lacks || !strings.Contains(string(manifest), "nodes/docker1/docker/info.json") {
			t.Errorf("missing %+v, files %+v", m.Missing, m.Files)
		}

		r := l.ok(createWithin, "create")
		if !strings.Contains(strings.Join(r.steps(), "\n"), "docker2 boot: done") {
			t.Errorf("steps %q", r.steps())
		}
		if st := l.status(); !st.Ready {
			t.Errorf("not ready: %+v", st)
		}
	})

	step("destroy asks, and leaves nothing", func(t *testing.T) {
		r := l.run(shortWithin, nil, "destroy")
		if r.code != 1 || !strings.Contains(r.err, "error: not destroyed: it was not confirmed") {
			t.Fatalf("without consent: exit code %d\n%s", r.code, r.err)
		}
		e := l.engine()
		if !e.Running || len(processesIn(e.NetNS)) == 0 {
			t.Fatalf("the engine should run: %+v", e)
		}
		l.ok(shortWithin, "destroy", "--force")
		if left := processesIn(e.NetNS); left != nil {
			t.Errorf("processes left: %q", left)
		}
		if _, err := os.Stat(filepath.Join(l.dir, ".labctl")); !os.IsNotExist(err) {
			t.Errorf("the state folder is left: %v", err)
		}
		if now := lookAtHost(t); now != before {
			t.Errorf("the host has changed: %s", cmp.Diff(before, now, cmp.AllowUnexported(host{})))
		}
		r = l.ok(shortWithin, "destroy")
		if r.err != "there is no lab here: nothing to destroy\n" {
			t.Errorf("a second destroy says %q", r.err)
		}
	})
}
