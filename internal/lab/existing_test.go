package lab

import (
	"slices"
	"strings"
	"testing"

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
	for _, s := range e.giveBackSteps() {
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
