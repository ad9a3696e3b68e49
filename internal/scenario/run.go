package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strconv"
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
	// Labctl is the program that runs, and LabFile its lab.toml: what a block
	// @host gets as $LABCTL and $LAB_FILE. "" leaves them unset.
	Labctl, LabFile string
	// Keep leaves what was made: no cleanup runs. A fault is undone all the
	// same, since it was broken on purpose.
	Keep bool
	// Event takes the news, from several goroutines at once.
	Event func(ui.Event)
	// Output takes what the blocks print while they run, each line behind
	// the name of its node. One writer is enough for all nodes.
	Output io.Writer
	// Standing, if set, is called once before the cleanups, while all that the
	// run made stands: the time for evidence. Not after an interrupt.
	Standing func(context.Context)
	// Abort, once closed, stops the cleanups too (the second Ctrl-C).
	Abort <-chan struct{}
	// Before, if set, is asked before each block of the page but cleanups.
	Before func(ctx context.Context, b *Block) Action
	// Failed, if set, is called when a block has failed, before anything is
	// undone or removed: the time to look for the cause.
	Failed func(ctx context.Context, f *Failure)
	// To is the heading of a chapter at which the run stops, with everything
	// standing: all of the heading, enough of it to be the only one, or the
	// chapter's number from 1.
	To string
	// Journal is the file in which is written down what stands; "" for none.
	Journal string
	// From is a journal whose run is gone on with, by Score and Learn.
	From *Journal
}

// Action is what to do with a block.
type Action int

// The actions. Quit ends the run as an interrupt does: the cleanups run.
const (
	Go Action = iota
	Skip
	Quit
)

// ErrQuit is the cause of a run that ended at a Quit.
var ErrQuit = errors.New("stopped, as asked")

// TooSmallError says that the lab has fewer nodes than the document needs.
type TooSmallError struct {
	File                 string
	Needs                Needs
	HaveManagers, HaveWs int
}

func (e *TooSmallError) Error() string {
	total := ""
	if e.Needs.Total > 0 {
		total = fmt.Sprintf(", %d nodes in all", e.Needs.Total)
	}
	return fmt.Sprintf("%s needs %d manager(s) and %d worker(s)%s, but the lab has %d and %d",
		e.File, e.Needs.Managers, e.Needs.Workers, total, e.HaveManagers, e.HaveWs)
}

// Hint is what to write into lab.toml.
func (e *TooSmallError) Hint() string {
	managers := max(e.Needs.Managers, e.HaveManagers)
	return fmt.Sprintf("a lab.toml with these lines would do:\nmanagers = %d\nworkers = %d",
		managers, max(e.Needs.Workers, e.HaveWs, e.Needs.Total-managers))
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
	return r.whole(ctx)
}

func (r *run) whole(ctx context.Context) (*Result, error) {
	err := r.main(ctx)
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	r.res.Interrupted = err != nil
	if r.res.Stopped != "" {
		r.o.Keep, r.res.Kept = true, true
		r.closeJournal()
	} else {
		if r.o.Standing != nil && err == nil {
			r.o.Standing(ctx)
		}
		r.cleanups(ctx)
	}
	if len(r.res.CleanupFailures) > 0 && r.res.Failure == nil && err == nil {
		r.res.Failure = r.res.CleanupFailures[0]
	}
	r.finish()
	if err != nil {
		return r.res, fmt.Errorf("%s: interrupted: %w", r.doc.File, err)
	}
	return r.res, nil
}

// finish closes the result.
func (r *run) finish() {
	r.res.Duration = time.Since(r.res.Start)
	r.res.Passed = r.res.Failure == nil && !r.res.Interrupted && r.res.Stopped == "" && !r.skipped
}

// run is one execution of a document.
type run struct {
	doc     *Document
	o       Options
	vars    map[string]string // lab and parameters
	saved   map[string]string
	started map[int]bool    // by block index: what makes or breaks something
	undone  map[string]bool // faults that were set right
	cleaned map[int]bool    // cleanups that passed
	to      int             // the chapter to stop at, -1 for none
	chapter int             // for the journal
	skipped bool            // a person left out a block
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
	if n := d.Head.Needs; managers < n.Managers || workers < n.Workers || managers+workers < n.Total {
		return nil, &TooSmallError{File: d.File, Needs: d.Head.Needs, HaveManagers: managers, HaveWs: workers}
	}
	vars := labVars(o.Lab, o.Nodes)
	maps.Copy(vars, params)
	if err := refusals(d.against(o.Nodes, vars)); err != nil {
		return nil, err
	}
	if o.Output == nil {
		o.Output = io.Discard
	}
	r := &run{doc: d, o: o, vars: vars, saved: map[string]string{}, started: map[int]bool{}, undone: map[string]bool{},
		cleaned: map[int]bool{}, to: -1, width: len(hostName)}
	if o.To != "" {
		if r.to, err = d.find(o.To); err != nil {
			return nil, err
		}
	}
	for _, n := range o.Nodes {
		r.width = max(r.width, len(n.Name))
	}
	r.res = &Result{File: d.File, ID: d.Head.ID, Title: d.Head.Title, Lab: o.Lab, Params: params, Saved: r.saved, Kept: o.Keep, Start: time.Now()}
	for _, b := range d.Blocks {
		if b.Place == "host" && o.Host == nil {
			return nil, fmt.Errorf("%s:%d: no runner for @host", d.File, b.Line)
		}
		res := d.result(b)
		res.Verdict, res.Reason = Skipped, "not reached"
		r.res.Blocks = append(r.res.Blocks, res)
	}
	return r, nil
}

// find returns the chapter that has the heading or the number, or the only
// one that holds the text.
func (d *Document) find(heading string) (int, error) {
	if n, err := strconv.Atoi(heading); err == nil && n >= 1 && n <= len(d.Chapters) {
		return n - 1, nil
	}
	var titles []string
	var found []int
	for i, c := range d.Chapters {
		if strings.EqualFold(c.Title, heading) {
			return i, nil
		}
		if strings.Contains(strings.ToLower(c.Title), strings.ToLower(heading)) {
			found = append(found, i)
		}
		titles = append(titles, strconv.Quote(c.Title))
	}
	if len(found) == 1 {
		return found[0], nil
	}
	reason := fmt.Sprintf("%s has no chapter %q", d.File, heading)
	if len(found) > 1 {
		reason = fmt.Sprintf("%s has several chapters like %q", d.File, heading)
	}
	return 0, refusals([]Problem{{File: "--to", Reason: reason + ": there is " + strings.Join(titles, ", ")}})
}

// main runs the page down to its end, to the first failure, or to where it
// was told to stop. The error is ErrQuit.
func (r *run) main(ctx context.Context) error {
	for _, b := range r.doc.Blocks {
		if ctx.Err() != nil {
			return nil
		}
		if r.to >= 0 && b.Chapter >= r.to {
			break
		}
		if b.Kind == Cleanup {
			continue
		}
		if b.Kind == Undo && !r.began(b.For) {
			r.res.Blocks[b.Index].Reason = "its fault was skipped"
			continue
		}
		if r.o.Before != nil {
			switch r.o.Before(ctx, b) {
			case Skip:
				r.skipped = true
				r.res.Blocks[b.Index].Reason = "skipped, as asked"
				continue
			case Quit:
				return ErrQuit
			}
			if ctx.Err() != nil {
				return nil
			}
		}
		if f := r.block(ctx, b); f != nil {
			r.res.Failure = f
			if r.o.Failed != nil && ctx.Err() == nil {
				r.o.Failed(ctx, f)
			}
			return nil
		}
	}
	if r.to >= 0 && ctx.Err() == nil {
		r.res.Stopped, r.chapter = r.doc.Chapters[r.to].Title, r.to
	}
	return nil
}

// block runs one block on all its nodes, side by side, and stores how that
// ended. It returns the failure of the first node that failed, if any.
func (r *run) block(ctx context.Context, b *Block) *Failure {
	if makes(b.Kind) {
		if err := r.begin(b); err != nil {
			// What cannot be written down must not be made.
			delete(r.started, b.Index)
			return r.failure(b, NodeResult{Node: hostName, Reason: err.Error()})
		}
	}
	res := &r.res.Blocks[b.Index]
	*res = r.sideBySide(ctx, b, r.onNode)
	r.took(b, res)
	for _, n := range res.Nodes {
		if n.Verdict == Failed {
			return r.failure(b, n)
		}
	}
	return nil
}

// begin writes down that b, which makes or breaks something, is begun.
func (r *run) begin(b *Block) error {
	r.started[b.Index] = true
	// What was undone or removed before will have to be again.
	delete(r.undone, b.ID)
	for i := range r.cleaned {
		if slices.Contains(r.doc.covers(r.doc.Blocks[i]), b) {
			delete(r.cleaned, i)
		}
	}
	return r.record()
}

// took keeps what a block that passed has saved or set right.
func (r *run) took(b *Block, res *BlockResult) {
	if res.Verdict != Passed {
		return
	}
	switch {
	case b.Save != "":
		r.saved[b.Save] = savedValue(b, res.Nodes)
	case b.Kind == Undo:
		r.undone[b.For] = true
	case b.Kind == Cleanup:
		r.cleaned[b.Index] = true
	default:
		return
	}
	if len(r.started) > 0 {
		// Only a hint is lost if this fails: the record of what was made is
		// older than what was made, and an undo may be run twice.
		_ = r.record()
	}
}

// sideBySide does something with a block on all its nodes.
func (r *run) sideBySide(ctx context.Context, b *Block, do func(context.Context, *Block, Node) NodeResult) BlockResult {
	targets := pick(b.Place, r.o.Nodes)
	if b.Place == "host" {
		targets = []Node{{Name: hostName, Runner: r.o.Host}}
	}
	res := r.doc.result(b)
	res.Start = time.Now()
	res.Nodes = make([]NodeResult, len(targets))
	var wg sync.WaitGroup
	for i, n := range targets {
		wg.Go(func() { res.Nodes[i] = do(ctx, b, n) })
	}
	wg.Wait()
	res.Duration = time.Since(res.Start)
	res.Verdict = Passed
	for _, n := range res.Nodes {
		if n.Verdict == Failed || n.Verdict == Interrupted && res.Verdict == Passed {
			res.Verdict = n.Verdict
		}
	}
	return res
}

// result is the empty result of a block.
func (d *Document) result(b *Block) BlockResult {
	return BlockResult{Name: d.Name(b), Chapter: d.Chapter(b), Line: b.Line, Kind: b.Kind, Place: b.Place, ID: b.ID, Given: b.Given}
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
