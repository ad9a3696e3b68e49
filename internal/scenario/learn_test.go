package scenario

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"labctl/internal/remote"
)

// trainee types a line when what they wait for has been shown.
type trainee struct {
	t     *testing.T
	mu    sync.Mutex
	out   strings.Builder
	seen  int // of out
	plan  [][2]string
	lines chan string
	on    map[string]func() // what happens on the nodes when a text shows
}

func (r *trainee) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.out.Write(p)
	for len(r.plan) > 0 {
		at := strings.Index(r.out.String()[r.seen:], r.plan[0][0])
		if at < 0 {
			break
		}
		r.seen += at + len(r.plan[0][0])
		line := r.plan[0][1]
		r.plan = r.plan[1:]
		if act := r.on[line]; act != nil {
			act()
			continue
		}
		go func() { r.lines <- line }()
	}
	return len(p), nil
}

func learn(t *testing.T, d *Document, f *fakes, on map[string]func(), change func(*Options), plan ...[2]string) (*Result, string, error) {
	t.Helper()
	r := &trainee{t: t, plan: plan, lines: make(chan string), on: on}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	o := f.options()
	if change != nil {
		change(&o)
	}
	res, err := Learn(ctx, d, o, Lesson{Out: r, Lines: r.lines, Style: Style{Width: 60}, Every: time.Millisecond})
	if len(r.plan) > 0 {
		t.Errorf("never shown: %q in\n%s", r.plan[0][0], r.out.String())
	}
	return res, r.out.String(), err
}

const lesson = "# A lesson\n\n" + "```toml scenario\nformat = 1\nid = \"x\"\ntitle = \"A lesson\"\nnodes = { managers = 1, workers = 1 }\n[params]\nnetwork = \"my'net\"\n```\n" + `
Some *words* to begin with, long enough to be broken into more than a single line.

## Make it

The manager must be there.

` + "```sh @manager check given\ntrue\n```\n" + `
Make it on the **manager**, with ` + "`add`" + `:

` + "```sh @manager id=a\nadd-a \"$NETWORK\"\n```\n" + `
<details><summary>Nothing?</summary>

Look *again*, on the manager:

` + "```sh @manager solve\nadd-a\n```\n" + `
</details>

Wait on the manager. It takes a while.

` + "```sh @manager check\nhas-a\n```\n" + `
## Break it

Something is broken on the worker.

` + "```sh @worker fault id=f\ncut\n```\n" + `
The manager sees it.

` + "```sh @manager check\nhas-b\n```\n" + `
And mended on the worker.

` + "```sh @worker undo for=f\nmend\n```\n" + `
## Nothing to see

Do something on the host.

` + "```sh @host\nlook\n```\n" + `
## Clean up

On the manager:

` + "```sh @manager cleanup for=a\ndel-a\n```\n"

func loadLesson(t *testing.T) *Document {
	t.Helper()
	d, warnings, err := Load("x.md", []byte(lesson))
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	return d
}

func TestLearning(t *testing.T) {
	m := &model{things: map[string]bool{}}
	f := m.fakes()
	dir := t.TempDir()
	res, out, err := learn(t, loadLesson(t), f, map[string]func(){
		"(makes a)": func() { m.things["a"] = true },
		"(makes b)": func() { m.things["b"] = true },
	}, func(o *Options) { o.Journal = filepath.Join(dir, "x.json") },
		[2]string{"Not yet: no a", "hint"},
		[2]string{"again", "what"},
		[2]string{`"what" is not known here`, "solution"},
		[2]string{"`run` types this for you.", "(makes a)"},
		[2]string{"Not yet: no b", "(makes b)"},
		[2]string{"press Enter", ""},
		[2]string{"Enter removes", ""},
	)
	if err != nil || !res.Passed {
		t.Fatal(err, res)
	}
	golden(t, "lesson.txt", []byte(out))
	calls := f.calls[:0:0]
	for _, c := range f.calls { // how often it looked is a matter of time
		if len(calls) == 0 || calls[len(calls)-1] != c {
			calls = append(calls, c)
		}
	}
	wantLines(t, "calls", calls, "docker1: true", "docker1: has-a", "docker2: cut", "docker1: has-b", "docker2: mend", "docker1: del-a")
	if left, err := Journals(dir); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// Whoever leaves finds their work standing and the fault mended, and goes on
// from there.
func TestLeavingAndComingBack(t *testing.T) {
	m := &model{things: map[string]bool{}}
	f := m.fakes()
	dir := t.TempDir()
	journal := func(o *Options) { o.Journal = filepath.Join(dir, "x.json") }
	res, _, err := learn(t, loadLesson(t), f, nil, journal, [2]string{"Not yet: no a", "run"}, [2]string{"Not yet: no b", "q"})
	if !errors.Is(err, ErrQuit) || res.Passed || !res.Kept {
		t.Fatal(err, res)
	}
	if last := f.calls[len(f.calls)-1]; last != "docker2: mend" || !m.things["a"] {
		t.Errorf("last call %q, things %v", last, m.things)
	}
	left, err := Journals(dir)
	if err != nil || len(left) != 1 || left[0].Chapter != 1 || len(left[0].Faults()) > 0 {
		t.Fatal(left, err)
	}

	f.calls = nil
	m.things["b"] = true
	res, out, err := learn(t, loadLesson(t), f, nil, func(o *Options) {
		journal(o)
		o.From = left[0]
	}, [2]string{"press Enter", "run"}, [2]string{"Done.", ""}, [2]string{"Enter removes", "k"})
	if err != nil {
		t.Fatal(err)
	}
	if held, checks := res.Held(); held != 2 || checks != 2 || !res.Passed {
		t.Errorf("%d of %d, passed %t", held, checks, res.Passed)
	}
	if !strings.Contains(out, "You go on from where you were.") || strings.Contains(out, "## Make it") {
		t.Error(out)
	}
	wantCalls(t, f, "docker2: cut", "docker1: has-b", "docker2: mend", "host: look")
	if left, err = Journals(dir); err != nil || len(left) != 1 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestInterruptedLesson(t *testing.T) {
	m := &model{things: map[string]bool{"a": true}}
	f := m.fakes()
	ctx, cancel := context.WithCancel(context.Background())
	f.do["has-b"] = func(own context.Context, node string, c remote.Command) (remote.Result, error) {
		cancel()
		return hangs(own, node, c)
	}
	res, err := Learn(ctx, loadLesson(t), f.options(), Lesson{Out: new(strings.Builder), Lines: make(chan string)})
	if !errors.Is(err, context.Canceled) || !res.Interrupted {
		t.Errorf("%v %+v", err, res)
	}
	if last := f.calls[len(f.calls)-1]; last != "docker2: mend" {
		t.Errorf("last call %q", last)
	}
}

// What is typed for the trainee leads to the check that is watched, and goes
// no further.
func TestRunStopsAtTheWatchedCheck(t *testing.T) {
	d := page(t, "@manager|one", "@manager solve|add-a", "@manager check|has-a", "@manager|add-b", "@manager check|has-b")
	m := &model{things: map[string]bool{}}
	f := m.fakes()
	_, out, err := learn(t, d, f, nil, nil, [2]string{"Not yet: no a", "run"}, [2]string{"Not yet: no b", "solution"},
		[2]string{"`run` types", "run"})
	if err != nil {
		t.Fatal(err, out)
	}
	var made []string
	for _, c := range f.calls {
		if !strings.Contains(c, "has-") {
			made = append(made, c)
		}
	}
	wantLines(t, "made", made, "docker1: one", "docker1: add-a", "docker1: add-b")
	_, solution, _ := strings.Cut(out, "Not yet: no b")
	if strings.Contains(solution, "add-a") {
		t.Errorf("the solution is of another check:\n%s", solution)
	}
}
