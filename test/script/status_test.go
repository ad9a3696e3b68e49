//go:build linux

package script

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// patientVagrant tells the state of the VMs once a node has been asked.
const patientVagrant = `#!/bin/sh
cd "$(dirname "$0")/.." || exit 1
[ "$1" = status ] || exit 1
tries=0
until [ -e asked ]; do
	tries=$((tries + 1))
	[ $tries -lt 200 ] || exit 1
	sleep 0.1
done
printf '0,%s,state,running\n' docker1 docker2
`

// TestStatusSideBySide: what runs the VMs, the nodes and the swarm are asked
// side by side, each engine as little as can be. Here each waits for another,
// so that they would wait for ever one after the other.
func TestStatusSideBySide(t *testing.T) {
	dir, w := newScaled(t, 2)
	runScaled(t, dir, "create")
	must(t, os.WriteFile(filepath.Join(dir, "bin/vagrant"), []byte(patientVagrant), 0o755))
	var mu sync.Mutex
	asked := map[string][]string{}
	swarmAsked := make(chan struct{})
	w.mu.Lock()
	for name, e := range w.engines {
		e.before = func(question string) {
			mu.Lock()
			asked[name] = append(asked[name], question)
			mu.Unlock()
			switch name + " " + question {
			case "docker1 HEAD /_ping":
				_ = os.WriteFile(filepath.Join(dir, "asked"), nil, 0o644)
			case "docker1 GET /nodes":
				close(swarmAsked)
			case "docker2 HEAD /_ping":
				select {
				case <-swarmAsked:
				case <-time.After(20 * time.Second):
					t.Error("the swarm is not asked while docker2 has not answered")
				}
			}
		}
	}
	w.mu.Unlock()
	got := runScaled(t, dir, "status")
	want := `NODE     ROLE     ADDRESS        VM       DOCKER          SWARM
docker1  manager  192.168.33.11  running  20.10.24+dfsg1  ready (leader)
docker2  worker   192.168.33.12  running  20.10.24+dfsg1  ready
`
	if diff := cmp.Diff(want, got.out); diff != "" {
		t.Errorf("labctl status (- wanted, + got):\n%s", diff)
	}
	mu.Lock()
	defer mu.Unlock()
	if diff := cmp.Diff(map[string][]string{"docker1": {"HEAD /_ping", "GET /nodes"}, "docker2": {"HEAD /_ping"}}, asked); diff != "" {
		t.Errorf("asked (- wanted, + got):\n%s", diff)
	}
}
