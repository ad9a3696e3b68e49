package scenario

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"labctl/internal/config"
	"labctl/internal/remote"
	"labctl/internal/ui"
)

// Node is one node of the lab that a document runs on.
type Node struct {
	Name   string
	Role   config.Role
	LabIP  netip.Addr
	Runner remote.Runner
}

// Options are what a run is given. Nodes is needed; the rest may be zero.
type Options struct {
	Lab    string // the lab's name, as $LAB
	Nodes  []Node // in the order of lab.toml
	Host   remote.Runner
	Set    map[string]string // --set: parameter name to value
	Config map[string]string // [scenario.NAME] of lab.toml; Set wins
	// Keep leaves what was made: no cleanup runs. A fault is undone all the
	// same, since it was broken on purpose.
	Keep bool
	// Event takes the news, from several goroutines at once.
	Event func(ui.Event)
	// Output takes what the blocks print while they run, each line behind
	// the name of its node. One writer is enough for all nodes.
	Output io.Writer
	// Abort, once closed, stops the cleanups too (the second Ctrl-C).
	Abort <-chan struct{}
}

// TooSmallError says that the lab has fewer nodes than the document needs.
type TooSmallError struct {
	File                 string
	Needs                Needs
	HaveManagers, HaveWs int
}

func (e *TooSmallError) Error() string {
	return fmt.Sprintf("%s needs %d manager(s) and %d worker(s), but the lab has %d and %d",
		e.File, e.Needs.Managers, e.Needs.Workers, e.HaveManagers, e.HaveWs)
}

// Hint is what to write into lab.toml.
func (e *TooSmallError) Hint() string {
	return fmt.Sprintf("a lab.toml with these lines would do:\nmanagers = %d\nworkers = %d",
		max(e.Needs.Managers, e.HaveManagers), max(e.Needs.Workers, e.HaveWs))
}

// Run executes the document from top to bottom, then its cleanups. A block
// that fails ends the run and is in the Result. The error tells what kept the
// run from happening (*Problems, *TooSmallError; then the Result is nil), or
// that ctx ended; then the Result holds what was done, cleanups included.
func Run(ctx context.Context, d *Document, o Options) (*Result, error) {
	r, err := newRun(d, o)
	if err != nil {
		return nil, err
	}
	r.res.Start = time.Now()
	r.main(ctx)
	stopped := context.Cause(ctx)
	r.res.Interrupted = ctx.Err() != nil
	r.cleanups(ctx)
	if len(r.res.CleanupFailures) > 0 && r.res.Failure == nil && !r.res.Interrupted {
		r.res.Failure = r.res.CleanupFailures[0]
	}
	r.res.Duration = time.Since(r.res.Start)
	r.res.Passed = r.res.Failure == nil && !r.res.Interrupted
	if r.res.Interrupted {
		return r.res, fmt.Errorf("%s: interrupted: %w", d.File, stopped)
	}
	return r.res, nil
}

// run is one execution of a document.
type run struct {
	doc     *Document
	o       Options
	vars    map[string]string // lab and parameters
	saved   map[string]string
	started map[int]bool    // by block index
	undone  map[string]bool // faults that were set right
	res     *Result
	outMu   sync.Mutex
	width   int // of the longest node name
}

func newRun(d *Document, o Options) (*run, error) {
	if err := refusals(Lint(d)); err != nil {
		return nil, err
	}
	params, err := d.values(o.Config, o.Set)
	if err != nil {
		return nil, err
	}
	managers, workers := len(pick("managers", o.Nodes)), len(pick("workers", o.Nodes))
	if managers < d.Head.Needs.Managers || workers < d.Head.Needs.Workers {
		return nil, &TooSmallError{File: d.File, Needs: d.Head.Needs, HaveManagers: managers, HaveWs: workers}
	}
	vars := labVars(o.Lab, o.Nodes)
	maps.Copy(vars, params)
	if err := refusals(d.against(o.Nodes, vars)); err != nil {
		return nil, err
	}
	r := &run{doc: d, o: o, vars: vars, saved: map[string]string{}, started: map[int]bool{}, undone: map[string]bool{},
		width: len(hostName)}
	for _, n := range o.Nodes {
		r.width = max(r.width, len(n.Name))
	}
	r.res = &Result{File: d.File, ID: d.Head.ID, Title: d.Head.Title, Lab: o.Lab, Params: params, Saved: r.saved, Kept: o.Keep}
	for _, b := range d.Blocks {
		if b.Place == "host" && o.Host == nil {
			return nil, fmt.Errorf("%s:%d: no runner for @host", d.File, b.Line)
		}
		r.res.Blocks = append(r.res.Blocks, BlockResult{Name: d.Name(b), Chapter: d.Chapter(b), Line: b.Line,
			Kind: b.Kind, Place: b.Place, ID: b.ID, Verdict: Skipped, Reason: "not reached"})
	}
	return r, nil
}

// main runs the page down to its end or to the first failure.
func (r *run) main(ctx context.Context) {
	for _, b := range r.doc.Blocks {
		if ctx.Err() != nil {
			return
		}
		if b.Kind == Cleanup {
			continue
		}
		if f := r.block(ctx, b); f != nil {
			r.res.Failure = f
			return
		}
		if b.Kind == Undo && r.res.Blocks[b.Index].Verdict == Passed {
			r.undone[b.For] = true
		}
	}
}

// cleanups undoes the faults that still stand, then runs the cleanups, each
// last first. The faults come first since a broken lab may not be able to
// clean up.
func (r *run) cleanups(ctx context.Context) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	if r.o.Abort != nil {
		go func() {
			select {
			case <-r.o.Abort:
				cancel()
			case <-ctx.Done():
			}
		}()
	}
	var due []*Block
	for _, kind := range []Kind{Undo, Cleanup} {
		for _, b := range slices.Backward(r.doc.Blocks) {
			if b.Kind == kind && r.isDue(b) {
				due = append(due, b)
			}
		}
	}
	for _, b := range due {
		if ctx.Err() != nil {
			r.res.Blocks[b.Index].Verdict, r.res.Blocks[b.Index].Reason = Skipped, "cleanups were interrupted"
			r.res.CleanupFailures = append(r.res.CleanupFailures, r.failure(b, NodeResult{Node: "@" + b.Place, Reason: "cleanup was interrupted and did not run"}))
			continue
		}
		f := r.block(ctx, b)
		if i := slices.IndexFunc(r.res.Blocks[b.Index].Nodes, func(n NodeResult) bool { return n.Verdict == Interrupted }); f == nil && i >= 0 {
			f = r.failure(b, r.res.Blocks[b.Index].Nodes[i])
		}
		if f != nil {
			r.res.CleanupFailures = append(r.res.CleanupFailures, f)
		}
	}
}

// isDue tells whether a cleanup, or an undo at the end, has something to do;
// where it has not, the block's result says why.
func (r *run) isDue(b *Block) bool {
	skip := func(reason string) bool {
		r.res.Blocks[b.Index].Reason = reason
		return false
	}
	if b.Kind == Undo {
		if r.undone[b.For] {
			return false
		}
		return r.began(b.For) || skip("its fault was not reached")
	}
	if r.o.Keep {
		return skip("kept, as asked")
	}
	if !slices.ContainsFunc(r.doc.covers(b), func(c *Block) bool { return r.started[c.Index] }) {
		return skip("nothing was made that it removes")
	}
	s, _, err := readScript(b.Script)
	if err != nil {
		return skip(err.Error())
	}
	for _, u := range s.uses {
		_, set := r.saved[u.name]
		if !set && !s.assigned[u.name] && slices.ContainsFunc(r.doc.Blocks, func(o *Block) bool { return o.Save == u.name }) {
			return skip("$" + u.name + " was never saved: nothing to remove")
		}
	}
	return true
}

func (r *run) began(id string) bool {
	return slices.ContainsFunc(r.doc.Blocks, func(b *Block) bool { return b.ID == id && r.started[b.Index] })
}

// covers lists the blocks whose traces a cleanup removes: the one it names,
// or else all of the stretch above it, up to the cleanup before that.
func (d *Document) covers(b *Block) []*Block {
	var out []*Block
	for _, c := range slices.Backward(d.Blocks[:b.Index]) {
		switch {
		case b.For != "":
			if c.ID == b.For {
				return []*Block{c}
			}
		case c.Kind == Cleanup && len(out) > 0:
			return out
		case makes(c.Kind):
			out = append(out, c)
		}
	}
	return out
}

// block runs one block on all its nodes, side by side, and stores how that
// ended. It returns the failure of the first node that failed, if any.
func (r *run) block(ctx context.Context, b *Block) *Failure {
	r.started[b.Index] = true
	targets := pick(b.Place, r.o.Nodes)
	if b.Place == "host" {
		targets = []Node{{Name: hostName, Runner: r.o.Host}}
	}
	res := &r.res.Blocks[b.Index]
	res.Reason, res.Start = "", time.Now()
	res.Nodes = make([]NodeResult, len(targets))
	var wg sync.WaitGroup
	for i, n := range targets {
		wg.Go(func() { res.Nodes[i] = r.onNode(ctx, b, n) })
	}
	wg.Wait()
	res.Duration = time.Since(res.Start)
	res.Verdict = Passed
	var failure *Failure
	for _, n := range res.Nodes {
		switch {
		case n.Verdict == Failed && failure == nil:
			res.Verdict, failure = Failed, r.failure(b, n)
		case n.Verdict == Interrupted && failure == nil:
			res.Verdict = Interrupted
		}
	}
	if b.Save != "" && res.Verdict == Passed {
		r.saved[b.Save] = savedValue(b, res.Nodes)
	}
	return failure
}

// savedValue is what save= keeps: the trimmed standard output, and where the
// place may hold several nodes, each line behind its node's name.
func savedValue(b *Block, nodes []NodeResult) string {
	if !slices.Contains([]string{"all", "managers", "workers"}, b.Place) {
		return strings.TrimSpace(nodes[0].Stdout)
	}
	var lines []string
	for _, n := range nodes {
		for _, line := range strings.Split(strings.TrimSpace(n.Stdout), "\n") {
			lines = append(lines, strings.TrimRight(n.Node+" "+line, " "))
		}
	}
	return strings.Join(lines, "\n")
}

func (r *run) failure(b *Block, n NodeResult) *Failure {
	f := &Failure{File: r.doc.File, Line: b.Line, Block: r.doc.Name(b), Chapter: r.doc.Chapter(b), Node: n.Node,
		Command: b.Script, Output: strings.TrimSpace(n.Output), Reason: n.Reason, Tries: n.Tries, Deadline: Span(b.timeout())}
	if b.Kind == Check {
		f.Deadline = Span(b.within())
	}
	return f
}
