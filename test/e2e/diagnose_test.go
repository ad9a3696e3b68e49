package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
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

// follow types a remedy as it is printed; remarks in brackets are left out.
func (l *lab) follow(t *testing.T, remedy string) {
	t.Helper()
	bin := filepath.Join(l.dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(binary, filepath.Join(bin, "labctl")); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	for line := range strings.Lines(remedy) {
		line, _, _ = strings.Cut(line, "   (")
		if !strings.HasPrefix(line, "labctl ") {
			continue
		}
		cmd := exec.Command("sh", "-c", line)
		cmd.Dir, cmd.Env = l.dir, append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", strings.TrimSpace(line), err, out)
		}
	}
}

// broken are ways to break a sound lab of two nodes, what diagnose then finds,
// alone, and whether --fix mends it; else the remedy is typed as printed.
var broken = []struct {
	name, node, how string
	id, cause       string
	fix             bool
}{
	{"docker stopped", "docker2", "systemctl stop docker.socket docker", "engine-stopped", "Docker is stopped on docker2", true},
	{"dockerd frozen", "docker2", "kill -STOP $(pidof dockerd)", "engine-frozen", "dockerd of docker2 is stopped", true},
	{"rules flushed", "docker2", "iptables -F; iptables -X; iptables -t nat -F", "docker-rules-missing", "are gone", true},
	{"forwarding off", "docker1", "sysctl -w net.ipv4.ip_forward=0", "forwarding-off", "docker1 passes no packets on", true},
	{"clock", "docker2", "date -s '2 days ago'", "clocks-differ", "the clock of docker2 is", true},
	{"loss", "docker2", "tc qdisc add dev eth1 root netem loss 30%", "traffic-shaped", "loss 30%", false},
	{"card off", "docker2", "ip link set eth1 down", "interface-down", "eth1 of docker2", false},
	{"mtu", "docker2", "ip link set eth1 mtu 1300", "mtu-differs", "an MTU of 1300 instead of 1500", false},
	{"large packets", "docker2", "iptables -I INPUT -i eth1 -m length --length 1300:65535 -j DROP", "mtu-path", "a firewall stops large packets", false},
	{"port", "docker2", "iptables -I INPUT -p udp --dport 4789 -j DROP", "port-blocked", "4789/udp (docker1 to docker2)", false},
	{"partition", "docker2", "iptables -I INPUT -s 192.168.33.11 -j DROP; iptables -I OUTPUT -d 192.168.33.11 -j DROP", "port-blocked", "docker2", false},
	{"disk", "docker1", "fallocate -l $(($(df --output=avail -k / | tail -n 1) - 20000))K /var/tmp/fill", "disk-full", "the disk of docker1 is full", false},
	{"name server", "docker2", "echo nameserver 192.0.2.53 >/etc/resolv.conf", "nameserver-silent", "192.0.2.53", false},
	{"image", "docker2", "docker rmi -f labctl/toolbox", "image-missing", "labctl/toolbox", false},
}

// diagnoseBroken breaks the lab in each way, looks, and mends it.
func diagnoseBroken(t *testing.T, l *lab) {
	// As in a scenario's block diagnose gathers no evidence, which takes longer
	// than the diagnosis.
	t.Setenv("LAB_FILE", "lab.toml")
	for _, tt := range broken {
		ok := t.Run(tt.name, func(t *testing.T) {
			l.t = t
			l.ok(shortWithin, "exec", tt.node, "--", "sudo", "sh", "-c", tt.how)
			found := l.diagnosed(func(f []finding) bool { return len(f) > 0 })
			if len(found) != 1 || found[0].ID != tt.id || !strings.Contains(found[0].Cause, tt.cause) {
				t.Errorf("found %+v, want %s alone: %s", found, tt.id, tt.cause)
			}
			if tt.fix {
				r := l.run(shortWithin, nil, "diagnose", "--fix", "--yes")
				if r.code != 0 {
					t.Errorf("diagnose --fix: exit code %d\n%s%s", r.code, r.out, r.err)
				}
			} else if len(found) > 0 {
				l.follow(t, found[0].Remedy)
			}
			if left := l.diagnosed(func(f []finding) bool { return len(f) == 0 }); len(left) > 0 {
				t.Errorf("after the remedy: %+v", left)
			}
		})
		if !ok {
			l.t = t
			l.ok(shortWithin, "reset")
		}
	}
	l.t = t
}
