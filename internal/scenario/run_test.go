package scenario

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"labctl/internal/config"
	"labctl/internal/remote"
	"labctl/internal/ui"

	"github.com/google/go-cmp/cmp"
)

// fakes is a lab whose nodes answer by the first word of the script. A script
// without an entry succeeds in silence.
type fakes struct {
	mu     sync.Mutex
	calls  []string // "node: first line of the script"
	envs   map[string][]string
	stdins []string
	do     map[string]func(ctx context.Context, node string, c remote.Command) (remote.Result, error)
}

type fakeNode struct {
	lab  *fakes
	name string
}

func (n fakeNode) Run(ctx context.Context, c remote.Command) (remote.Result, error) {
	script, err := io.ReadAll(c.Stdin)
	if err != nil {
		return remote.Result{}, err
	}
	first, _, _ := strings.Cut(string(script), "\n")
	n.lab.mu.Lock()
	n.lab.calls = append(n.lab.calls, n.name+": "+first)
	n.lab.stdins = append(n.lab.stdins, string(script))
	if n.lab.envs == nil {
		n.lab.envs = map[string][]string{}
	}
	n.lab.envs[n.name+": "+first] = c.Env
	n.lab.mu.Unlock()
	if !slices.Equal(c.Argv, []string{"sh", "-eu"}) {
		return remote.Result{}, fmt.Errorf("argv is %q", c.Argv)
	}
	word, _, _ := strings.Cut(first, " ")
	if f := n.lab.do[word]; f != nil {
		return f(ctx, n.name, c)
	}
	return remote.Result{Argv: c.Argv}, nil
}

type doing = func(ctx context.Context, node string, c remote.Command) (remote.Result, error)

func says(code int, out string) doing {
	return func(_ context.Context, _ string, c remote.Command) (remote.Result, error) {
		if c.Stdout != nil {
			_, _ = io.WriteString(c.Stdout, out)
		}
		return remote.Result{Argv: c.Argv, Stdout: out, ExitCode: code}, nil
	}
}

// hangs until its context ends, as a node that vanished.
func hangs(ctx context.Context, _ string, _ remote.Command) (remote.Result, error) {
	<-ctx.Done()
	return remote.Result{}, ctx.Err()
}

func (f *fakes) options() Options {
	return Options{Lab: "lab", Host: fakeNode{f, "host"}, Nodes: []Node{
		{Name: "docker1", Role: config.Manager, LabIP: netip.MustParseAddr("192.168.33.11"), Runner: fakeNode{f, "docker1"}},
		{Name: "docker2", Role: config.Worker, LabIP: netip.MustParseAddr("192.168.33.12"), Runner: fakeNode{f, "docker2"}},
	}}
}

// page makes a document of a head and blocks, "place and settings|script".
func page(t *testing.T, blocks ...string) *Document {
	t.Helper()
	var s strings.Builder
	s.WriteString("```toml scenario\nformat = 1\nid = \"x\"\ntitle = \"X\"\nnodes = { managers = 1, workers = 1 }\n[params]\nport = 8080\ntext = \"a\"\n```\n\n## Chapter\n")
	for _, b := range blocks {
		info, script, _ := strings.Cut(b, "|")
		fmt.Fprintf(&s, "\nOn the manager, the worker, every node and the host.\n\n```sh %s\n%s\n```\n", info, script)
	}
	d, _, err := Load("x.md", []byte(s.String()))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func mustRun(t *testing.T, f *fakes, d *Document, change func(*Options)) *Result {
	t.Helper()
	o := f.options()
	if change != nil {
		change(&o)
	}
	res, err := Run(context.Background(), d, o)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func wantCalls(t *testing.T, f *fakes, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, f.calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestCleanupsRunLastFirst(t *testing.T) {
	blocks := []string{
		"@manager id=one|one", "@manager cleanup for=one|unone",
		"@manager id=two|two", "@manager cleanup for=two|untwo",
		"@manager check within=4ms every=4ms|look",
		"@manager id=three|three", "@manager cleanup for=three|unthree", "@worker cleanup|all",
	}
	for _, tt := range []struct {
		name   string
		do     map[string]doing
		keep   bool
		calls  []string
		failed string
	}{
		{"pass", nil, false, []string{"docker1: one", "docker1: two", "docker1: look", "docker1: three",
			"docker2: all", "docker1: unthree", "docker1: untwo", "docker1: unone"}, ""},
		{"kept", nil, true, []string{"docker1: one", "docker1: two", "docker1: look", "docker1: three"}, ""},
		{"a check fails: what was not reached is not cleaned", map[string]doing{"look": says(1, "")}, false,
			[]string{"docker1: one", "docker1: two", "docker1: look", "docker1: untwo", "docker1: unone"},
			"x.md:39: docker1: did not hold within 4ms: exit code 1"},
		{"a step fails: it is cleaned too", map[string]doing{"two": says(2, "")}, false,
			[]string{"docker1: one", "docker1: two", "docker1: untwo", "docker1: unone"}, "x.md:27: docker1: exit code 2"},
		{"a cleanup that fails hides nothing and stops nothing", map[string]doing{"two": says(2, ""), "untwo": says(3, "")}, false,
			[]string{"docker1: one", "docker1: two", "docker1: untwo", "docker1: unone"}, "x.md:27: docker1: exit code 2"},
		{"a cleanup that fails after a pass is a failure", map[string]doing{"untwo": says(3, "")}, false,
			[]string{"docker1: one", "docker1: two", "docker1: look", "docker1: three",
				"docker2: all", "docker1: unthree", "docker1: untwo", "docker1: unone"}, "x.md:33: docker1: exit code 3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &fakes{do: tt.do}
			res := mustRun(t, f, page(t, blocks...), func(o *Options) { o.Keep = tt.keep })
			wantCalls(t, f, tt.calls...)
			got := ""
			if res.Failure != nil {
				got = res.Failure.Error()
			}
			if diff := cmp.Diff(tt.failed, got); diff != "" {
				t.Errorf("failure (-want +got):\n%s", diff)
			}
			if res.Passed != (tt.failed == "") {
				t.Errorf("passed is %t", res.Passed)
			}
		})
	}
}

func TestUndoRunsWhereItStandsOrAtTheEnd(t *testing.T) {
	blocks := []string{"@manager fault id=cut|cut", "@manager check within=4ms every=4ms|look",
		"@worker undo for=cut|mend", "@manager|after", "@manager cleanup|clean"}
	f := &fakes{}
	mustRun(t, f, page(t, blocks...), func(o *Options) { o.Keep = true })
	wantCalls(t, f, "docker1: cut", "docker1: look", "docker2: mend", "docker1: after")

	f = &fakes{do: map[string]doing{"look": says(1, "")}}
	mustRun(t, f, page(t, blocks...), nil)
	wantCalls(t, f, "docker1: cut", "docker1: look", "docker2: mend", "docker1: clean")

	// Even with Keep: what is broken on purpose is mended.
	f = &fakes{do: map[string]doing{"look": says(1, "")}}
	mustRun(t, f, page(t, blocks...), func(o *Options) { o.Keep = true })
	wantCalls(t, f, "docker1: cut", "docker1: look", "docker2: mend")

	// An undo that failed is tried once more at the end.
	f = &fakes{do: map[string]doing{"mend": says(1, "")}}
	mustRun(t, f, page(t, blocks...), nil)
	wantCalls(t, f, "docker1: cut", "docker1: look", "docker2: mend", "docker2: mend", "docker1: clean")
}

func TestCleanupOfWhatWasNeverSaved(t *testing.T) {
	f := &fakes{do: map[string]doing{"make": says(1, "no")}}
	res := mustRun(t, f, page(t, "@manager save=ID|make", "@manager check|true", `@manager cleanup|rm "$ID"`), nil)
	wantCalls(t, f, "docker1: make")
	if got := res.Blocks[2].Reason; got != "$ID was never saved: nothing to remove" {
		t.Errorf("reason %q", got)
	}
}

func TestCheckTellsWhyItTriesAgain(t *testing.T) {
	n := 0
	f := &fakes{do: map[string]doing{"look": func(ctx context.Context, node string, c remote.Command) (remote.Result, error) {
		n++
		return says(map[bool]int{true: 0, false: 1}[n == 3], fmt.Sprintf("first line\n%d/4 run\n", n+1))(ctx, node, c)
	}}}
	var out bytes.Buffer
	var events []string
	res := mustRun(t, f, page(t, "@manager check within=60s every=1ms|look"), func(o *Options) {
		o.Output = &out
		o.Event = func(e ui.Event) {
			events = append(events, fmt.Sprintf("%s %s %s %s", e.Node, e.Step, e.State, e.Detail))
		}
	})
	want := []string{
		"docker1 x.md:15 check started Chapter",
		"docker1 x.md:15 check progress try 1: 2/4 run; 1m0s left",
		"docker1 x.md:15 check progress try 2: 3/4 run; 1m0s left",
		"docker1 x.md:15 check done ",
	}
	if diff := cmp.Diff(want, events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("docker1 | first line\ndocker1 | 4/4 run\n", out.String()); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
	if got := res.Blocks[0].Nodes[0].Tries; got != 3 {
		t.Errorf("%d tries, want 3", got)
	}
}

func TestReasons(t *testing.T) {
	noConnection := func(context.Context, string, remote.Command) (remote.Result, error) {
		return remote.Result{}, errors.New("connection lost")
	}
	for _, tt := range []struct {
		info   string
		do     doing
		reason string // "" for a pass
		tries  int
	}{
		{"@manager", says(0, ""), "", 1},
		{"@manager", says(7, ""), "exit code 7", 1},
		{"@manager fails", says(7, ""), "", 1},
		{"@manager fails", says(0, ""), "exit code 0, but it was to fail", 1},
		{"@manager fails", says(127, ""), "exit code 127: a command could not be run, which `fails` does not mean", 1},
		{"@manager exit=3", says(3, ""), "", 1},
		{"@manager exit=3", says(1, ""), "exit code 1, wanted 3", 1},
		{`@manager shows="a \"b\""`, says(0, `an a "b"`), "", 1},
		{`@manager shows="a b"`, says(0, "a  b"), `the output does not show "a b"`, 1},
		{"@manager timeout=5ms", hangs, "no end within 5ms", 1},
		{"@manager", noConnection, "could not be run: connection lost", 1},
		{"@manager check within=60s every=60s", says(99, "no"), "exit code 99: no use in trying again", 1},
		{"@manager check within=60s every=1s", says(99, "no"), "exit code 99: no use in trying again", 1},
		{"@manager check within=20ms every=20ms", hangs, "did not hold within 20ms: the last try did not end", 1},
		{"@manager check within=60s every=60s", noConnection, "did not hold within 1m0s: could not be run: connection lost", 1},
		{"@manager check exit=99", says(99, ""), "", 1},
	} {
		t.Run(tt.info, func(t *testing.T) {
			f := &fakes{do: map[string]doing{"act": tt.do}}
			start := time.Now()
			res := mustRun(t, f, page(t, tt.info+"|act", "@manager check|true"), nil)
			got := res.Blocks[0].Nodes[0]
			if diff := cmp.Diff(tt.reason, got.Reason); diff != "" {
				t.Errorf("reason (-want +got):\n%s", diff)
			}
			if got.Tries != tt.tries {
				t.Errorf("%d tries, want %d", got.Tries, tt.tries)
			}
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("took %s", d)
			}
		})
	}
}

// A try that the deadline cuts off must not replace what a whole one said.
func TestDeadlineKeepsTheLastWholeTry(t *testing.T) {
	n := 0
	f := &fakes{do: map[string]doing{"look": func(ctx context.Context, node string, c remote.Command) (remote.Result, error) {
		if n++; n == 1 {
			return says(1, "3/4 run")(ctx, node, c)
		}
		return hangs(ctx, node, c)
	}}}
	res := mustRun(t, f, page(t, "@manager check within=100ms every=1ms|look"), nil)
	if res.Failure == nil || res.Failure.Output != "3/4 run" || res.Failure.Reason != "did not hold within 100ms: exit code 1" {
		t.Errorf("failure %+v", res.Failure)
	}
}

func TestVariablesTravelAsEnvironment(t *testing.T) {
	evil := `x"; touch /tmp/x; $(reboot)`
	f := &fakes{do: map[string]doing{"get": says(0, "  two\nlines \n"), "each": says(0, "v\n")}}
	d := page(t, "@worker save=GOT|get", "@all save=EACH|each", `@all check|look "$TEXT" "$GOT" "$EACH" "$PORT"`, `@host|there "$MANAGER_IP"`)
	mustRun(t, f, d, func(o *Options) {
		o.Set = map[string]string{"text": evil}
		o.Config = map[string]string{"text": "loses", "port": "8081"}
	})
	want := []string{"EACH=docker1 v\ndocker2 v", "GOT=two\nlines", "LAB=lab", "LAB_IP=192.168.33.12", "LAB_IPS=192.168.33.11 192.168.33.12",
		"LAB_IP_DOCKER1=192.168.33.11", "LAB_IP_DOCKER2=192.168.33.12", "MANAGER_IP=192.168.33.11", "NODE=docker2",
		"NODES=docker1 docker2", "PORT=8081", "TEXT=" + evil, "WORKER_IP=192.168.33.12"}
	if diff := cmp.Diff(want, f.envs[`docker2: look "$TEXT" "$GOT" "$EACH" "$PORT"`]); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	for _, s := range f.stdins {
		if strings.Contains(s, "reboot") || strings.Contains(s, "8081") {
			t.Errorf("a value was pasted into %q", s)
		}
	}
	host := f.envs[`host: there "$MANAGER_IP"`]
	if !slices.Contains(host, "NODE=host") || slices.ContainsFunc(host, func(s string) bool { return strings.HasPrefix(s, "LAB_IP=") }) {
		t.Errorf("host environment %q", host)
	}
}

// The evidence is taken while what the run made stands, and not at all after
// an interrupt.
func TestStanding(t *testing.T) {
	d := page(t, "@manager id=net|make", "@manager check|look", "@manager cleanup for=net|remove")
	f := &fakes{}
	called := 0
	mustRun(t, f, d, func(o *Options) {
		o.Standing = func(context.Context) {
			called++
			wantCalls(t, f, "docker1: make", "docker1: look")
		}
	})
	wantCalls(t, f, "docker1: make", "docker1: look", "docker1: remove")
	if called != 1 {
		t.Errorf("called %d times", called)
	}
	o := f.options()
	o.Before = func(context.Context, *Block) Action { return Quit }
	o.Standing = func(context.Context) { t.Error("called after an interrupt") }
	if _, err := Run(t.Context(), d, o); err == nil {
		t.Error("no error")
	}
}
