package vagrant

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// orphan starts the fake Vagrant as a labctl does that then is killed.
func orphan(t *testing.T, c *Client, args ...string) {
	t.Helper()
	cmd := exec.Command("vagrant", args...)
	cmd.Env = append(os.Environ(), c.env()...)
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = cmd.Wait() }()
	t.Cleanup(func() { _ = signalGroup(cmd.Process, true) })
	await(filepath.Join(c.Dir, "pid"))
}

const hears = `trap 'echo interrupted >>"$T/heard"; exit 1' INT; `

func TestEndOrphans(t *testing.T) {
	for _, args := range [][]string{{"up", "--machine-readable", "docker1"}, {"destroy", "--machine-readable", "--force"}, {"snapshot", "--machine-readable", "save", "x"}} {
		c := fake(t, hears+waits+`while :; do sleep 0.05; done`)
		orphan(t, c, args...)
		ended, err := c.EndOrphans(t.Context())
		if ended != 1 || err != nil {
			t.Errorf("%s: ended %d, error %v", args[0], ended, err)
		}
		if said, _ := os.ReadFile(filepath.Join(c.Dir, "heard")); string(said) != "interrupted\n" || lives(pidIn(t, c, "pid")) {
			t.Errorf("%s heard %q, want it once, and must not live", args[0], said)
		}
	}
}

// A deaf one is killed, with its children.
func TestEndDeafOrphan(t *testing.T) {
	c := fake(t, `trap '' INT; sleep 600 & echo $! >"$T/child"; `+waits+`while :; do sleep 0.05; done`)
	c.grace = 300 * time.Millisecond
	orphan(t, c, "up", "--machine-readable", "docker1")
	if ended, err := c.EndOrphans(t.Context()); ended != 1 || err != nil {
		t.Errorf("ended %d, error %v", ended, err)
	}
	if lives(pidIn(t, c, "pid")) || lives(pidIn(t, c, "child")) {
		t.Error("it still lives")
	}
}

// Only those that change this lab are ended.
func TestOrphansOfOthers(t *testing.T) {
	c := fake(t, hears+waits+`while :; do sleep 0.05; done`)
	orphan(t, c, "status", "--machine-readable")
	other := *c
	other.Dir = filepath.Join(c.Dir, "other")
	for _, client := range []*Client{c, &other} {
		if ended, err := client.EndOrphans(t.Context()); ended != 0 || err != nil {
			t.Errorf("%s: ended %d, error %v", client.Dir, ended, err)
		}
	}
	if err := os.Remove(filepath.Join(c.Dir, "pid")); err != nil {
		t.Fatal(err)
	}
	orphan(t, c, "up", "--machine-readable")
	if other.orphans() != nil || !slices.Equal(c.orphans(), []int{pidIn(t, c, "pid")}) {
		t.Errorf("another lab's orphans %v, ours %v", other.orphans(), c.orphans())
	}
}
