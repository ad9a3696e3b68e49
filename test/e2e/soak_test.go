package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// soakWithin bounds one run of all scenarios.
const soakWithin = 90 * time.Minute

// soakKept is how many run folders stay.
const soakKept = 5

// TestSoak runs all scenarios on one lab again and again, and counts after each
// cycle what could leak: connections, processes, open files, objects of the
// swarm, room on the disks, run folders. The first cycle is the measure.
// `make soak` runs it, with CYCLES=50 unless told otherwise; Ctrl-C ends it in
// order, and the lab is destroyed.
func TestSoak(t *testing.T) {
	cycles, err := strconv.Atoi(os.Getenv("LABCTL_SOAK"))
	if err != nil || cycles < 1 {
		t.Skip("it takes hours: make soak CYCLES=50")
	}
	needVMs(t)
	l := newLab(t, "provider = \"embedded\"\nmanagers = 1\nworkers = 2\n")
	l.ok(killedWithin, "create")
	var first map[string]int
	for cycle := 1; cycle <= cycles && suite.Err() == nil; cycle++ {
		r := l.run(soakWithin, nil, "scenario", "all")
		if suite.Err() != nil {
			return // interrupted
		}
		if r.code != 0 {
			t.Errorf("cycle %d: scenario all: exit code %d\n%s\n%s", cycle, r.code, r.out, r.err)
		}
		l.ok(shortWithin, "artifacts", "prune", "--keep", strconv.Itoa(soakKept))
		now := soakCount(t, l)
		t.Logf("cycle %d of %d, %v: %s", cycle, cycles, r.took.Round(time.Second), soakLine(now))
		if first == nil {
			first = now
			continue
		}
		if grown := soakGrown(first, now); grown != nil {
			t.Fatalf("after cycle %d there is more than after the first: %s", cycle, strings.Join(grown, ", "))
		}
	}
}

// soakSlack is by how much a count may differ from one cycle to another
// without being a leak, in parts of the first value and in absolute terms;
// what is not named may not grow at all.
var soakSlack = map[string]struct{ percent, more int }{
	"open files of the engine":  {10, 10}, // libvirtd opens some as it is asked
	"SSH connections":           {0, 3},   // three nodes: one each that just ends
	"docker KiB":                {10, 30 << 10},
	"files of the state folder": {0, 5},          // sockets and logs of the engine come and go
	"engine KiB":                {30, 200 << 10}, // memory of VMs is no part of it
}

// soakGrown names what has grown beyond its slack.
func soakGrown(first, now map[string]int) (out []string) {
	for _, name := range slices.Sorted(maps.Keys(now)) {
		kind := name
		if i := strings.Index(name, " on "); i >= 0 {
			kind = name[:i]
		}
		s := soakSlack[kind]
		if limit := first[name] + max(first[name]*s.percent/100, s.more); now[name] > limit {
			out = append(out, fmt.Sprintf("%s: %d, was %d", name, now[name], first[name]))
		}
	}
	return out
}

func soakLine(now map[string]int) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(now)) {
		words = append(words, fmt.Sprintf("%s %d", name, now[name]))
	}
	return strings.Join(words, ", ")
}

// soakNode prints what one node has; its own connection is one of those.
const soakNode = `echo "SSH connections $(ss -Htn state established '( sport = :22 )' | wc -l)"
echo "containers $(docker ps -aq | wc -l)"
echo "volumes $(docker volume ls -q | wc -l)"
echo "images $(docker images -q | wc -l)"
echo "networks $(docker network ls -q | wc -l)"
echo "firewall rules $(sudo iptables-save | grep -c '^-A')"
echo "leftovers of faults $(ls -d /var/lib/labctl/fault/* 2>/dev/null | wc -l)"
echo "docker KiB $(sudo du -sk /var/lib/docker | cut -f1)"`

// soakCount counts all that a cycle could leave.
func soakCount(t *testing.T, l *lab) map[string]int {
	t.Helper()
	now := map[string]int{}
	out := l.ok(shortWithin, "exec", "@all", "--", "sh", "-c", soakNode).out
	for _, m := range regexp.MustCompile(`(?m)^(docker\d+): (.+) (\d+)$`).FindAllStringSubmatch(out, -1) {
		now[m[2]+" on "+m[1]], _ = strconv.Atoi(m[3])
	}
	if len(now) != 3*strings.Count(soakNode, "echo ") {
		t.Errorf("the nodes say %q", out)
	}
	for _, what := range []string{"service", "config", "secret", "node"} {
		r := l.ok(shortWithin, "exec", "docker1", "--", "docker", what, "ls", "-q")
		now[what+"s of the swarm"] = len(strings.Fields(r.out))
	}
	for _, pid := range processesIn(l.engine().NetNS) {
		dir := filepath.Join("/proc", strings.Fields(pid)[0])
		now["processes of the engine"]++
		fds, _ := os.ReadDir(filepath.Join(dir, "fd"))
		now["open files of the engine"] += len(fds)
		if status, err := os.ReadFile(filepath.Join(dir, "status")); err == nil && !strings.HasPrefix(strings.Fields(pid)[1], "qemu") {
			if m := regexp.MustCompile(`VmRSS:\s+(\d+)`).FindSubmatch(status); m != nil {
				kib, _ := strconv.Atoi(string(m[1]))
				now["engine KiB"] += kib
			}
		}
	}
	eachProcess(func(_ string, args []string) {
		if args[0] == binary {
			now["processes of labctl"]++
		}
	})
	runs, _ := filepath.Glob(filepath.Join(l.dir, "artifacts", "2*"))
	now["run folders"] = len(runs)
	now["files of the state folder"] = 0
	_ = filepath.WalkDir(filepath.Join(l.dir, ".labctl"), func(_ string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			now["files of the state folder"]++
		}
		return nil
	})
	return now
}

// TestSoakGrown proves that the soak can fail, and that it bears what only
// moves a little.
func TestSoakGrown(t *testing.T) {
	first := map[string]int{"services of the swarm": 0, "open files of the engine": 200, "SSH connections on docker1": 1, "docker KiB on docker2": 500 << 10}
	now := map[string]int{"services of the swarm": 0, "open files of the engine": 219, "SSH connections on docker1": 4, "docker KiB on docker2": 540 << 10}
	if grown := soakGrown(first, now); grown != nil {
		t.Errorf("%q", grown)
	}
	now = map[string]int{"services of the swarm": 1, "open files of the engine": 221, "SSH connections on docker1": 5, "docker KiB on docker2": 560 << 10, "run folders": 1}
	want := []string{"SSH connections on docker1: 5, was 1", "docker KiB on docker2: 573440, was 512000", "open files of the engine: 221, was 200", "run folders: 1, was 0", "services of the swarm: 1, was 0"}
	if grown := soakGrown(first, now); !slices.Equal(grown, want) {
		t.Errorf("%q", grown)
	}
}
