// Package lab makes, shows and takes down a lab: each command is one visible
// slice of steps that a small graph executor runs.
package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"labctl/internal/ui"
)

// Step is one piece of work: check ▸ act ▸ verify, so that running it again
// on what already stands changes nothing.
type Step struct {
	Name string
	Node string // "" for the lab as a whole
	// After holds the keys (see Key) of the steps that must have succeeded.
	After []string
	// Waits says that the step of a node only waits for what is done
	// elsewhere, so that it counts as no work (see Env.Parallel).
	Waits bool
	// Run does it. changed is false if nothing had to be done. say shows
	// what it is doing or waiting for.
	Run func(ctx context.Context, e *Env, say func(detail string)) (changed bool, err error)
}

// Key names a step in After: "name", or "name@node".
func (s Step) Key() string { return key(s.Name, s.Node) }

func key(name, node string) string {
	if node == "" {
		return name
	}
	return name + "@" + node
}

// StepError is a step that failed.
type StepError struct {
	Step string
	Node string // several, with commas, if one failure hit them all; "" for the lab
	Err  error
}

func (e *StepError) Error() string {
	// Many an error below names its node, and even the step, by itself.
	text := trimWord(trimWord(e.Err.Error(), e.Node), e.Step)
	if e.Node == "" {
		return fmt.Sprintf("%s: %s", e.Step, text)
	}
	return fmt.Sprintf("%s: %s: %s", e.Node, e.Step, text)
}

// trimWord removes "word: " from the beginning of a text.
func trimWord(text, word string) string {
	if n := len(word) + len(": "); word != "" && len(text) > n && strings.EqualFold(text[:n], word+": ") {
		return text[n:]
	}
	return text
}

func (e *StepError) Unwrap() error { return e.Err }

// defaultParallel is on how many nodes labctl works at a time. What they do
// there is bounded by CPU and disk of the host that runs them all; so more gain
// nothing, but each costs memory, and under emulation time limits run out.
// Fewer would let a few nodes that hang hold up the others.
const defaultParallel = 16

// runSteps runs every step as soon as what it needs has succeeded, side by
// side where nothing forbids it, on e.Parallel nodes at most. A failure skips
// only what depends on it: the other nodes go on, so that one run shows every
// problem and the next has less to do. When ctx ends, no further step starts
// and ctx's error wins.
func runSteps(ctx context.Context, e *Env, steps []Step) error {
	type outcome struct {
		done chan struct{}
		ok   bool
	}
	outcomes := map[string]*outcome{}
	for _, s := range steps {
		if outcomes[s.Key()] != nil {
			return fmt.Errorf("step %s stands twice in the pipeline", s.Key())
		}
		for _, a := range s.After {
			if outcomes[a] == nil {
				return fmt.Errorf("step %s comes after %q, which does not stand before it", s.Key(), a)
			}
		}
		outcomes[s.Key()] = &outcome{done: make(chan struct{})}
	}
	var (
		wg   sync.WaitGroup
		errs = make([]error, len(steps))
		// A step takes a place only when it could begin, so none waits for
		// another one while it holds it.
		places = make(chan struct{}, cmp.Or(max(e.Parallel, 0), defaultParallel))
	)
	for i, s := range steps {
		wg.Go(func() {
			me := outcomes[s.Key()]
			defer close(me.done)
			ready := true
			for _, a := range s.After {
				<-outcomes[a].done
				ready = ready && outcomes[a].ok
			}
			if ready && s.Node != "" && !s.Waits {
				select {
				case places <- struct{}{}:
					defer func() { <-places }()
				case <-ctx.Done():
				}
			}
			if !ready || ctx.Err() != nil {
				e.Event(ui.Event{Node: s.Node, Step: s.Name, State: ui.Skipped})
				return
			}
			begin := time.Now()
			e.Event(ui.Event{Node: s.Node, Step: s.Name, State: ui.Started})
			changed, err := s.Run(ctx, e, func(detail string) {
				e.Event(ui.Event{Node: s.Node, Step: s.Name, State: ui.Progress, Detail: detail, Elapsed: time.Since(begin)})
			})
			ev := ui.Event{Node: s.Node, Step: s.Name, Elapsed: time.Since(begin)}
			switch {
			case err != nil && ctx.Err() != nil:
				ev.State, ev.Detail = ui.Failed, "interrupted"
			case err != nil:
				ev.State, ev.Detail = ui.Failed, err.Error()
				errs[i] = err
			case changed:
				ev.State, me.ok = ui.Done, true
			default:
				ev.State, me.ok = ui.Kept, true
			}
			e.Event(ev)
		})
	}
	wg.Wait()
	e.LogCounts()
	if ctx.Err() != nil {
		// What failed because of the interruption is not news.
		return context.Cause(ctx)
	}
	return joinFailures(steps, errs)
}

// joinFailures joins the errors of the steps in the steps' order. One `vagrant
// up` serves many nodes: its failure is told once, with the names of all.
func joinFailures(steps []Step, errs []error) error {
	var out []error
	for i, err := range errs {
		if err == nil {
			continue
		}
		j := slices.IndexFunc(out, func(x error) bool {
			have := x.(*StepError)
			return have.Step == steps[i].Name && errors.Is(have.Err, err)
		})
		if j < 0 {
			out = append(out, &StepError{Step: steps[i].Name, Node: steps[i].Node, Err: err})
		} else {
			out[j].(*StepError).Node += ", " + steps[i].Node
		}
	}
	return errors.Join(out...)
}
