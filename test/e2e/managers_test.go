package e2e

import (
	"regexp"
	"strings"
	"testing"
)

// TestThreeNodes runs the scenarios that need three nodes: those for which
// workers will do, then, with the workers promoted, the one for managers.
func TestThreeNodes(t *testing.T) {
	needVMs(t)
	l := newLab(t, "provider = \"embedded\"\nmanagers = 1\nworkers = 2\n")
	l.ok(createWithin, "create", "--no-cache")
	if st := l.status(); !st.Ready || len(st.Nodes) != 3 {
		t.Fatalf("status %+v", st)
	}
	verdict := regexp.MustCompile(`\nPASS: \S+ .*: (\d+) of (\d+) checks held`)
	passes := func(name string) {
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
			// Docker has no rules of its own in these two chains.
			rules := l.ok(shortWithin, "exec", "@all", "--", "sudo", "sh", "-c", "iptables -S INPUT; iptables -S OUTPUT")
			if strings.Contains(rules.out, " -A ") {
				t.Errorf("left behind: %s", rules.out)
			}
		})
		l.t = t
	}
	passes("ports")
	passes("drain")
	passes("rolling-update")

	small := l.run(shortWithin, nil, "scenario", "quorum")
	if want := "hint: a lab.toml with these lines would do:\n      managers = 3\n      workers = 2\n"; small.code != 1 || !strings.Contains(small.err, want) {
		t.Errorf("one manager is too few for quorum: exit code %d, no %q in\n%s", small.code, want, small.err)
	}
	l.write("lab.toml", "provider = \"embedded\"\nmanagers = 3\nworkers = 0\n")
	r := l.ok(createWithin, "create", "--no-cache")
	if want := "docker2 is a worker and becomes a manager"; !strings.Contains(r.err, want) {
		t.Errorf("no %q in\n%s", want, r.err)
	}
	passes("quorum")
}
