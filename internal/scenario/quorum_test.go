package scenario

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"labctl/internal/config"

	"github.com/google/go-cmp/cmp"
)

// replayThree runs scenarios/NAME.md on three managers that are fakes of
// testdata/DIR/fake; on four if the variant is so called. Each check has one try. left names what the fakes
// remember as still standing at the end.
func replayThree(t *testing.T, name, dir, variant string, tweaks ...func(*Block)) (res *Result, calls string, left []string) {
	t.Helper()
	d, o, state := stageThree(t, name, dir, variant)
	for _, b := range d.Blocks {
		for _, tweak := range tweaks {
			tweak(b)
		}
	}
	res, err := Run(context.Background(), d, o)
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(filepath.Join(state, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(state)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if n := f.Name(); strings.HasPrefix(n, "stopped-") || n == "service" || n == "visitor" {
			left = append(left, n)
		}
	}
	return res, string(log), left
}

// stageThree is what replayThree runs, and the folder in which the fakes
// remember.
func stageThree(t *testing.T, name, dir, variant string) (d *Document, o Options, state string) {
	t.Helper()
	d = loadShipped(t, name+".md")
	for _, b := range d.Blocks {
		if b.Kind == Check {
			b.Within, b.Every = Span(DefaultTimeout), Span(DefaultTimeout)
		}
	}
	base, err := filepath.Abs(filepath.Join("testdata", dir))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(base, variant)); err != nil {
		t.Fatal(err) // a misspelled variant would pass as the healthy one
	}
	state = t.TempDir()
	s := shell{env: []string{
		"PATH=" + filepath.Join(base, "fake") + string(os.PathListSeparator) + os.Getenv("PATH"),
		"FAKE=" + filepath.Join(base, variant), "HEALTHY=" + filepath.Join(base, "healthy"),
		"STATE=" + state, "CALLS=" + filepath.Join(state, "calls"),
	}}
	o = Options{Lab: "lab", Host: s}
	names := []string{"docker1", "docker2", "docker3"}
	if variant == "four-nodes" {
		names = append(names, "docker4")
	}
	for i, n := range names {
		o.Nodes = append(o.Nodes, Node{Name: n, Role: config.Manager, Runner: s,
			LabIP: netip.AddrFrom4([4]byte{192, 168, 33, byte(11 + i)})})
	}
	return d, o, state
}

// Every check of the three documents is red before what it is to see is done,
// and the fakes' lab is as it was after each of two runs. The inventory of the
// fakes is empty, so that this proves nothing about leftovers; real VMs do.
func TestThreeManagersRedFirst(t *testing.T) {
	for name, dir := range map[string]string{"quorum": "quorum", "drain": "drain", "rolling-update": "rolling"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, o, _ := stageThree(t, name, dir, "healthy")
			p, err := Test(context.Background(), d, o, func(string) {})
			if err != nil {
				t.Fatal(err)
			}
			for _, q := range p.Defects {
				t.Error(q)
			}
			for i, r := range p.Runs {
				if !r.Passed {
					t.Errorf("run %d: %s", i+1, r.Failure.Answers())
				}
			}
			checks := 0
			for _, b := range d.Blocks {
				if b.Kind == Check && !b.Given {
					checks++
				}
			}
			if len(p.Red) != checks || !p.Sound() {
				t.Errorf("%d of %d checks were seen to fail, sound: %t", len(p.Red), checks, p.Sound())
			}
		})
	}
}

// grepCalls keeps the calls that begin with one of the words after the node.
func grepCalls(calls string, commands ...string) []string {
	var out []string
	for line := range strings.Lines(calls) {
		line = strings.TrimSpace(line)
		_, command, _ := strings.Cut(line, ": ")
		if slices.ContainsFunc(commands, func(c string) bool { return strings.HasPrefix(command, c) }) {
			out = append(out, line)
		}
	}
	return out
}

var stopAndStart = []string{
	"docker3: systemctl stop docker.socket docker",
	"docker2: systemctl stop docker.socket docker",
	"docker3: systemctl start docker.socket docker",
	"docker2: systemctl start docker.socket docker",
}

func TestQuorumPasses(t *testing.T) {
	res, calls, left := replayThree(t, "quorum", "quorum", "healthy")
	if !res.Passed {
		t.Fatal(res.Failure.Answers())
	}
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if diff := cmp.Diff(stopAndStart, grepCalls(calls, "systemctl stop", "systemctl start")); diff != "" {
		t.Errorf("stopped and started (-want +got):\n%s", diff)
	}
	want := []string{
		"docker1: docker service create --detach --no-resolve-image --name test01 --constraint node.role==manager --replicas 2 labctl/toolbox",
		"docker1: docker service scale --detach test01=3",
		"docker1: docker service rm test01",
	}
	if diff := cmp.Diff(want, grepCalls(calls, "docker service create", "docker service scale", "docker service rm")); diff != "" {
		t.Errorf("orders (-want +got):\n%s", diff)
	}
}

// Every block of the document can fail, says what a trainee needs, and leaves
// no node without Docker.
func TestQuorumCanFail(t *testing.T) {
	const (
		begin = "Three managers"
		one   = "One manager is lost"
		two   = "Two managers are lost"
		back  = "They come back"
	)
	tests := []struct {
		variant, chapter string
		output           string // its end
		stopped          int    // nodes whose Docker was stopped
	}{
		{"five-managers", begin, "this page is for three managers, and the swarm has 5: the arithmetic would be another one", 0},
		{"one-away", begin, "2 of 3 managers are ready and reachable: is Docker running on the others?", 0},
		{"name-taken", begin, "a service called test01 is already there: remove it, or choose another name with --set", 0},
		{"not-noticed", one, "leaders: 1, other managers that can be reached: 1, lost: 0; 1 of each is what is to be seen", 1},
		{"no-election", one, "Make sure more than half of the managers are online.", 1},
		{"replica-missing", one, "an error was seen: test01.2 on docker2: No such image: labctl/toolbox:latest\n1/2 replicas run", 1},
		{"still-leads", two, "this manager still has a leader: is Docker stopped on two of the three managers?", 2},
		{"no-daemon", two, "that is not what a swarm without a leader says: wait, or look whether Docker runs on docker1", 2},
		{"hesitates", two, "context deadline exceeded\nthat is not what a swarm without a leader says: wait, or look whether Docker runs on docker1", 2},
		{"order-taken", two, "test01 scaled to 3", 2},
		{"no-container", two, "docker1 runs no container of test01: did it run here before the managers were lost?", 2},
		{"mute", two, "the container of test01 on docker1 runs, but it does not answer: is there a web server on its port 80?", 2},
		{"no-leader", back, "Make sure more than half of the managers are online.", 2},
		{"second-away", back, "2 of 3 managers are ready and reachable: start Docker on the others", 2},
		{"changed", back, "test01 is to have 3 replicas, 2 were ordered: who has changed it?", 2},
		{"away-again", back, "not all managers are back: docker2", 2},
		{"half", back, "1/2 replicas run", 2},
	}
	for _, tt := range tests {
		t.Run(tt.variant, func(t *testing.T) {
			t.Parallel()
			res, calls, left := replayThree(t, "quorum", "quorum", tt.variant)
			wantFailure(t, res, tt.chapter, "docker1", tt.output)
			if len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			if n := len(grepCalls(calls, "systemctl stop")); n != tt.stopped {
				t.Errorf("Docker was stopped on %d nodes, want %d", n, tt.stopped)
			}
		})
	}
}

// A manager that does not come back is a failure of its undo, which is tried
// again at the end; the service is removed all the same.
func TestQuorumManagerStaysAway(t *testing.T) {
	res, calls, left := replayThree(t, "quorum", "quorum", "stays-away", func(b *Block) {
		if b.Kind == Undo && b.For == "two" {
			b.Timeout = Span(500 * time.Millisecond)
		}
	})
	if f := res.Failure; f == nil || f.Node != "docker2" || f.Chapter != "They come back" || f.Reason != "no end within 500ms" {
		t.Errorf("failure %+v", f)
	}
	if n := len(res.CleanupFailures); n != 1 || res.CleanupFailures[0].Node != "docker2" {
		t.Errorf("%d cleanups failed: %+v", n, res.CleanupFailures)
	}
	want := append(slices.Clone(stopAndStart), "docker2: systemctl start docker.socket docker")
	if diff := cmp.Diff(want, grepCalls(calls, "systemctl stop", "systemctl start")); diff != "" {
		t.Errorf("stopped and started (-want +got):\n%s", diff)
	}
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
