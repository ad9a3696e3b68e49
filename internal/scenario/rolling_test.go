package scenario

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRollingUpdatePasses(t *testing.T) {
	res, calls, left := replayThree(t, "rolling-update", "rolling", "healthy")
	if !res.Passed {
		t.Fatal(res.Failure.Answers())
	}
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	want := []string{
		"docker1: docker service update --detach --env-add VERSION=2 test01",
		"docker1: docker service rollback --detach test01",
		"docker1: docker service update --detach --env-add VERSION=3 --args httpd -f -p 81 -h /www test01",
		"docker1: docker rm --force visitor01",
		"docker1: docker service rm test01",
	}
	if diff := cmp.Diff(want, grepCalls(calls, "docker service update", "docker service rollback", "docker rm", "docker service rm")); diff != "" {
		t.Errorf("orders (-want +got):\n%s", diff)
	}
	// The visitor's notes are those of a run on real VMs.
	seen := []string{
		"192.168.33.11 answered 4 times\n192.168.33.12 answered 4 times\n192.168.33.13 answered 3 times\n",
		"version 1 answered 83 times, version 2 45 times\nafter the first answer of version 2, version 1 answered 38 times more\n",
		"version 2 answered 91 times, and since its last answer version 1 answered 14 times\n",
		"test01.2 on docker2: \"task: non-zero exit (137): dockerexec: unhealthy container\"\n" +
			"3/3 replicas run, the update is in the state: rollback_completed: rollback completed\n" +
			"274 requests were answered, 0 of them by version 3\n" +
			"the last one: 274 192.168.33.11 answered: version 1, replica 1 on docker3\n",
	}
	for i := range seen {
		seen[i] += "requests that failed: 0\n"
	}
	if diff := cmp.Diff(seen, notes(res)); diff != "" {
		t.Errorf("what the visitor saw (-want +got):\n%s", diff)
	}
}

// notes is what the checks made of the visitor's notes.
func notes(res *Result) []string {
	var out []string
	for _, b := range res.Blocks {
		if b.Kind == Check && strings.Contains(b.Nodes[0].Stdout, "requests that failed: ") {
			out = append(out, b.Nodes[0].Stdout)
		}
	}
	return out
}

// Every block of the document can fail, says what a trainee needs, and leaves
// nothing behind.
func TestRollingUpdateCanFail(t *testing.T) {
	const (
		begin   = "Three nodes"
		one     = "Version 1"
		visitor = "The visitor"
		two     = "Version 2"
		back    = "Back by hand"
		wrong   = "A version that does not work"
		early   = "was --update-order start-first set, and did the service have its health check?"
		removed = "Error: No such container: visitor01\nthere is no visitor: who has removed it?"
	)
	tests := []struct {
		variant, chapter string
		output           string // its end
	}{
		{"two-nodes", begin, "2 node(s) ready for work, 3 are needed: is one drained, or is Docker stopped?"},
		{"service-taken", begin, "a service or container called test01 is already there: remove it, or choose another name with --set"},
		{"visitor-taken", begin, "a service or container called visitor01 is already there: remove it, or choose another name with --set"},
		{"replica-missing", one, "an error was seen: test01.3 on docker3: No such image: labctl/toolbox:latest\n2/3 replicas run"},
		{"no-visitor", visitor, "Error: No such container: visitor01\nthere is no visitor: start it as shown above"},
		{"too-early", visitor, "requests that failed: 1\ndid it come too early? docker rm -f visitor01, and start it again"},
		{"one-door", visitor, "192.168.33.13 answered 0 times\nrequests that failed: 0\ntoo few answers so far from 192.168.33.13"},
		{"not-ordered", two, "the update is in the state of never having been asked for\n" +
			"the service is not to be version 2: give the order with docker service update --env-add VERSION=2 test01"},
		{"updating", two, "the update is in the state updating: update in progress"},
		{"update-lost", two, "requests that failed: 1\n" + early},
		{"update-late", two, "requests that failed: 0\nthe visitor has not seen both versions side by side: it must run before the update begins"},
		{"update-young", two, "requests that failed: 0\nversion 1 was still seen a moment ago: is the update at its end?"},
		{"update-removed", two, removed},
		{"not-back", back, "the service is not to be version 1: go back with docker service rollback test01"},
		{"going-back", back, "the update is in the state rollback_started: manually requested rollback"},
		{"back-lost", back, "requests that failed: 1\nwas --rollback-order start-first set, and did the service have its health check?"},
		{"back-late", back, "requests that failed: 0\nthe visitor has never met version 2: it must run before the update begins"},
		{"back-young", back, "requests that failed: 0\nversion 2 was still seen a moment ago: is the rollback at its end?"},
		{"back-removed", back, removed},
		{"not-begun", wrong, "no replica was found unhealthy so far: has the update to version 3 begun?"},
		{"paused", wrong, "it does not go back by itself: was the service made with --update-failure-action rollback?"},
		{"rolling-back", wrong, "3/3 replicas run, the update is in the state: rollback_started: update rolled back due to failure or early termination of task 6d5yvbz3c3x0mm6y6e7nhbxdv"},
		{"wrong-lost", wrong, "requests that failed: 1\n" + early},
		{"wrong-seen", wrong, "requests that failed: 0\nversion 3 had visitors, so somebody took it for healthy: what does the health check ask?"},
		{"wrong-mute", wrong, "requests that failed: 0\nthe visitor has not been answered a single time"},
		{"wrong-removed", wrong, removed},
	}
	for _, tt := range tests {
		t.Run(tt.variant, func(t *testing.T) {
			t.Parallel()
			res, _, left := replayThree(t, "rolling-update", "rolling", tt.variant)
			wantFailure(t, res, tt.chapter, "docker1", tt.output)
			if len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}
