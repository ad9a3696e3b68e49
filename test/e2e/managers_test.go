package e2e

import (
	"regexp"
	"strings"
	"testing"
)

// TestThreeManagers runs the scenarios that need three nodes, each in one lab
// of three managers.
func TestThreeManagers(t *testing.T) {
	needVMs(t)
	l := newLab(t, "provider = \"embedded\"\nmanagers = 3\nworkers = 0\n")
	l.ok(createWithin, "create")
	if st := l.status(); !st.Ready || len(st.Nodes) != 3 {
		t.Fatalf("status %+v", st)
	}
	verdict := regexp.MustCompile(`\nPASS: \S+ .*: (\d+) of (\d+) checks held`)
	for _, name := range []string{"drain", "rolling-update", "ports", "quorum"} {
		t.Run(name, func(t *testing.T) {
			l.t = t
			r := l.ok(2*scenarioWithin, "scenario", name)
			if m := verdict.FindStringSubmatch(r.out); m == nil || m[1] != m[2] {
				t.Errorf("no verdict in\n%s", r.out)
			}
			left := l.ok(shortWithin, "exec", "docker1", "--", "sh", "-c", "docker service ls -q; docker network ls -q -f driver=overlay | wc -l; docker node ls --format '{{.Status}} {{.Availability}}' | sort -u")
			if left.out != "1\nReady Active\n" { // ingress
				t.Errorf("left behind: %q", left.out)
			}
			rules := l.ok(shortWithin, "exec", "@all", "--", "sudo", "iptables", "-S", "INPUT")
			if strings.Contains(rules.out, "DROP") {
				t.Errorf("left behind: %s", rules.out)
			}
		})
		l.t = t
	}
}
