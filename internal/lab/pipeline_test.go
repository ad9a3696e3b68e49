package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/config"
	"labctl/internal/ui"
)

// heard keeps events, without their times.
type heard struct {
	mu     sync.Mutex
	events []string
}

func (h *heard) Event(e ui.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := key(e.Step, e.Node) + " " + string(e.State)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	h.events = append(h.events, s)
}

func (h *heard) has(event string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Contains(h.events, event)
}

type act = func(context.Context, *Env, func(string)) (bool, error)

func does(changed bool, err error) act {
	return func(context.Context, *Env, func(string)) (bool, error) { return changed, err }
}

func TestRunSteps(t *testing.T) {
	bad := errors.New("out of order")
	h := &heard{}
	err := runSteps(t.Context(), &Env{Sink: h}, []Step{
		{Name: "a", Run: func(_ context.Context, _ *Env, say func(string)) (bool, error) { say("half way"); return true, nil }},
		{Name: "b", Node: "n1", After: []string{"a"}, Run: does(false, bad)},
		{Name: "c", Node: "n1", After: []string{"b@n1"}, Run: does(true, nil)},
		{Name: "d", After: []string{"a", "c@n1"}, Run: does(true, nil)},
		{Name: "b", Node: "n2", After: []string{"a"}, Run: does(false, nil)},
		{Name: "c", Node: "n2", After: []string{"b@n2"}, Run: does(true, nil)},
	})
	if !errors.Is(err, bad) || err.Error() != "n1: b: out of order" {
		t.Errorf("error %v", err)
	}
	want := []string{
		"a done", "a progress: half way", "a started", "b@n1 failed: out of order", "b@n1 started", "b@n2 kept", "b@n2 started",
		"c@n1 skipped", "c@n2 done", "c@n2 started", "d skipped",
	}
	if diff := cmp.Diff(want, slices.Sorted(slices.Values(h.events))); diff != "" {
		t.Error(diff)
	}
	for _, pair := range [][2]string{{"a started", "a progress: half way"}, {"a done", "b@n1 started"}, {"b@n2 kept", "c@n2 started"}, {"b@n1 failed: out of order", "c@n1 skipped"}} {
		if slices.Index(h.events, pair[0]) > slices.Index(h.events, pair[1]) {
			t.Errorf("%q came after %q", pair[0], pair[1])
		}
	}
}

// Steps that do not need each other run side by side: each of these waits for
// the other one.
func TestRunStepsSideBySide(t *testing.T) {
	one, two := make(chan struct{}), make(chan struct{})
	meet := func(mine, other chan struct{}) act {
		return func(ctx context.Context, _ *Env, _ func(string)) (bool, error) {
			close(mine)
			select {
			case <-other:
				return true, nil
			case <-ctx.Done():
				return false, ctx.Err()
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := runSteps(ctx, &Env{}, []Step{{Name: "a", Node: "n1", Run: meet(one, two)}, {Name: "a", Node: "n2", Run: meet(two, one)}}); err != nil {
		t.Error(err)
	}
}

// hinted is an error that names its node and step by itself, and has a hint.
type hinted struct{ text string }

func (e *hinted) Error() string { return e.text }
func (e *hinted) Hint() string  { return "a hint" }

func TestRunStepsErrors(t *testing.T) {
	shared := &hinted{"vagrant up failed"}
	err := runSteps(t.Context(), &Env{}, []Step{
		{Name: "boot", Node: "n1", Run: does(false, shared)},
		{Name: "boot", Node: "n2", Run: func(context.Context, *Env, func(string)) (bool, error) {
			return false, &hinted{"n2: Boot: alone"}
		}},
		{Name: "boot", Node: "n3", Run: does(false, shared)},
		{Name: "render", Run: does(false, &hinted{"no room"})},
	})
	if want := "n1, n3: boot: vagrant up failed\nn2: boot: alone\nrender: no room"; err == nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant, in the steps' order and each once:\n%s", err, want)
	}
	var step *StepError
	if !errors.As(err, &step) || !errors.Is(err, shared) {
		t.Error("the step's error is not in the chain")
	}
}

func TestRunStepsInterrupted(t *testing.T) {
	enough := errors.New("a person has had enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	h := &heard{}
	err := runSteps(ctx, &Env{Sink: h}, []Step{
		{Name: "a", Run: func(ctx context.Context, _ *Env, _ func(string)) (bool, error) {
			cancel(enough)
			return false, fmt.Errorf("docker1: %w", ctx.Err())
		}},
		{Name: "b", After: []string{"a"}, Run: does(true, nil)},
	})
	if err != enough {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff([]string{"a started", "a failed: interrupted", "b skipped"}, h.events); diff != "" {
		t.Error(diff)
	}
	// Nothing begins when it is over already.
	h = &heard{}
	if err := runSteps(ctx, &Env{Sink: h}, []Step{{Name: "a", Run: does(true, nil)}}); err != enough {
		t.Errorf("error %v", err)
	}
	if !h.has("a skipped") || h.has("a started") {
		t.Errorf("events %v", h.events)
	}
}

func TestRunStepsMistakes(t *testing.T) {
	ran := false
	run := func(context.Context, *Env, func(string)) (bool, error) { ran = true; return true, nil }
	for _, tt := range []struct {
		steps []Step
		want  string
	}{
		{[]Step{{Name: "a", Run: run}, {Name: "a", Run: run}}, "step a stands twice in the pipeline"},
		{[]Step{{Name: "a", Node: "n", Run: run}, {Name: "b", After: []string{"a"}, Run: run}}, `step b comes after "a", which does not stand before it`},
		{[]Step{{Name: "b", After: []string{"a"}, Run: run}, {Name: "a", Run: run}}, `step b comes after "a", which does not stand before it`},
		{[]Step{{Name: "a", After: []string{"a"}, Run: run}}, `step a comes after "a", which does not stand before it`},
	} {
		if err := runSteps(t.Context(), &Env{}, tt.steps); err == nil || err.Error() != tt.want {
			t.Errorf("got %v, want %s", err, tt.want)
		}
	}
	if ran {
		t.Error("a step of a wrong pipeline ran")
	}
}

// testLab is a lab of so many managers and workers.
func testLab(managers, workers int) *config.Lab {
	l := config.Default()
	l.Nodes = nil
	for i := range managers + workers {
		n := config.Node{Name: fmt.Sprintf("docker%d", i+1), Role: config.Worker, IP: netip.AddrFrom4([4]byte{192, 168, 33, byte(11 + i)}), CPUs: 1, MemoryMB: 1024}
		if i < managers {
			n.Role = config.Manager
		}
		l.Nodes = append(l.Nodes, n)
	}
	return l
}

// TestCreateSteps: the whole pipeline, with what each step waits for.
func TestCreateSteps(t *testing.T) {
	node := func(n string) string {
		return fmt.Sprintf("boot@%[1]s < render\nconnect@%[1]s < boot@%[1]s\nprepare@%[1]s < connect@%[1]s\ninstall docker@%[1]s < prepare@%[1]s\n", n)
	}
	for _, tt := range []struct {
		managers, workers int
		want              string
	}{
		{1, 0, "render <\n" + node("docker1") + "swarm init@docker1 < install docker@docker1\nverify < swarm init@docker1\nsnapshot < verify\n"},
		{1, 2, "render <\n" + node("docker1") + node("docker2") + node("docker3") +
			"swarm init@docker1 < install docker@docker1\n" +
			"swarm join@docker2 < install docker@docker2, swarm init@docker1\n" +
			"swarm join@docker3 < install docker@docker3, swarm init@docker1\n" +
			"verify < swarm init@docker1, swarm join@docker2, swarm join@docker3\nsnapshot < verify\n"},
		{2, 1, "render <\n" + node("docker1") + node("docker2") + node("docker3") +
			"swarm init@docker1 < install docker@docker1\n" +
			"swarm join@docker2 < install docker@docker2, swarm init@docker1\n" +
			"swarm join@docker3 < install docker@docker3, swarm join@docker2\n" +
			"verify < swarm init@docker1, swarm join@docker2, swarm join@docker3\nsnapshot < verify\n"},
		{3, 1, "render <\n" + node("docker1") + node("docker2") + node("docker3") + node("docker4") +
			"swarm init@docker1 < install docker@docker1\n" +
			"swarm join@docker2 < install docker@docker2, swarm init@docker1\n" +
			"swarm join@docker3 < install docker@docker3, swarm join@docker2\n" +
			"swarm join@docker4 < install docker@docker4, swarm join@docker3\n" +
			"verify < swarm init@docker1, swarm join@docker2, swarm join@docker3, swarm join@docker4\nsnapshot < verify\n"},
	} {
		var b strings.Builder
		steps := createSteps(testLab(tt.managers, tt.workers))
		for _, s := range steps {
			b.WriteString(strings.TrimSpace(s.Key()+" < "+strings.Join(s.After, ", ")) + "\n")
		}
		if diff := cmp.Diff(tt.want, b.String()); diff != "" {
			t.Errorf("%d managers, %d workers: %s", tt.managers, tt.workers, diff)
		}
		// It holds together: every step runs when all succeed.
		h := &heard{}
		for i := range steps {
			steps[i].Run = does(true, nil)
		}
		if err := runSteps(t.Context(), &Env{Sink: h}, steps); err != nil || len(h.events) != 2*len(steps) {
			t.Errorf("%v, %d events of %d steps", err, len(h.events), len(steps))
		}
	}
}

func TestSwarmSteps(t *testing.T) {
	l := testLab(2, 1)
	steps := append(connectSteps(l), joinSteps(l, "connect@docker1", "connect")...)
	for i := range steps {
		steps[i].Run = does(true, nil)
	}
	if err := runSteps(t.Context(), &Env{}, steps); err != nil {
		t.Error(err)
	}
}

func TestState(t *testing.T) {
	dir := t.TempDir()
	s, err := LoadState(dir)
	if err != nil || s.Provider != "" || s.Schema != 1 {
		t.Fatalf("%+v, %v", s, err)
	}
	s.Provider, s.Booting = config.Libvirt, []string{"docker1"}
	if err := s.Save(); err != nil {
		t.Fatal(err)
	}
	again, err := LoadState(dir)
	if err != nil || again.Provider != config.Libvirt || !slices.Equal(again.Booting, s.Booting) {
		t.Errorf("%+v, %v", again, err)
	}
	file := filepath.Join(dir, "state.json")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(file, []byte(`{"schema": 1,`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadState(dir); err == nil || err.Error() != file+": unexpected end of JSON input" {
		t.Errorf("error %v", err)
	}
}

func TestLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), ".labctl")
	first, err := TakeLock(dir, " create ")
	if err != nil {
		t.Fatal(err)
	}
	_, err = TakeLock(dir, "destroy")
	var locked *LockedError
	if !errors.As(err, &locked) || !strings.HasPrefix(err.Error(), fmt.Sprintf("the lab is in use: `labctl create` (pid %d) holds it since ", os.Getpid())) {
		t.Errorf("error %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "lock"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err = TakeLock(dir, "destroy"); err == nil || err.Error() != "the lab is in use: another labctl holds it" {
		t.Errorf("error %v", err)
	}
	first.Release()
	second, err := TakeLock(dir, "destroy")
	if err != nil {
		t.Fatal(err)
	}
	second.Release()
}

func TestOwnKey(t *testing.T) {
	e := &Env{Lab: testLab(1, 0), Dir: t.TempDir()}
	public, err := e.ownKey()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(public, "ssh-rsa ") || !strings.HasSuffix(public, " labctl lab") || strings.Contains(public, "\n") {
		t.Errorf("public key %q", public)
	}
	if again, err := e.ownKey(); err != nil || again != public {
		t.Errorf("another key the second time (%v)", err)
	}
	if info, err := os.Stat(e.keyFile()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	// Vagrant's own SSH client needs the old form.
	if data, _ := os.ReadFile(e.keyFile()); !strings.HasPrefix(string(data), "-----BEGIN RSA PRIVATE KEY-----\n") {
		t.Error("the key is not in PEM")
	}
	if err := os.WriteFile(e.keyFile(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := e.ownKey(); err == nil || err.Error() != "the lab's SSH key "+e.keyFile()+": ssh: no key found" {
		t.Errorf("error %v", err)
	}
}
