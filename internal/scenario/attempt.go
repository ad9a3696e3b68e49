package scenario

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"labctl/internal/remote"
	"labctl/internal/ui"
)

// grace is how long a runner may take to give up a program whose time is
// over. Then it is left behind: a node that vanished must not hold the run.
const grace = 5 * time.Second

// onNode runs a block on one node: once, or, for a check, until it holds.
func (r *run) onNode(ctx context.Context, b *Block, n Node) NodeResult {
	start := time.Now()
	event := func(s ui.State, detail string) {
		if r.o.Event == nil {
			return
		}
		e := ui.Event{Time: time.Now(), Node: n.Name, Step: r.doc.Name(b), State: s, Detail: detail}
		if s != ui.Started {
			e.Elapsed = time.Since(start)
		}
		r.o.Event(e)
	}
	event(ui.Started, r.doc.Chapter(b)) // the page around it is for reading, not for a line of progress
	out := &ui.PrefixWriter{Mu: &r.outMu, To: r.o.Output, Prefix: fmt.Sprintf("%-*s | ", r.width, n.Name)}
	var res NodeResult
	if missing := r.missing(b); missing != "" {
		res = NodeResult{Node: n.Name, Verdict: Failed, ExitCode: -1, Reason: missing}
	} else if b.Kind == Check {
		res = r.check(ctx, b, n, func(detail string) { event(ui.Progress, detail) })
		// Only the last try is shown: the ones before are told by their reason.
		_, _ = io.WriteString(out, res.Output)
	} else {
		t := r.attempt(ctx, b, n, b.timeout(), out)
		res = t.result(n.Name)
		res.Tries = 1
		res.Verdict, res.Reason = judge(ctx, b, t)
	}
	_ = out.Close()
	res.Duration = time.Since(start)
	if res.Verdict == Passed {
		event(ui.Done, "")
	} else {
		event(ui.Failed, res.Reason)
	}
	return res
}

// once runs a block on one node, one time, and says nothing.
func (r *run) once(ctx context.Context, b *Block, n Node) NodeResult {
	start := time.Now()
	res := NodeResult{Node: n.Name, Verdict: Failed, ExitCode: -1, Reason: r.missing(b)}
	if res.Reason == "" {
		t := r.attempt(ctx, b, n, b.timeout(), nil)
		res = t.result(n.Name)
		res.Tries = 1
		res.Verdict, res.Reason = judge(ctx, b, t)
	}
	res.Duration = time.Since(start)
	return res
}

// missing says why the block cannot be run: it needs a value that a block
// above it was to save. "" if it can be.
func (r *run) missing(b *Block) string {
	name, from := r.doc.unsaved(b, r.saved)
	if from == nil {
		return ""
	}
	why := "has not run here"
	if from.Kind == Check {
		why = "did not hold"
	}
	word := "run"
	if b.Kind == Check {
		word = "asked"
	}
	return fmt.Sprintf("cannot be %s: $%s was never saved, since the %s in line %d %s", word, name, from.Kind, from.Line, why)
}

// unsaved finds a saved value that b uses and that is not there, and the last
// block above b that saves it.
func (d *Document) unsaved(b *Block, saved map[string]string) (name string, from *Block) {
	s, _, err := readScript(b.Script)
	if err != nil {
		return "", nil // lint has refused it
	}
	for _, u := range s.uses {
		if _, there := saved[u.name]; there || s.assigned[u.name] {
			continue
		}
		for _, c := range slices.Backward(d.Blocks[:b.Index]) {
			if c.Save == u.name {
				return u.name, c
			}
		}
	}
	return "", nil
}

// check tries until the block holds, says that it is hopeless, or its
// deadline passes. It answers with the last try that came to an end.
func (r *run) check(ctx context.Context, b *Block, n Node, progress func(string)) NodeResult {
	deadline := time.Now().Add(b.within())
	var last NodeResult
	for tries := 1; ; tries++ {
		t := r.attempt(ctx, b, n, min(b.timeout(), time.Until(deadline)), nil)
		verdict, reason := judge(ctx, b, t)
		// A try that the deadline cut off says less than the whole one before.
		if whole := t.err == nil; whole || tries == 1 || verdict == Interrupted {
			last = t.result(n.Name)
			last.Reason = reason
		}
		last.Verdict, last.Tries = verdict, tries
		if verdict != Failed {
			return last
		}
		if t.err == nil && t.exit == hopeless {
			last.Reason += ": no use in trying again"
			return last
		}
		if time.Until(deadline) <= b.every() {
			last.Reason = fmt.Sprintf("did not hold within %s: %s", b.within(), last.Reason)
			return last
		}
		progress(fmt.Sprintf("try %d: %s; %s left", tries, orSelf(lastLine(t.output), reason),
			time.Until(deadline).Round(time.Second)))
		select {
		case <-ctx.Done():
			last.Verdict, last.Reason = Interrupted, "interrupted"
			return last
		case <-time.After(b.every()):
		}
	}
}

// judge says how one try ended, and why it is no pass.
func judge(ctx context.Context, b *Block, t try) (Verdict, string) {
	switch {
	case t.err != nil && ctx.Err() != nil:
		return Interrupted, "interrupted"
	case t.err != nil:
		return Failed, t.err.Error()
	case b.Exit != nil && t.exit != *b.Exit:
		return Failed, fmt.Sprintf("exit code %d, wanted %d", t.exit, *b.Exit)
	case b.Fails && (t.exit == 126 || t.exit == 127):
		// A misspelled command fails too, but that is not what is meant.
		return Failed, fmt.Sprintf("exit code %d: a command could not be run, which `fails` does not mean", t.exit)
	case b.Fails && t.exit == 0:
		return Failed, "exit code 0, but it was to fail"
	case b.Exit == nil && !b.Fails && t.exit != 0:
		return Failed, fmt.Sprintf("exit code %d", t.exit)
	case b.Shows != "" && !strings.Contains(t.output, b.Shows):
		return Failed, fmt.Sprintf("the output does not show %q", b.Shows)
	}
	return Passed, ""
}

// try is one execution of a script.
type try struct {
	stdout, stderr, output string
	exit                   int // -1 if it did not end
	err                    error
}

func (t try) result(node string) NodeResult {
	return NodeResult{Node: node, ExitCode: t.exit, Stdout: t.stdout, Stderr: t.stderr, Output: t.output}
}

// attempt feeds the script to a fresh shell. live takes the output as it
// comes; nil for none.
func (r *run) attempt(ctx context.Context, b *Block, n Node, timeout time.Duration, live io.Writer) try {
	own, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var out, stdout, stderr tap
	defer func() { out.close(); stdout.close(); stderr.close() }()
	out.live = live
	nodeVars := map[string]string{"NODE": n.Name}
	if n.Name == hostName && r.o.Labctl != "" {
		nodeVars["LABCTL"], nodeVars["LAB_FILE"] = r.o.Labctl, r.o.LabFile
	}
	if n.LabIP.IsValid() {
		nodeVars["LAB_IP"] = n.LabIP.String()
	}
	cmd := remote.Command{
		Argv: []string{"sh", "-eu"}, Stdin: strings.NewReader(b.Script),
		Env:    environ(r.vars, r.saved, nodeVars),
		Stdout: io.MultiWriter(&out, &stdout), Stderr: io.MultiWriter(&out, &stderr),
	}
	if args, err := r.labctlArgs(b, merge(r.vars, r.saved, nodeVars)); err != nil {
		return try{exit: -1, err: err}
	} else if args != nil {
		cmd.Argv, cmd.Stdin = args, nil
	}
	type ended struct {
		res remote.Result
		err error
	}
	done := make(chan ended, 1)
	go func() {
		res, err := n.Runner.Run(own, cmd)
		done <- ended{res, err}
	}()
	var e ended
	select {
	case e = <-done:
	case <-own.Done():
		select {
		case e = <-done:
		case <-time.After(grace):
			e.err = own.Err()
		}
	}
	t := try{stdout: stdout.String(), stderr: stderr.String(), output: out.String(), exit: e.res.ExitCode, err: e.err}
	if t.output == "" {
		// A runner that keeps no live copy, as a test's fake may.
		t.stdout, t.stderr, t.output = e.res.Stdout, e.res.Stderr, e.res.Stdout+e.res.Stderr
	}
	if t.err == nil {
		return t
	}
	t.exit = -1
	switch {
	case ctx.Err() != nil || !errors.Is(own.Err(), context.DeadlineExceeded):
		t.err = fmt.Errorf("could not be run: %w", t.err)
	case timeout < b.timeout(): // what was left of a check's deadline
		t.err = errors.New("the last try did not end")
	default:
		t.err = fmt.Errorf("no end within %s", timeout)
	}
	return t
}

// tap collects output until it is closed; what an abandoned program writes
// afterwards is dropped.
type tap struct {
	mu     sync.Mutex
	buf    bytes.Buffer
	closed bool
	live   io.Writer
}

func (t *tap) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return len(p), nil
	}
	if t.live != nil {
		// A terminal that went away must not fail the block.
		_, _ = t.live.Write(p)
	}
	return t.buf.Write(p)
}

func (t *tap) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}

func (t *tap) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
