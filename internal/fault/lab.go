package fault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/client"

	labassets "labctl"
	"labctl/internal/config"
	"labctl/internal/remote"
)

// Access is how a node is reached.
type Access struct {
	Runner remote.Runner  // nil if it is not reached; Err says why
	API    *client.Client // nil as Runner is
	Err    error
}

// Lab is the lab that faults are injected into.
type Lab struct {
	Dir      string // of the records; see Dir
	Nodes    []Node
	DataPath uint16 // the UDP port of overlays; 0 for the usual one
	// Boot boots the nodes that are off, and waits for the swarm; nil where
	// labctl has no power over the machines.
	Boot func(context.Context) error
	// Reach connects to a node anew; nil: Nodes stay as they are.
	Reach func(context.Context, string) Access
	// Say takes what is being done or waited for; nil for nobody.
	Say func(string)

	quick bool // for tests: no wait is longer than a few looks
}

func (l *Lab) say(format string, args ...any) {
	if l.Say != nil {
		l.Say(fmt.Sprintf(format, args...))
	}
}

func (l *Lab) dataPath() uint16 {
	if l.DataPath == 0 {
		return 4789
	}
	return l.DataPath
}

func (l *Lab) managers() []Node {
	return slices.DeleteFunc(slices.Clone(l.Nodes), func(n Node) bool { return n.Role != config.Manager })
}

func (l *Lab) node(name string) (Node, bool) {
	i := slices.IndexFunc(l.Nodes, func(n Node) bool { return n.Name == name })
	if i < 0 {
		return Node{Name: name, Access: Access{Err: errors.New("lab.toml does not name it any more")}}, false
	}
	return l.Nodes[i], true
}

// NodeError is a node on which something could not be done.
type NodeError struct {
	Node   string
	Reason string
	Err    error // nil, or what kept it from being tried
}

func (e *NodeError) Error() string { return e.Node + ": " + e.Reason }
func (e *NodeError) Unwrap() error { return e.Err }

// program is provision/fault.sh with what stands in front of it.
func program() string {
	var b strings.Builder
	for _, name := range []string{"lib.sh", "fault.sh"} {
		text, err := labassets.Files.ReadFile("provision/" + name)
		if err != nil {
			panic(err) // it is in this very binary
		}
		b.Write(text)
	}
	return b.String()
}

// on runs a shell as root on the node: `sh -eu ARGS` that reads stdin. A code
// other than 0 is an error unless it is among codes.
func (n Node) on(ctx context.Context, stdin string, codes []int, args ...string) (remote.Result, error) {
	if n.Runner == nil {
		return remote.Result{}, &NodeError{n.Name, "cannot be reached: " + oneLine(n.Err), n.Err}
	}
	res, err := n.Runner.Run(ctx, remote.Command{
		Argv: append([]string{"sudo", "-n", "sh", "-eu"}, args...), Stdin: strings.NewReader(stdin),
	})
	if err != nil {
		var run *remote.RunError
		if errors.As(err, &run) {
			err = run.Err // its text would name the node and a page of shell
		}
		return res, &NodeError{n.Name, oneLine(err), err}
	}
	if res.ExitCode == 0 || slices.Contains(codes, res.ExitCode) && !strings.Contains(res.Stderr, "labctl: ") {
		return res, nil
	}
	reason := ""
	for line := range strings.Lines(res.Stderr) {
		if text, ok := strings.CutPrefix(line, "labctl: "); ok && reason == "" {
			reason = strings.TrimSpace(text)
		}
	}
	if reason == "" {
		reason = fmt.Sprintf("exit code %d: %s", res.ExitCode, oneLine(errors.New(res.Stderr+res.Stdout)))
	}
	return res, &NodeError{Node: n.Name, Reason: reason}
}

func oneLine(err error) string {
	if err == nil {
		return "nobody is connected to it"
	}
	return strings.Join(strings.Fields(err.Error()), " ")
}

// Times that the work on a node may take; Docker's part of it is slow on an
// emulated node.
const (
	workWithin = 5 * time.Minute
	askWithin  = time.Minute
)

const journal = "/var/lib/labctl/fault/"

// The program travels on standard input, and lies beside the journal so that
// the undo is of the same labctl as the fault.
const injectScript = `umask 077
mkdir -p "$1"
cat >"$1/program"
program=$1/program
shift
exec sh -eu "$program" inject "$@"`

func (n Node) inject(ctx context.Context, r Record, words []string) error {
	ctx, cancel := context.WithTimeout(ctx, workWithin)
	defer cancel()
	_, err := n.on(ctx, program(), nil, append([]string{"-c", injectScript, "sh", journal + r.ID, r.ID, string(r.Encode())}, words...)...)
	return err
}

const undoScript = `if [ -e "$1/undo" ]; then exec sh "$1/undo"; fi
exec sh -eu -s -- undo "$2"`

func (n Node) undo(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, workWithin)
	defer cancel()
	_, err := n.on(ctx, program(), nil, "-c", undoScript, "sh", journal+id, id)
	return err
}

// entry is one line of a node's journal.
type entry struct {
	record Record
	left   time.Duration // until the timer; negative: no timer
}

func (n Node) list(ctx context.Context) ([]entry, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	res, err := n.on(ctx, program(), nil, "-s", "--", "list")
	if err != nil {
		return nil, err
	}
	var out []entry
	for line := range strings.Lines(res.Stdout) {
		id, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		left, data, _ := strings.Cut(rest, " ")
		r, err := Decode([]byte(data))
		if err != nil || r.ID != id {
			return nil, &NodeError{Node: n.Name, Reason: fmt.Sprintf("the journal %s%s cannot be read: %v", journal, id, err)}
		}
		e := entry{record: r, left: -1}
		if s, err := strconv.Atoi(left); err == nil {
			e.left = time.Duration(max(s, 0)) * time.Second
		}
		out = append(out, e)
	}
	return out, nil
}

// shows asks a node for a symptom.
func (n Node) shows(ctx context.Context, words ...string) (bool, string, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	res, err := n.on(ctx, program(), []int{1}, append([]string{"-s", "--", "shows"}, words...)...)
	var told []string
	for line := range strings.Lines(res.Stdout) {
		told = append(told, strings.Join(strings.Fields(line), " "))
	}
	return err == nil && res.ExitCode == 0, strings.Join(told, ", "), err
}

// each does something on the named nodes, side by side.
func (l *Lab) each(names []string, do func(Node) error) error {
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		n, _ := l.node(name)
		wg.Go(func() { errs[i] = do(n) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
