package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// finding is what the tests read of `labctl diagnose --json`.
type finding struct {
	ID, Cause, Remedy string
	Nodes             []string
}

// diagnosed asks until done is content, 90 s at most; what was found last is
// returned.
func (l *lab) diagnosed(done func([]finding) bool) []finding {
	l.t.Helper()
	end := time.Now().Add(90 * time.Second)
	for {
		r := l.run(shortWithin, nil, "diagnose", "--json")
		var d struct{ Findings []finding }
		if err := json.Unmarshal([]byte(r.out), &d); err != nil {
			l.t.Fatalf("diagnose --json: %v\n%s%s", err, r.out, r.err)
		}
		if done(d.Findings) || time.Now().After(end) {
			return d.Findings
		}
	}
}

// follow types a remedy as it is printed: on this machine, and below a line
// such as "on docker1:" there. Remarks in brackets are left out.
func (l *lab) follow(t *testing.T, remedy string) {
	t.Helper()
	bin := filepath.Join(l.dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(binary, filepath.Join(bin, "labctl")); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	node := ""
	for line := range strings.Lines(remedy) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "   (")
		cmd := exec.Command("sh", "-c", line)
		switch m := onNode.FindStringSubmatch(line); {
		case m != nil:
			node = m[1]
			continue
		case strings.HasPrefix(line, "labctl "):
		case node != "" && strings.HasPrefix(line, "docker "):
			cmd = exec.Command(binary, "exec", node, "--", "sh", "-c", line)
		default:
			continue
		}
		cmd.Dir, cmd.Env = l.dir, append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
}

var onNode = regexp.MustCompile(`^on (\w+)\b.*:$`)

// breakage is a way to break a sound lab, what diagnose then finds, alone, and
// whether --fix mends it; else the remedy is typed as printed.
type breakage struct {
	name, node, how string // how is for a shell of root's on the node; MANAGER-KEY and WORKER-KEY let it join
	id, cause       string // id may be one of several: "a|b"
	fix             bool
	undo            string // for a shell on docker1, once the remedy has been typed
	look            bool   // the remedy only shows what to look at: undo and mend are the mend
	mend            string // as undo, for a shell of root's on the node
	until           string // what `labctl status` says once it is broken

	with func(*testing.T, *lab) (how string) // in place of how
}

// broken are those of a lab of two nodes.
var broken = []breakage{
	{name: "docker stopped", node: "docker2", how: "systemctl stop docker.socket docker", id: "engine-stopped", cause: "Docker is stopped on docker2", fix: true},
	{name: "dockerd frozen", node: "docker2", how: "kill -STOP $(pidof dockerd)", id: "engine-frozen", cause: "dockerd of docker2 is stopped", fix: true},
	{name: "rules flushed", node: "docker2", how: "iptables -F; iptables -X; iptables -t nat -F", id: "docker-rules-missing", cause: "are gone", fix: true},
	{name: "forwarding off", node: "docker1", how: "sysctl -w net.ipv4.ip_forward=0", id: "forwarding-off", cause: "docker1 passes no packets on", fix: true},
	{name: "clock", node: "docker2", how: "date -s '2 days ago'", id: "clocks-differ", cause: "the clock of docker2 is", fix: true},
	{name: "loss", node: "docker2", how: "tc qdisc add dev eth1 root netem loss 30%", id: "traffic-shaped", cause: "loss 30%"},
	{name: "card off", node: "docker2", how: "ip link set eth1 down", id: "interface-down", cause: "eth1 of docker2"},
	{name: "mtu", node: "docker2", how: "ip link set eth1 mtu 1300", id: "mtu-differs", cause: "an MTU of 1300 instead of 1500"},
	{name: "large packets", node: "docker2", how: "iptables -I INPUT -i eth1 -m length --length 1300:65535 -j DROP", id: "mtu-path", cause: "a firewall stops large packets"},
	{name: "port", node: "docker2", how: "iptables -I INPUT -p udp --dport 4789 -j DROP", id: "port-blocked", cause: "4789/udp (docker1 to docker2)"},
	{name: "partition", node: "docker2", how: "iptables -I INPUT -s 192.168.33.11 -j DROP; iptables -I OUTPUT -d 192.168.33.11 -j DROP", id: "port-blocked", cause: "docker2"},
	{name: "disk", node: "docker1", how: "fallocate -l $(($(df --output=avail -k / | tail -n 1) - 20000))K /var/tmp/fill", id: "disk-full", cause: "the disk of docker1 is full"},
	{name: "name server", node: "docker2", how: "echo nameserver 192.0.2.53 >/etc/resolv.conf", id: "nameserver-silent", cause: "192.0.2.53"},
	{name: "image", node: "docker2", how: "docker rmi -f labctl/toolbox", id: "image-missing", cause: "labctl/toolbox"},
}

// diagnoseBroken breaks the lab in each way, looks, and mends it.
func diagnoseBroken(t *testing.T, l *lab) {
	// As in a scenario's block diagnose gathers no evidence, which takes longer
	// than the diagnosis.
	t.Setenv("LAB_FILE", "lab.toml")
	diagnoseAll(t, l, broken)
}

func diagnoseAll(t *testing.T, l *lab, list []breakage) {
	for _, tt := range list {
		ok := t.Run(tt.name, func(t *testing.T) {
			l.t = t
			if tt.with != nil {
				tt.how = tt.with(t, l)
			}
			for word, role := range map[string]string{"MANAGER-KEY": "manager", "WORKER-KEY": "worker"} {
				if strings.Contains(tt.how, word) {
					tt.how = strings.ReplaceAll(tt.how, word, strings.TrimSpace(l.ok(shortWithin, "exec", "docker1", "--", "docker", "swarm", "join-token", "-q", role).out))
				}
			}
			l.ok(shortWithin, "exec", tt.node, "--", "sudo", "sh", "-c", tt.how)
			for end := time.Now().Add(shortWithin); tt.until != "" && !strings.Contains(l.run(shortWithin, nil, "status").out, tt.until); {
				if time.Now().After(end) {
					t.Fatalf("status does not say %q within %v", tt.until, shortWithin)
				}
			}
			found := l.diagnosed(func(f []finding) bool { return len(f) > 0 })
			if len(found) != 1 || !slices.Contains(strings.Split(tt.id, "|"), found[0].ID) || !strings.Contains(found[0].Cause, tt.cause) {
				t.Errorf("found %+v, want %s alone: %s", found, tt.id, tt.cause)
				l.keepFacts(t, tt.name)
			}
			switch {
			case tt.fix:
				r := l.run(shortWithin, nil, "diagnose", "--fix", "--yes")
				if r.code != 0 {
					t.Errorf("diagnose --fix: exit code %d\n%s%s", r.code, r.out, r.err)
				}
			case len(found) > 0 && !tt.look:
				l.follow(t, found[0].Remedy)
			}
			if tt.mend != "" {
				l.ok(shortWithin, "exec", tt.node, "--", "sudo", "sh", "-c", tt.mend)
			}
			if tt.undo != "" && tt.look {
				l.ok(shortWithin, "exec", "docker1", "--", "sh", "-c", tt.undo)
			}
			if left := l.diagnosed(func(f []finding) bool { return len(f) == 0 }); len(left) > 0 {
				t.Errorf("after the remedy: %+v", left)
				l.keepFacts(t, tt.name+" mended")
			}
			if tt.undo != "" {
				l.ok(shortWithin, "exec", "docker1", "--", "sh", "-c", tt.undo)
			}
		})
		l.t = t
		if suite.Err() != nil {
			return
		}
		if !ok {
			l.ok(shortWithin, "reset")
		}
	}
}
