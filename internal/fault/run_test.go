package fault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"labctl/internal/remote"
)

// world is a lab whose nodes keep a journal as provision/fault.sh does.
type world struct {
	t        *testing.T
	mu       sync.Mutex
	dir      string
	journal  map[string]map[string]string // node, id: record
	calls    []string
	mute     bool   // no symptom ever shows
	sticks   bool   // nor does it go away
	refuses  string // what inject says
	unready  bool   // the swarm calls docker3 down
	noUndo   bool
	injected func(node string)
}

type worldNode struct {
	w    *world
	name string
}

func (n worldNode) Run(ctx context.Context, c remote.Command) (remote.Result, error) {
	w := n.w
	w.mu.Lock()
	defer w.mu.Unlock()
	text, _ := io.ReadAll(c.Stdin)
	args := c.Argv[4:]
	say := func(code int, out, err string) (remote.Result, error) {
		return remote.Result{Argv: c.Argv, ExitCode: code, Stdout: out, Stderr: err}, nil
	}
	if c.Argv[4] == "-c" {
		switch c.Argv[5] {
		case injectScript:
			args = append([]string{"inject"}, c.Argv[8:]...)
		case undoScript:
			args = []string{"undo", c.Argv[8]}
		default:
			return say(0, "", "")
		}
	} else {
		args = args[2:]
	}
	if !strings.Contains(string(text), "inject ID RECORD") {
		w.t.Errorf("the program was not sent with %q", args)
	}
	w.calls = append(w.calls, n.name+" "+args[0])
	switch args[0] {
	case "inject":
		if _, err := os.Stat(filepath.Join(w.dir, args[1]+".json")); err != nil {
			w.t.Errorf("nothing was noted before the fault was injected: %v", err)
		}
		if w.refuses != "" {
			return say(1, "", "labctl: "+w.refuses+"\n")
		}
		w.journal[n.name][args[1]] = args[2]
		if w.injected != nil {
			w.injected(n.name)
		}
	case "undo":
		if w.noUndo {
			return say(1, "", "labctl: it sticks\n")
		}
		delete(w.journal[n.name], args[1])
	case "list":
		out := ""
		for id, record := range w.journal[n.name] {
			out += id + " 42 " + record + "\n"
		}
		return say(0, out, "")
	case "shows":
		if len(w.journal[n.name]) == 0 && !w.sticks || w.mute {
			return say(1, "", "")
		}
		return say(0, "seen\n of it\n", "")
	}
	return say(0, "", "")
}

func newWorld(t *testing.T) (*world, *Lab) {
	t.Helper()
	w := &world{t: t, journal: map[string]map[string]string{}}
	l := testLab(t)
	w.dir, l.quick = l.Dir, true
	engine := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		defer w.mu.Unlock()
		rw.Header().Set("Api-Version", "1.41")
		if !strings.HasSuffix(r.URL.Path, "/nodes") {
			return
		}
		var list []any
		for i := range l.Nodes {
			state := "ready"
			if w.unready && i == 2 {
				state = "down"
			}
			list = append(list, map[string]any{"Description": map[string]any{"Hostname": l.Nodes[i].Name}, "Status": map[string]any{"State": state}})
		}
		rw.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(rw).Encode(list)
	}))
	t.Cleanup(engine.Close)
	for i := range l.Nodes {
		api, err := client.New(client.WithHost("tcp://" + strings.TrimPrefix(engine.URL, "http://")))
		if err != nil {
			t.Fatal(err)
		}
		w.journal[l.Nodes[i].Name] = map[string]string{}
		l.Nodes[i].Access = Access{Runner: worldNode{w, l.Nodes[i].Name}, API: api}
	}
	return w, l
}

func (w *world) left() string {
	var out []string
	for node, list := range w.journal {
		for range list {
			out = append(out, node)
		}
	}
	files, _ := filepath.Glob(filepath.Join(w.dir, "*"))
	for range files {
		out = append(out, "noted")
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestInjectAndClear(t *testing.T) {
	w, l := newWorld(t)
	r, err := l.Inject(t.Context(), Spec{Kind: Loss, Nodes: []string{"@workers"}, For: time.Minute}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Seen != "docker2: seen, of it; docker3: seen, of it" || r.Name() != "loss 30 on docker2, docker3" || r.Until.Sub(r.Since) != time.Minute {
		t.Errorf("%+v", r)
	}
	if got, want := w.left(), "docker2 docker3 noted"; got != want {
		t.Errorf("left %q, want %q", got, want)
	}
	var standing *StandingError
	if _, err := l.Inject(t.Context(), Spec{Kind: DNS}, nil); !errors.As(err, &standing) || err.Error() != "a fault is on already: loss 30 on docker2, docker3" {
		t.Errorf("a second fault: %v", err)
	}
	current, err := l.Current(t.Context())
	if err != nil || len(current) != 1 || current[0].States() != "docker2: on, docker3: on" || current[0].Left != 42*time.Second || current[0].Over() {
		t.Errorf("%v: %+v", err, current)
	}
	done, err := l.Clear(t.Context())
	if err != nil || len(done) != 1 || done[0].Ended != "cleared" || w.left() != "" {
		t.Errorf("%v: %+v, left %q", err, done, w.left())
	}
	if done, err := l.Clear(t.Context()); err != nil || len(done) != 0 {
		t.Errorf("nothing to clear: %v %v", done, err)
	}
}

// TestAfterAKill finds what a labctl left that was killed, by the journal of a
// node alone, and by the record alone where a timer was quicker.
func TestAfterAKill(t *testing.T) {
	w, l := newWorld(t)
	ctx, kill := context.WithCancel(t.Context())
	w.injected = func(string) { kill() }
	if _, err := l.Inject(ctx, Spec{Kind: CPU}, nil); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if got, want := w.left(), "docker3 noted"; got != want {
		t.Fatalf("left %q, want %q", got, want)
	}
	if err := os.RemoveAll(l.Dir); err != nil {
		t.Fatal(err)
	}
	done, err := l.Clear(t.Context())
	if err != nil || len(done) != 1 || done[0].Kind != CPU || w.left() != "" {
		t.Errorf("by the journal: %v %+v, left %q", err, done, w.left())
	}

	w.injected = nil
	if _, err := l.Inject(t.Context(), Spec{Kind: CPU, For: time.Second}, nil); err != nil {
		t.Fatal(err)
	}
	clear(w.journal["docker3"]) // the timer
	current, err := l.Current(t.Context())
	if err != nil || len(current) != 1 || !current[0].Over() {
		t.Errorf("%v %+v", err, current)
	}
	over, err := l.Tidy(current)
	if err != nil || len(over) != 1 || w.left() != "" {
		t.Errorf("%v %+v, left %q", err, over, w.left())
	}
}

func TestInjectFails(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(*world, *Lab)
		want string
		left string
	}{
		{"no symptom", func(w *world, _ *Lab) { w.mute = true }, "disk-full on docker3: the symptom did not show within 1m0s, so it was undone: nothing of it was seen", ""},
		{"the symptom is there", func(w *world, _ *Lab) { w.sticks = true }, "the lab is not sound, so no fault of its own could be told from what is wrong already: the symptom is there already: docker3: seen, of it", ""},
		{"a node is down", func(w *world, _ *Lab) { w.unready = true }, "the lab is not sound, so no fault of its own could be told from what is wrong already: docker1: the node list says that docker3 is not ready", ""},
		{"a node is gone", func(_ *world, l *Lab) { l.Nodes[1].Access = Access{Err: errors.New("no answer")} }, "the lab is not sound, so no fault of its own could be told from what is wrong already: docker2: cannot be reached: no answer", ""},
		{"the node refuses", func(w *world, _ *Lab) { w.refuses = "the disk is full already" }, "docker3: the disk is full already", ""},
		{"and cannot undo", func(w *world, _ *Lab) { w.mute, w.noUndo = true, true }, "disk-full on docker3: the symptom did not show within 1m0s, so it was undone: nothing of it was seen\ndocker3: it sticks; `labctl fault clear` tries again", "docker3 noted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, l := newWorld(t)
			c.make(w, l)
			_, err := l.Inject(t.Context(), Spec{Kind: DiskFull}, nil)
			if got := fmt.Sprint(err); got != c.want {
				t.Errorf("says\n%s\nwant\n%s", got, c.want)
			}
			if w.left() != c.left {
				t.Errorf("left %q, want %q", w.left(), c.left)
			}
		})
	}
}

func TestClearFails(t *testing.T) {
	w, l := newWorld(t)
	if _, err := l.Inject(t.Context(), Spec{Kind: DNS, Nodes: []string{"docker2"}}, nil); err != nil {
		t.Fatal(err)
	}
	reached := l.Nodes[1].Access
	l.Nodes[1].Access = Access{Err: errors.New("no answer")}
	if _, err := l.Clear(t.Context()); fmt.Sprint(err) != "docker2: cannot be reached: no answer" || w.left() != "docker2 noted" {
		t.Errorf("%v, left %q", err, w.left())
	}
	l.Nodes[1].Access = reached
	if done, err := l.Clear(t.Context()); err != nil || len(done) != 1 || w.left() != "" {
		t.Errorf("%v %v, left %q", done, err, w.left())
	}
}

// clear says what it still waits for; inject does not, which would tell what a
// mystery is.
func TestWaitsAreExplained(t *testing.T) {
	w, l := newWorld(t)
	var said []string
	l.Say = func(text string) {
		if before, after, ok := strings.Cut(text, ", for "); ok {
			_, reason, _ := strings.Cut(after, " at most")
			said = append(said, before+reason)
		}
	}
	w.mute = true
	seed := uint64(1)
	if _, err := l.Inject(t.Context(), Spec{Kind: DNS}, &seed); err == nil {
		t.Error("injected without a symptom")
	}
	if want := []string{"waiting for the symptom"}; !slices.Equal(slices.Compact(said), want) {
		t.Errorf("inject says %q", said)
	}
	w.mute, said = false, nil
	if _, err := l.Inject(t.Context(), Spec{Kind: DNS}, nil); err != nil {
		t.Fatal(err)
	}
	w.unready = true
	if _, err := l.Clear(t.Context()); err == nil {
		t.Error("cleared, though docker3 is not ready")
	}
	want := []string{"waiting for the lab to be sound again: docker1: the node list says that docker3 is not ready"}
	if got := slices.Compact(said); !slices.Equal(got, want) {
		t.Errorf("clear says %q", got)
	}
}

func TestNodeDownIsBooted(t *testing.T) {
	w, l := newWorld(t)
	booted := 0
	reached := l.Nodes[2].Access
	l.Boot = func(context.Context) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		booted++
		w.unready = false
		return nil
	}
	l.Reach = func(context.Context, string) Access { return reached }
	l.Say = func(text string) {
		if text == "breaking it" {
			w.mu.Lock()
			w.unready = true
			w.mu.Unlock()
		}
	}
	r, err := l.Inject(t.Context(), Spec{Kind: NodeDown}, nil)
	if err != nil || r.Seen != "docker1: the node list says that docker3 is not ready" || l.Nodes[2].Runner != nil {
		t.Fatalf("%v %+v", err, r)
	}
	if current, err := l.Current(t.Context()); err != nil || current[0].States() != "docker3: on" {
		t.Errorf("%v %+v", err, current)
	}
	if done, err := l.Clear(t.Context()); err != nil || len(done) != 1 || booted != 1 || w.left() != "" {
		t.Errorf("%v %v, booted %d times, left %q", done, err, booted, w.left())
	}
	l.Boot = nil
	if _, err := l.Inject(t.Context(), Spec{Kind: NodeDown}, nil); err == nil || !strings.Contains(err.Error(), "labctl did not make these machines") {
		t.Errorf("without power over the machines: %v", err)
	}
}

func TestReveal(t *testing.T) {
	w, l := newWorld(t)
	seed := uint64(0)
	if _, err := l.Inject(t.Context(), Spec{Kind: DNS}, &seed); err != nil {
		t.Fatal(err)
	}
	current, err := l.Current(t.Context())
	if err != nil || len(current) != 1 || current[0].Name() != "a mystery" {
		t.Fatalf("%v %+v", err, current)
	}
	for _, record := range w.journal["docker3"] {
		if strings.Contains(record, "dns") {
			t.Errorf("the node's journal tells it: %s", record)
		}
	}
	told, err := l.Reveal(t.Context())
	if err != nil || len(told) != 1 || told[0].Name() != "dns on docker3" {
		t.Errorf("%v %+v", err, told)
	}
	if current, _ := l.Current(t.Context()); current[0].Name() != "dns on docker3" {
		t.Errorf("it is a mystery again: %+v", current)
	}
}
