package scenario

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDrainPasses(t *testing.T) {
	res, calls, left := replayThree(t, "drain", "drain", "healthy")
	if !res.Passed {
		t.Fatal(res.Failure.Answers())
	}
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	want := []string{
		"docker1: docker node update --availability drain docker3",
		"docker1: docker node update --availability active docker3",
		"docker1: docker service update --detach --force test01",
		"docker1: docker node update --availability active docker3", // the cleanup, before all others
		"docker1: docker rm --force visitor01",
		"docker1: docker service rm test01",
	}
	if diff := cmp.Diff(want, grepCalls(calls, "docker node update", "docker service update", "docker rm", "docker service rm")); diff != "" {
		t.Errorf("orders (-want +got):\n%s", diff)
	}
	seen := []string{
		"192.168.33.11 answered 4 times\n192.168.33.12 answered 4 times\n192.168.33.13 answered 4 times\n",
		"36 answers; 4 from a replica on docker3, and 24 since its last one\n",
		"51 answers; docker3 was silent for 25 of them, its last answer was 2 ago\n",
	}
	for i := range seen {
		seen[i] += "requests that failed: 0\n"
	}
	if diff := cmp.Diff(seen, notes(res)); diff != "" {
		t.Errorf("what the visitor saw (-want +got):\n%s", diff)
	}
}

// Every block of the document can fail, says what a trainee needs, and leaves
// no node drained.
func TestDrainCanFail(t *testing.T) {
	const (
		begin   = "Three nodes"
		service = "A service and its visitor"
		drain   = "Drain it"
		back    = "It comes back"
		spread  = "Spread the work anew"
	)
	tests := []struct {
		variant, chapter, node string
		output                 string // its end
		drained                bool
	}{
		{"one-drained", begin, "docker1", "2 of 3 nodes are ready for work, all of them and at least 3 are needed: is one drained, or is Docker stopped?", false},
		{"service-taken", begin, "docker1", "a service or container called test01 is already there: remove it, or choose another name with --set", false},
		{"visitor-taken", begin, "docker1", "a service or container called visitor01 is already there: remove it, or choose another name with --set", false},
		{"four-nodes", begin, "docker1", "3 replicas are too few for 4 nodes: use --set replicas=4", false},
		{"replica-missing", service, "docker1", "an error was seen: test01.3 on docker3: No such image: labctl/toolbox:latest\n2/3 replicas run", false},
		{"one-empty", service, "docker1", "no replica runs on docker3: was it away when they started?\n3/3 replicas run", false},
		{"no-visitor", service, "docker1", "Error: No such container: visitor01\nthere is no visitor: start it as shown above", false},
		{"too-early", service, "docker1", "requests that failed: 1\ndid it come too early? docker rm -f visitor01, and start it again", false},
		{"one-door", service, "docker1", "192.168.33.13 answered 0 times\nrequests that failed: 0\ntoo few answers so far from 192.168.33.13", false},
		{"not-drained", drain, "docker1", "docker3 is in the state: active\ndocker3 is not drained yet", true},
		{"still-there", drain, "docker1", "3/3 replicas run, 1 of them on docker3", true},
		{"pending", drain, "docker1", "2/3 replicas run, 0 of them on docker3", true},
		{"lingers", drain, "docker3", "docker3 still runs 1 container(s) of test01: is it drained?", true},
		{"others-empty", drain, "docker2", "docker2 runs no container of test01: is it drained, too?", true},
		{"lost-one", drain, "docker1", "requests that failed: 1\nwere there replicas elsewhere, and did the service have its health check?", true},
		{"came-late", drain, "docker1", "requests that failed: 0\nthe visitor has never met a replica on docker3: start it before you drain the node", true},
		{"fell-silent", drain, "docker1", "requests that failed: 0\ntoo few answers since then at 192.168.33.11 192.168.33.12 192.168.33.13: is docker3 drained, and does the visitor still run?", true},
		{"removed", drain, "docker1", "Error: No such container: visitor01\nthere is no visitor: who has removed it?", true},
		{"refused-twice", back, "docker1", "The swarm does not have a leader.", true}, // the second time in the cleanup
		{"stays-drained", back, "docker1", "docker3 is in the state: drain ready\ndocker3 cannot take work yet: is it still drained?", true},
		{"moved", back, "docker1", "look 1: 1 task(s) of test01 on docker3\ndocker3 already has work, so there is nothing left to see here: drain it and make it active again", true},
		{"not-forced", spread, "docker1", "they are not spread evenly: are all nodes active, and was the service updated with --force?", true},
		{"updating", spread, "docker1", "3/3 replicas run, the update is in the state: updating", true},
		{"lost-later", spread, "docker1", "requests that failed: 1\nwas there ever a moment without a replica, and did the service have its health check?", true},
		{"never-silent", spread, "docker1", "requests that failed: 0\ndocker3 was never silent and then back: drain it first, then make it active and spread the work", true},
		{"silent-again", spread, "docker1", "requests that failed: 0\ndocker3 does not answer: does it run a replica again?", true},
	}
	for _, tt := range tests {
		t.Run(tt.variant, func(t *testing.T) {
			t.Parallel()
			res, calls, left := replayThree(t, "drain", "drain", tt.variant)
			wantFailure(t, res, tt.chapter, tt.node, tt.output)
			if len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			updates := grepCalls(calls, "docker node update")
			if got := len(updates) > 0; got != tt.drained {
				t.Errorf("drained: %t, want %t", got, tt.drained)
			}
			if n := len(updates); n > 0 && updates[n-1] != "docker1: docker node update --availability active docker3" {
				t.Errorf("the node is left as %q made it", updates[n-1])
			}
		})
	}
}
