package scenario

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"labctl/internal/remote"

	"github.com/google/go-cmp/cmp"
)

// model is a lab that holds things: `add X`, `del X`, `has X`, `not X`.
type model struct{ things map[string]bool }

func (m *model) fakes() *fakes {
	f := &fakes{do: map[string]doing{}}
	for _, x := range []string{"a", "b"} {
		f.do["add-"+x] = func(ctx context.Context, n string, c remote.Command) (remote.Result, error) {
			m.things[x] = true
			return says(0, "id-"+x)(ctx, n, c)
		}
		f.do["del-"+x] = func(ctx context.Context, n string, c remote.Command) (remote.Result, error) {
			delete(m.things, x)
			return says(0, "")(ctx, n, c)
		}
		f.do["has-"+x] = func(ctx context.Context, n string, c remote.Command) (remote.Result, error) {
			if m.things[x] {
				return says(0, "")(ctx, n, c)
			}
			return says(1, "no "+x)(ctx, n, c)
		}
	}
	f.do["#"] = func(ctx context.Context, n string, c remote.Command) (remote.Result, error) {
		return says(0, fmt.Sprintf("thing %v\n", len(m.things)))(ctx, n, c)
	}
	return f
}

func prove(t *testing.T, d *Document) (*Proof, []string) {
	t.Helper()
	m := &model{things: map[string]bool{}}
	f := m.fakes()
	var said []string
	p, err := Test(context.Background(), d, f.options(), func(s string) { said = append(said, s) })
	if err != nil {
		t.Fatal(err)
	}
	return p, said
}

func defects(p *Proof) string {
	var out []string
	for _, d := range p.Defects {
		out = append(out, d.String())
	}
	return strings.Join(out, "\n")
}

func TestProof(t *testing.T) {
	const neverFails = "the check was never seen to fail, not even with nothing there: if that is as it should be, mark it `check given`"
	const already = "the check holds already before the steps of its chapter: if that is as it should be, mark it `check given`"
	for _, tt := range []struct {
		name          string
		first, second []string
		want          string
	}{
		{"sound", []string{"@manager check given|true", "@manager id=a|add-a", "@manager check|has-a"},
			[]string{"@manager check|has-a", "@manager id=b|add-b", "@manager check|has-b", "@manager cleanup for=a|del-a", "@manager cleanup for=b|del-b"}, ""},
		{"a check that cannot fail", []string{"@manager id=a|add-a", "@manager check|has-a", "@manager check|true"},
			[]string{"@manager cleanup for=a|del-a"}, "x.md:27: " + already},
		{"a check that the chapter before has fulfilled", []string{"@manager id=a|add-a", "@manager check|has-a"},
			[]string{"@manager id=b|add-b", "@manager check|has-a", "@manager cleanup for=a|del-a", "@manager cleanup for=b|del-b"}, "x.md:35: " + already},
		{"still there, which is said", []string{"@manager id=a|add-a", "@manager check|has-a"},
			[]string{"@manager id=b|add-b", "@manager check given|has-a", "@manager cleanup for=a|del-a", "@manager cleanup for=b|del-b"}, ""},
		{"not given", []string{"@manager check|true", "@manager id=a|add-a", "@manager check|has-a"},
			[]string{"@manager cleanup for=a|del-a"}, "x.md:15: " + neverFails},
		{"given, but made by the steps", []string{"@manager id=a|add-a", "@manager check given|has-a", "@manager check|has-a"},
			[]string{"@manager cleanup for=a|del-a"},
			"x.md:21: the check is given, but it does not hold before the steps above it: no a"},
		{"a check of a step's saved value alone", []string{"@manager id=a save=GOT|add-a", "@manager check|has-a"},
			[]string{`@manager check|true "$GOT"`, "@manager cleanup for=a|del-a"}, "x.md:29: " + neverFails},
		{"a check of a step's saved value that asks the lab", []string{"@manager id=a save=GOT|add-a", `@manager check|has-a "$GOT"`},
			[]string{"@manager cleanup for=a|del-a"}, ""},
		{"the undo of a fault", []string{"@manager id=a|add-a", "@manager check|has-a"},
			[]string{"@manager fault id=f|del-a", "@manager undo for=f|add-a", "@manager check|has-a", "@manager cleanup for=a|del-a"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, said := prove(t, chapters(t, tt.first, tt.second))
			if diff := cmp.Diff(tt.want, defects(p)); diff != "" {
				t.Errorf("defects (-want +got):\n%s\n%s", diff, strings.Join(said, "\n"))
			}
			if p.Passed() != 2 || p.Sound() != (tt.want == "") {
				t.Errorf("%d runs passed, sound %t", p.Passed(), p.Sound())
			}
		})
	}
}

func TestProofOfAFailingRun(t *testing.T) {
	p, said := prove(t, page(t, "@manager|add-a", "@manager check within=3ms every=3ms|has-b", "@manager cleanup|del-a"))
	if p.Sound() || len(p.Runs) != 1 || p.Runs[0].Failure.Error() != "x.md:21: docker1: did not hold within 3ms: exit code 1" {
		t.Errorf("proof %+v", p)
	}
	wantLines(t, "said", said, "x.md:21 check fails before its steps, as it must: no b")
}

func TestProofFindsWhatIsLeft(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the lab to settle")
	}
	d := page(t, "@manager|add-a", "@manager check|has-a")
	m := &model{things: map[string]bool{}}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var said []string
	_, err := Test(ctx, d, m.fakes().options(), func(s string) {
		said = append(said, s)
		if strings.HasPrefix(s, "not yet") {
			cancel()
		}
	})
	if err == nil || ctx.Err() == nil {
		t.Errorf("error %v", err)
	}
	wantLines(t, "said", said, "x.md:21 check fails before its steps, as it must: no a", "not yet as it was: new: docker1: thing 1")
	wantLines(t, "difference", difference([]string{"a", "b"}, []string{"b", "c"}), "new: c", "missing: a")
}
