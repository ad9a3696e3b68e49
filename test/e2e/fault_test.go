package e2e

import (
	"bufio"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// checkFaults breaks docker2 in ways that show at once: one that diagnose must
// find, one whose labctl is killed, and one that only a timer undoes.
func checkFaults(t *testing.T, l *lab) {
	t.Helper()
	// traces is all that a fault may leave on the node.
	traces := func() string {
		t.Helper()
		r := l.ok(shortWithin, "exec", "docker2", "--", "sudo", "sh", "-c",
			"iptables-save | grep labctl; cat /etc/resolv.conf; ls -d /var/lib/labctl/fault /etc/systemd/system/*labctl-fault* 2>/dev/null; systemctl list-units --all --plain --no-legend 'labctl-fault*'; true")
		return r.out
	}
	before := traces()

	r := l.ok(shortWithin, "fault", "inject", "port", "--port", "7946", "--node", "@worker")
	if !strings.Contains(r.out, "injected: port 7946 on docker2\nsymptom: ") {
		t.Errorf("inject says %q", r.out)
	}
	d := l.run(shortWithin, nil, "diagnose", "--json")
	var found struct {
		Findings []struct{ ID, Severity string }
	}
	if err := json.Unmarshal([]byte(d.out), &found); err != nil {
		t.Fatalf("diagnose --json: %v\n%s", err, d.out)
	}
	var wrong []string
	for _, f := range found.Findings {
		if f.Severity == "error" { // a busy host may be worth a warning
			wrong = append(wrong, f.ID)
		}
	}
	if got := strings.Join(wrong, " "); got != "port-blocked" {
		t.Errorf("diagnose finds %q", got)
	}
	if st := l.run(shortWithin, nil, "status"); !strings.Contains(st.err, "warning: a fault is on: port 7946 on docker2 since ") {
		t.Errorf("status says %q", st.err)
	}
	if again := l.run(shortWithin, nil, "fault", "inject", "dns"); again.code != 1 || !strings.Contains(again.err, "error: a fault is on already: port 7946 on docker2\n") {
		t.Errorf("a second fault: exit code %d\n%s", again.code, again.err)
	}
	if r := l.ok(shortWithin, "fault", "clear"); r.out != "undone: port 7946 on docker2\n" {
		t.Errorf("clear says %q", r.out)
	}
	if now := traces(); now != before {
		t.Errorf("after clear the node has\n%s\nbefore it had\n%s", now, before)
	}

	// kill -9, while labctl waits for what takes the swarm half a minute to see.
	cmd := exec.Command(binary, "--progress", "plain", "fault", "inject", "port", "--port", "2377", "--node", "docker2")
	cmd.Dir = l.dir
	news, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(shortWithin, func() { _ = cmd.Process.Kill() })
	said := ""
	for lines := bufio.NewScanner(news); lines.Scan(); {
		said += lines.Text() + "\n"
		if strings.Contains(lines.Text(), "waiting for the symptom") {
			break
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	watchdog.Stop()
	if now := traces(); !strings.Contains(now, "-p tcp -m tcp --dport 2377 -m comment --comment labctl-fault-") {
		t.Fatalf("the fault is not on: %s\nlabctl said %s", now, said)
	}
	if r := l.ok(shortWithin, "fault", "status"); !strings.Contains(r.out, "port 2377 on docker2") || !strings.Contains(r.out, "docker2: on") {
		t.Errorf("status after the kill: %q", r.out)
	}
	if r := l.ok(shortWithin, "fault", "clear"); r.out != "undone: port 2377 on docker2\n" {
		t.Errorf("clear after the kill says %q", r.out)
	}

	l.ok(shortWithin, "fault", "inject", "disk-full", "--node", "docker2", "--for", "20s")
	deadline := time.Now().Add(time.Minute)
	for now := traces(); now != before; now = traces() {
		if time.Now().After(deadline) {
			t.Fatalf("the timer did not undo it: the node has\n%s\nbefore it had\n%s", now, before)
		}
		time.Sleep(time.Second)
	}
	if r := l.ok(shortWithin, "fault", "status"); !strings.HasPrefix(r.out, "over: disk-full on docker2 since ") || !strings.HasSuffix(r.out, "no fault is on\n") {
		t.Errorf("status after the timer: %q", r.out)
	}

	// A mystery's clear tells what it was. This seed's is without name servers.
	r = l.ok(shortWithin, "fault", "inject", "random", "--seed", "5", "--for", "3m")
	if !strings.HasPrefix(r.out, "injected: a mystery\nseed: 5\n") {
		t.Errorf("inject random says %q", r.out)
	}
	if r := l.ok(shortWithin, "fault", "clear"); !strings.Contains(r.out, "it was the mystery of seed 5: no name outside the swarm is resolved") {
		t.Errorf("clear of a mystery says %q", r.out)
	}

	// A node that boots undoes what is on it, though nobody asks it to.
	l.ok(shortWithin, "fault", "inject", "image-missing", "--node", "docker2")
	l.run(shortWithin, nil, "exec", "docker2", "--", "sudo", "systemctl", "reboot") // which may cut the connection
	const mended = "! ls -d /var/lib/labctl/fault && docker image inspect labctl/toolbox"
	for deadline := time.Now().Add(2 * shortWithin); l.run(shortWithin, nil, "exec", "docker2", "--", "sudo", "sh", "-c", mended).code != 0; {
		if time.Now().After(deadline) {
			t.Fatal("docker2's boot did not give the image its name back")
		}
	}
	if r := l.ok(shortWithin, "fault", "status"); !strings.HasPrefix(r.out, "over: image-missing labctl/toolbox:latest on docker2 since ") {
		t.Errorf("status after the boot: %q", r.out)
	}
	for deadline := time.Now().Add(2 * shortWithin); !l.status().Ready; {
		if time.Now().After(deadline) {
			t.Fatalf("docker2 is not back in the swarm: %+v", l.status())
		}
	}
	if now := traces(); now != before {
		t.Errorf("after the boot the node has\n%s\nbefore it had\n%s", now, before)
	}
	t.Setenv("LAB_FILE", "lab.toml") // without evidence, which takes longer than the diagnosis
	if found := l.diagnosed(func(f []finding) bool { return len(f) == 0 }); len(found) > 0 {
		t.Errorf("after the boot diagnose finds %+v", found)
	}
}
