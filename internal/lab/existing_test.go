package lab

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/config"
	"labctl/internal/existing"
)

// Nothing is changed on a machine before all have been looked at, and nothing
// is there that needs VMs.
func TestTakeOverSteps(t *testing.T) {
	l := testLab(2, 1)
	l.Provider = config.Existing
	steps := createSteps(l)
	byKey := map[string]Step{}
	for _, s := range steps {
		byKey[s.Key()] = s
		if slices.Contains([]string{"render", "boot", "snapshot"}, s.Name) {
			t.Errorf("step %s", s.Key())
		}
	}
	var needs func(key string) []string
	needs = func(key string) []string {
		var out []string
		for _, k := range byKey[key].After {
			out = append(append(out, k), needs(k)...)
		}
		return out
	}
	for _, s := range steps {
		if s.Name == "connect" {
			continue
		}
		for _, n := range l.Nodes {
			if !slices.Contains(needs(s.Key()), key("connect", n.Name)) {
				t.Errorf("%s does not wait for a look at %s", s.Key(), n.Name)
			}
		}
	}
	if last := steps[len(steps)-1]; last.Name != "verify" {
		t.Errorf("the last step is %s", last.Key())
	}
}

// What runs on a machine is taken down before it leaves the swarm, managers
// last, and only then given back.
func TestGiveBackSteps(t *testing.T) {
	e := &Env{Lab: testLab(1, 1)}
	var order []string
	for _, s := range e.giveBackSteps(nil) {
		order = append(order, s.Key()+" after "+strings.Join(s.After, ","))
	}
	want := []string{
		"connect@docker1 after ", "connect@docker2 after ",
		"clean after connect@docker1,connect@docker2",
		"swarm leave@docker2 after clean",
		"swarm leave@docker1 after swarm leave@docker2",
		"give back@docker1 after swarm leave@docker1",
		"give back@docker2 after swarm leave@docker1",
		"remove exports after give back@docker1,give back@docker2",
		"remove state after remove exports",
	}
	if !slices.Equal(order, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(order, "\n"), strings.Join(want, "\n"))
	}
}

func TestOurs(t *testing.T) {
	n := config.Node{Name: "docker1"}
	e := &Env{Lab: testLab(1, 0)}
	if !e.ours(n) {
		t.Error("a VM of labctl's is not its own")
	}
	e.Choice.Provider = config.Existing
	for _, tt := range []struct {
		name  string
		facts existing.Facts
		want  bool
	}{
		{"never looked at", existing.Facts{}, false},
		{"not taken over", existing.Facts{Swarm: "inactive"}, false},
		{"another lab's", existing.Facts{Swarm: "active", Made: &existing.Made{Lab: "other"}}, false},
		{"Docker is off", existing.Facts{Made: &existing.Made{Lab: e.Lab.Name}}, false},
		{"taken over", existing.Facts{Swarm: "active", Made: &existing.Made{Lab: e.Lab.Name}}, true},
	} {
		e.setFacts(n, tt.facts)
		if got := e.ours(n); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// A machine stands from the moment that it is taken over, and for as long as it
// is not given back: also if lab.toml does not name it any more.
func TestMachinesStand(t *testing.T) {
	l := testLab(1, 1)
	l.Provider = config.Existing
	l.SSH.User = "debian"
	for i := range l.Nodes {
		l.Nodes[i].Address, l.Nodes[i].Login.Port = "203.0.113."+l.Nodes[i].Name, 2200+i
		l.Nodes[i].CPUs, l.Nodes[i].MemoryMB = 0, 0
	}
	e := standingEnv(t, l)
	e.Choice.Provider = config.Existing
	e.noteNodes()
	e.State.Provider = config.Existing
	if got := e.standing(); len(got) != 0 {
		t.Errorf("not taken over yet: %+v", got)
	}
	for _, n := range l.Nodes {
		e.setFacts(n, existing.Facts{Made: &existing.Made{Lab: l.Name}})
		if err := e.takeOver(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	was := l.Nodes[1]
	l.Nodes = l.Nodes[:1]
	l.Subnet = netip.MustParsePrefix("192.168.33.11/32") // theirs is what the machines make of it
	l.Nodes[0].Login.Port = 22
	e.noteNodes()
	if e.State.Nodes[0].Login.Port != 22 {
		t.Errorf("noted %+v", e.State.Nodes)
	}
	want := []Change{{"docker2", "docker2 stands, but lab.toml does not name it: it stays as it is", "`labctl create --prune` takes it out of the swarm and gives it back", false}}
	if diff := cmp.Diff(want, e.Changes(false)); diff != "" {
		t.Error(diff)
	}
	for name, nodes := range map[string][]config.Node{"as made": e.AsMade().Nodes, "without lab.toml": remembered(t, e).Nodes} {
		if len(nodes) != 2 || nodes[1] != was {
			t.Errorf("%s: %+v", name, nodes)
		}
	}
	if got := remembered(t, e).SSH; got != l.SSH {
		t.Errorf("without lab.toml: %+v", got)
	}
}

func remembered(t *testing.T, e *Env) *config.Lab {
	t.Helper()
	if err := e.State.Save(); err != nil {
		t.Fatal(err)
	}
	again, err := LoadState(e.StateDir())
	if err != nil {
		t.Fatal(err)
	}
	l, ok := again.Remembered()
	if !ok {
		t.Fatal("nothing is remembered")
	}
	return l
}

// A machine that lab.toml does not name any more and that does not answer is
// passed over; an interruption is not that.
func TestIfThere(t *testing.T) {
	silent := errors.New("no route")
	step := ifThere(Step{Name: "connect", Node: "docker2", Run: func(context.Context, *Env, func(string)) (bool, error) { return false, silent }})
	said := ""
	if _, err := step(t.Context(), &Env{}, func(text string) { said = text }); err != nil {
		t.Error(err)
	}
	if want := "it does not answer: what labctl made there stays"; said != want {
		t.Errorf("said %q, want %q", said, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := step(ctx, &Env{}, func(string) {}); !errors.Is(err, silent) {
		t.Errorf("interrupted: %v", err)
	}
}
