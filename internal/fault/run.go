package fault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// StandingError is a fault that is on while another is asked for.
type StandingError struct{ Records []Record }

func (e *StandingError) Error() string {
	var names []string
	for _, r := range e.Records {
		names = append(names, r.Name())
	}
	return "a fault is on already: " + strings.Join(names, "; ")
}

// Hint says how to get rid of it.
func (e *StandingError) Hint() string { return "one at a time: `labctl fault clear` undoes it" }

// NoSymptomError is a fault that did not do what it should.
type NoSymptomError struct {
	Record Record
	Within time.Duration
	Err    error // of the last look; nil if that was not the trouble
	Over   bool  // the timer was quicker
}

func (e *NoSymptomError) Error() string {
	if e.Over {
		return fmt.Sprintf("%s: the symptom did not show before the time of the fault was over", e.Record.Name())
	}
	text := fmt.Sprintf("%s: the symptom did not show within %v, so it was undone", e.Record.Name(), e.Within)
	if e.Err != nil {
		text += ": " + oneLine(e.Err)
	}
	return text
}

func (e *NoSymptomError) Unwrap() error { return e.Err }

// Hint says what to do where the time was too short.
func (e *NoSymptomError) Hint() string {
	if e.Over {
		return "give it more time with --for"
	}
	return "the nodes may be otherwise than labctl thinks: `labctl diagnose`, `labctl reset`"
}

// Standing is a fault that is on, or was when labctl last heard of it.
type Standing struct {
	Record
	// On maps each node to "on", "over", or why that cannot be told.
	On map[string]string `json:"on"`
	// Left is the time until the first timer; negative: there is none.
	Left time.Duration `json:"-"`
}

// Over tells that it is on nowhere any more.
func (s Standing) Over() bool {
	for _, state := range s.On {
		if state != "over" {
			return false
		}
	}
	return true
}

// Current asks the nodes for their journals, and looks at the records: what a
// killed labctl left is in both, what a timer has undone only in the latter.
func (l *Lab) Current(ctx context.Context) ([]Standing, error) {
	noted, err := Noted(l.Dir)
	if err != nil {
		return nil, err
	}
	var out []Standing
	for _, r := range noted {
		s := Standing{Record: r, On: map[string]string{}, Left: -1}
		for _, name := range r.Nodes {
			n, ok := l.node(name)
			switch {
			case !ok, r.Kind == NodeDown && n.Runner != nil, r.Ended != "":
				s.On[name] = "over"
			case r.Kind == NodeDown:
				s.On[name] = "on"
			case n.Runner == nil:
				s.On[name] = "unknown: " + oneLine(n.Err)
			default:
				s.On[name] = "over" // unless its journal says otherwise
			}
		}
		out = append(out, s)
	}
	var mu sync.Mutex
	var names []string
	for _, n := range l.Nodes {
		if n.Runner != nil {
			names = append(names, n.Name)
		}
	}
	err = l.each(names, func(n Node) error {
		list, err := n.list(ctx)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for _, e := range list {
			i := slices.IndexFunc(out, func(s Standing) bool { return s.ID == e.record.ID })
			if i < 0 {
				i = len(out)
				out = append(out, Standing{Record: e.record, On: map[string]string{}, Left: -1})
			}
			out[i].On[n.Name] = "on"
			if e.left >= 0 && (out[i].Left < 0 || e.left < out[i].Left) {
				out[i].Left = e.left
			}
		}
		return nil
	})
	slices.SortFunc(out, func(a, b Standing) int { return a.Since.Compare(b.Since) })
	return out, err
}

// Inject breaks what s says, and returns when the symptom shows. If it does
// not, or something fails, all is undone again. When ctx ends, the fault
// stays on as far as it has come: Clear undoes it.
func (l *Lab) Inject(ctx context.Context, s Spec, mystery *uint64) (Record, error) {
	s, err := s.complete(l)
	if err != nil {
		return Record{}, err
	}
	info, _ := Of(s.Kind)
	if s.Kind == NodeDown && l.Boot == nil {
		return Record{}, refuse("a fault node-down is not possible here: labctl did not make these machines, and cannot boot them again")
	}
	r := Record{ID: newID(), Kind: s.Kind, Params: s.Params, Nodes: s.Nodes, From: s.From, Symptom: info.Symptom, Undo: info.Undo}
	if mystery != nil {
		r.Mystery, r.Seed = true, *mystery
	}
	l.say("looking whether the lab is sound")
	if err := l.before(ctx, r); err != nil {
		return r, err
	}
	r.Since = time.Now().UTC().Truncate(time.Millisecond)
	if s.For > 0 {
		r.Until = r.Since.Add(s.For)
	}
	if err := l.save(r); err != nil {
		return r, fmt.Errorf("what cannot be noted is not broken: %w", err)
	}
	l.say("breaking it")
	err = l.each(r.Nodes, func(n Node) error {
		if r.Kind == NodeDown {
			return n.powerOff(ctx)
		}
		return n.inject(ctx, r, l.words(s, n.Name))
	})
	if ctx.Err() != nil {
		return r, context.Cause(ctx)
	}
	if err != nil {
		return r, errors.Join(err, l.takeBack(ctx, r))
	}
	if r.Kind == NodeDown {
		for _, name := range r.Nodes {
			l.gone(name)
		}
	}
	within := info.within
	if within == 0 {
		within = time.Minute
	}
	if s.For > 0 {
		within = min(within, s.For)
	}
	r.Seen, err = l.await(ctx, within, "waiting for the symptom", false, func() (bool, string, error) { return l.shows(ctx, r) })
	if ctx.Err() != nil {
		return r, context.Cause(ctx)
	}
	if err != nil {
		over := !r.Until.IsZero() && time.Now().After(r.Until)
		return r, errors.Join(&NoSymptomError{Record: r, Within: within, Err: err, Over: over}, l.takeBack(ctx, r))
	}
	return r, l.save(r)
}

// before wants a sound lab without any fault, and the symptom not to be there.
func (l *Lab) before(ctx context.Context, r Record) error {
	current, err := l.Current(ctx)
	if err == nil {
		var on []Record
		for _, c := range current {
			if !c.Over() {
				on = append(on, c.Record)
			} else if err := l.drop(c.Record); err != nil {
				return err
			}
		}
		if len(on) > 0 {
			return &StandingError{on}
		}
	}
	if serr := l.sound(ctx); serr != nil {
		return serr
	}
	if err != nil {
		return err
	}
	there, how, err := l.shows(ctx, r)
	if err == nil && there {
		err = &UnsoundError{"the symptom is there already: " + how}
		if r.Mystery {
			err = &UnsoundError{"the symptom is there already"}
		}
	}
	return err
}

// takeBack undoes what was injected in part, or in vain.
func (l *Lab) takeBack(ctx context.Context, r Record) error {
	l.say("undoing it")
	if err := l.undo(ctx, r); err != nil {
		return fmt.Errorf("%w; `labctl fault clear` tries again", err)
	}
	return l.drop(r)
}

func (l *Lab) undo(ctx context.Context, r Record) error {
	if r.Kind == NodeDown {
		if l.Boot == nil {
			return errors.New("labctl has no power over these machines: switch them on by hand")
		}
		l.say("booting %s", strings.Join(r.Nodes, ", "))
		if err := l.Boot(ctx); err != nil {
			return err
		}
		if l.Reach != nil {
			for i := range l.Nodes {
				if l.Nodes[i].Runner == nil {
					l.Nodes[i].Access = l.Reach(ctx, l.Nodes[i].Name)
				}
			}
		}
		return nil
	}
	return l.each(r.Nodes, func(n Node) error {
		if _, ok := l.node(n.Name); !ok {
			return nil // it went with its fault
		}
		return n.undo(ctx, r.ID)
	})
}

// powerOffScript cuts the power as a pulled plug does, but for the files that
// were written a moment ago.
const powerOffScript = `sync
echo 1 >/proc/sys/kernel/sysrq
nohup sh -c 'sleep 0.3; echo o >/proc/sysrq-trigger' >/dev/null 2>&1 &`

func (n Node) powerOff(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	_, err := n.on(ctx, "", nil, "-c", powerOffScript)
	return err
}

// gone notes that nobody answers at a node any more.
func (l *Lab) gone(name string) {
	for i := range l.Nodes {
		if l.Nodes[i].Name == name {
			l.Nodes[i].Access = Access{Err: errors.New("its power is off")}
		}
	}
}
