package scenario

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"labctl/internal/remote"

	"github.com/google/go-cmp/cmp"
)

// chapters makes a document of two chapters with the block lists.
func chapters(t *testing.T, first, second []string) *Document {
	t.Helper()
	d := page(t, append(slices.Clone(first), second...)...)
	src := string(d.Source)
	at := d.Blocks[len(first)].Line // the heading goes above the prose of the block
	lines := strings.Split(src, "\n")
	lines = slices.Insert(lines, at-3, "## Second one", "")
	d, _, err := Load("x.md", []byte(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func reasons(r *Result) []string {
	var out []string
	for _, b := range r.Blocks {
		s := string(b.Kind) + " " + string(b.Verdict)
		if why := orSelf(b.Reason, b.Hint()); why != "" {
			s += ": " + why
		}
		out = append(out, s)
	}
	return out
}

func wantLines(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestStepping(t *testing.T) {
	d := page(t, "@manager id=one save=ONE|one", "@manager fault id=cut|cut", "@manager undo for=cut|mend",
		`@manager|use "$ONE"`, "@manager check|look", "@manager cleanup|clean")
	for _, tt := range []struct {
		name    string
		actions map[string]Action // by kind and number
		calls   []string
		reasons []string
		word    string
		err     error
	}{
		{"all", nil, []string{"docker1: one", "docker1: cut", "docker1: mend", `docker1: use "$ONE"`, "docker1: look", "docker1: clean"},
			[]string{"step passed", "fault passed", "undo passed", "step passed", "check passed", "cleanup passed"}, "PASS", nil},
		{"a fault is skipped, and so its undo", map[string]Action{"x.md:21 fault": Skip},
			[]string{"docker1: one", `docker1: use "$ONE"`, "docker1: look", "docker1: clean"},
			[]string{"step passed", "fault skipped: skipped, as asked", "undo skipped: its fault was not reached", "step passed", "check passed", "cleanup passed"}, "NOT JUDGED", nil},
		{"what was to be saved is missed", map[string]Action{"x.md:15 step": Skip},
			[]string{"docker1: cut", "docker1: mend", "docker1: clean"},
			[]string{"step skipped: skipped, as asked", "fault passed", "undo passed",
				"step failed: cannot be run: $ONE was never saved, since the step in line 15 has not run here",
				"check skipped: not reached", "cleanup passed"}, "FAIL", nil},
		{"quit", map[string]Action{"x.md:33 step": Quit}, []string{"docker1: one", "docker1: cut", "docker1: mend", "docker1: clean"},
			[]string{"step passed", "fault passed", "undo passed", "step skipped: not reached", "check skipped: not reached", "cleanup passed"}, "INTERRUPTED", ErrQuit},
		{"quit on a fault", map[string]Action{"x.md:27 undo": Quit}, []string{"docker1: one", "docker1: cut", "docker1: mend", "docker1: clean"},
			[]string{"step passed", "fault passed", "undo passed", "step skipped: not reached", "check skipped: not reached", "cleanup passed"}, "INTERRUPTED", ErrQuit},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &fakes{}
			o := f.options()
			o.Before = func(_ context.Context, b *Block) Action { return tt.actions[d.Name(b)] }
			res, err := Run(context.Background(), d, o)
			if !errors.Is(err, tt.err) {
				t.Fatal(err)
			}
			wantCalls(t, f, tt.calls...)
			wantLines(t, "blocks", reasons(res), tt.reasons...)
			if got := res.Word(); got != tt.word {
				t.Errorf("word %q, want %q", got, tt.word)
			}
		})
	}
}

func TestCatchingUp(t *testing.T) {
	d := chapters(t, []string{"@manager save=ONE|one", "@manager cleanup|clean"}, []string{"@manager|two", "@manager check|look"})
	for _, heading := range []string{"Second one", "second ONE", "cond", "2"} {
		f := &fakes{}
		journal := filepath.Join(t.TempDir(), "sub", "x.json")
		res := mustRun(t, f, d, func(o *Options) { o.To, o.Journal = heading, journal })
		wantCalls(t, f, "docker1: one")
		if res.Word() != "READY" || res.Stopped != "Second one" || !res.Kept || res.Passed {
			t.Errorf("result %+v", res)
		}
		j, err := readJournal(journal)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]int{0}, j.Started); diff != "" || j.Chapter != 1 {
			t.Errorf("journal %+v", j)
		}
	}
	// If it fails on the way, it is cleaned as ever.
	f := &fakes{do: map[string]doing{"one": says(1, "")}}
	res := mustRun(t, f, d, func(o *Options) { o.To = "second one" })
	wantCalls(t, f, "docker1: one", "docker1: clean")
	if res.Word() != "FAIL" {
		t.Errorf("word %s", res.Word())
	}
	for heading, want := range map[string]string{
		"third": `--to: x.md has no chapter "third": there is "Chapter", "Second one"`,
		"e":     `--to: x.md has several chapters like "e": there is "Chapter", "Second one"`,
	} {
		o := f.options()
		o.To = heading
		if _, err := Run(context.Background(), d, o); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

func TestScore(t *testing.T) {
	d := page(t, "@manager check given|ready", "@manager save=MADE|make", "@manager check save=SEEN|look", `@all check|compare "$SEEN"`,
		`@manager check|use "$MADE"`, "@worker check within=60s every=60s|last", "@manager cleanup|clean")
	f := &fakes{do: map[string]doing{"look": says(1, "first\n2/4 run\n"), "last": hangsUp}}
	res, err := Score(context.Background(), d, f.options())
	if err != nil {
		t.Fatal(err)
	}
	wantCalls(t, f, "docker1: ready", "docker1: look", "docker2: last")
	wantLines(t, "blocks", reasons(res), "check passed", "step skipped: only the checks are asked", "check failed: 2/4 run",
		"check failed: cannot be asked: $SEEN was never saved, since the check in line 27 did not hold",
		"check failed: cannot be asked: $MADE was never saved, since the step in line 21 has not run here",
		"check failed: could not be run: connection lost", "cleanup skipped: only the checks are asked")
	if held, checks := res.Held(); held != 0 || checks != 4 || res.Passed {
		t.Errorf("%d of %d, passed %t", held, checks, res.Passed)
	}

	// With what an earlier run has saved, the rest can be asked, and once.
	f = &fakes{}
	o := f.options()
	o.From = &Journal{Saved: map[string]string{"MADE": "x"}}
	res, err = Score(context.Background(), d, o)
	if err != nil {
		t.Fatal(err)
	}
	if held, checks := res.Held(); held != 4 || checks != 4 || !res.Passed || len(f.calls) != 6 {
		t.Errorf("%d of %d, passed %t, calls %q", held, checks, res.Passed, f.calls)
	}
}

func hangsUp(context.Context, string, remote.Command) (remote.Result, error) {
	return remote.Result{}, errors.New("connection lost")
}

// A killed run is what its journal says when a fault goes in.
func TestJournal(t *testing.T) {
	d := page(t, "@manager id=net save=NET|make", "@worker fault id=cut|cut", "@manager check|look", `@worker undo for=cut|mend "$PORT"`,
		`@manager cleanup for=net|remove "$NET"`)
	dir := t.TempDir()
	file := filepath.Join(dir, "x.json")
	copied := filepath.Join(dir, "killed", "x.json")
	seen := map[string][]string{}
	peek := func(word string, out string) doing {
		return func(ctx context.Context, node string, c remote.Command) (remote.Result, error) {
			j, err := readJournal(file)
			if err != nil {
				return remote.Result{}, err
			}
			seen[word] = j.Faults()
			if word == "look" {
				data, err := os.ReadFile(file)
				if err = errors.Join(err, os.MkdirAll(filepath.Dir(copied), 0o700), os.WriteFile(copied, data, 0o600)); err != nil {
					return remote.Result{}, err
				}
			}
			return says(0, out)(ctx, node, c)
		}
	}
	f := &fakes{do: map[string]doing{"make": peek("make", "n1\n"), "cut": peek("cut", ""), "look": peek("look", ""), "remove": peek("remove", "")}}
	res := mustRun(t, f, d, func(o *Options) {
		o.Journal = file
		o.Set = map[string]string{"port": "9"}
	})
	if !res.Passed {
		t.Fatal(res.Failure)
	}
	fault := []string{"x.md:21 fault id=cut on @worker"}
	if diff := cmp.Diff(map[string][]string{"make": nil, "cut": fault, "look": fault, "remove": nil}, seen); diff != "" {
		t.Errorf("faults in the journal (-want +got):\n%s", diff)
	}
	if left, err := Journals(dir); err != nil || len(left) > 0 {
		t.Errorf("left %v %v", left, err)
	}

	left, err := Journals(filepath.Dir(copied))
	if err != nil || len(left) != 1 {
		t.Fatal(left, err)
	}
	// At first the worker does not answer: the fault stays in the journal.
	f = &fakes{do: map[string]doing{"mend": hangsUp}}
	res, err = Clean(context.Background(), left[0], f.options())
	if err != nil {
		t.Fatal(err)
	}
	wantCalls(t, f, `docker2: mend "$PORT"`, `docker1: remove "$NET"`)
	if res.Failure == nil || res.Failure.Error() != "x.md:33: docker2: could not be run: connection lost" {
		t.Errorf("failure %v", res.Failure)
	}
	if !slices.Contains(f.envs[`docker1: remove "$NET"`], "NET=n1") || !slices.Contains(f.envs[`docker2: mend "$PORT"`], "PORT=9") {
		t.Errorf("environment %q", f.envs)
	}
	if left, err = Journals(filepath.Dir(copied)); err != nil || len(left) != 1 {
		t.Fatal(left, err)
	}
	// Then only what is left is done, and the journal is gone.
	f = &fakes{}
	if _, err = Clean(context.Background(), left[0], f.options()); err != nil {
		t.Fatal(err)
	}
	wantCalls(t, f, `docker2: mend "$PORT"`)
	if left, err = Journals(filepath.Dir(copied)); err != nil || len(left) > 0 {
		t.Errorf("left %v %v", left, err)
	}
}

// What cannot be written down is not made.
func TestNoJournalNoFault(t *testing.T) {
	d := page(t, "@manager fault id=cut|cut", "@manager check|look", "@manager undo for=cut|mend")
	blocked := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f := &fakes{}
	res := mustRun(t, f, d, func(o *Options) { o.Journal = filepath.Join(blocked, "x.json") })
	wantCalls(t, f)
	if res.Failure == nil || !strings.HasPrefix(res.Failure.Error(), "x.md:15: host: the journal could not be written: ") {
		t.Errorf("failure %v", res.Failure)
	}
}

func TestKeepLeavesAJournal(t *testing.T) {
	d := page(t, "@manager id=net|make", "@manager check|look", "@manager cleanup for=net|remove")
	dir := t.TempDir()
	f := &fakes{}
	mustRun(t, f, d, func(o *Options) { o.Keep, o.Journal = true, filepath.Join(dir, "x.json") })
	left, err := Journals(dir)
	if err != nil || len(left) != 1 || len(left[0].Faults()) > 0 {
		t.Fatal(left, err)
	}
	if _, err := Clean(context.Background(), left[0], f.options()); err != nil {
		t.Fatal(err)
	}
	wantCalls(t, f, "docker1: make", "docker1: look", "docker1: remove")
}

// Whoever looks for the cause of a failure finds the lab as it failed.
func TestFailedIsCalledBeforeTheCleanups(t *testing.T) {
	f := &fakes{do: map[string]doing{"look": says(1, "")}}
	d := page(t, "@manager|make", "@manager check within=3ms every=3ms|look", "@manager cleanup|remove")
	var at []string
	mustRun(t, f, d, func(o *Options) {
		o.Failed = func(_ context.Context, failure *Failure) { at = append(slices.Clone(f.calls), failure.Block) }
	})
	wantLines(t, "before", at, "docker1: make", "docker1: look", "x.md:21 check")
	wantCalls(t, f, "docker1: make", "docker1: look", "docker1: remove")
}
