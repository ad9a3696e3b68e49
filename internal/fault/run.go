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
}

func (e *NoSymptomError) Error() string {
	text := fmt.Sprintf("%s: the symptom did not show within %v, so it was undone", e.Record.Name(), e.Within)
	if e.Err != nil {
		text += ": " + oneLine(e.Err)
	}
	return text
}

func (e *NoSymptomError) Unwrap() error { return e.Err }

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
	r.Seen, err = l.await(ctx, within, "waiting for the symptom", func() (bool, string, error) { return l.shows(ctx, r) })
	if ctx.Err() != nil {
		return r, context.Cause(ctx)
	}
	if err != nil {
		return r, errors.Join(&NoSymptomError{Record: r, Within: within, Err: err}, l.takeBack(ctx, r))
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

// wellWithin bounds the way back to a sound lab: a node that was away for long
// is heard of again only after a while.
const wellWithin = 5 * time.Minute

// Clear undoes all faults, those on nodes that run first, and returns them
// when the lab is sound again. What cannot be undone stays noted.
func (l *Lab) Clear(ctx context.Context) ([]Record, error) {
	current, askErr := l.Current(ctx)
	var done []Record
	var errs []error
	last := func(s Standing) int {
		if s.Kind == NodeDown {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(current, func(a, b Standing) int { return last(a) - last(b) })
	var again []Standing // on nodes that were off, at first
	for _, s := range current {
		l.say("undoing %s", s.Name())
		s.Nodes = nodesOf(s)
		err := l.undo(ctx, s.Record)
		if err != nil && slices.ContainsFunc(current, func(o Standing) bool { return o.Kind == NodeDown }) && s.Kind != NodeDown {
			again = append(again, s)
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		done = append(done, s.Record)
	}
	for _, s := range again {
		if err := l.undo(ctx, s.Record); err != nil {
			errs = append(errs, err)
			continue
		}
		done = append(done, s.Record)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if len(errs) == 0 {
		errs = append(errs, askErr)
	}
	if len(done) > 0 && errors.Join(errs...) == nil {
		_, err := l.await(ctx, wellWithin, "waiting for the lab to be sound again", func() (bool, string, error) { return l.recovered(ctx, done) })
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("the fault is undone, but the lab is not sound after %v: %w", wellWithin, err))
		}
	}
	for i := range done {
		done[i].Ended = "cleared"
		errs = append(errs, l.drop(done[i]))
	}
	return done, errors.Join(errs...)
}

// nodesOf are the nodes that a fault was asked for on, and those whose journal
// has it.
func nodesOf(s Standing) []string {
	nodes := slices.Clone(s.Nodes)
	for name := range s.On {
		if !slices.Contains(nodes, name) {
			nodes = append(nodes, name)
		}
	}
	return nodes
}

// recovered wants every symptom to be gone and the lab to be sound.
func (l *Lab) recovered(ctx context.Context, records []Record) (bool, string, error) {
	if err := l.sound(ctx); err != nil {
		return false, "", err
	}
	for _, r := range records {
		there, how, err := l.shows(ctx, r)
		if err != nil || there {
			return false, how, err
		}
	}
	return true, "", nil
}

// Tidy drops the records of faults that are over, and returns them.
func (l *Lab) Tidy(current []Standing) ([]Record, error) {
	var over []Record
	for _, s := range current {
		if s.Over() {
			if err := l.drop(s.Record); err != nil {
				return over, err
			}
			over = append(over, s.Record)
		}
	}
	return over, nil
}

// lookEvery lies between two looks.
const lookEvery = 2 * time.Second

// await looks until it is so, and returns how it looks. The error is that of
// the last look, or says that the time is over.
func (l *Lab) await(ctx context.Context, within time.Duration, what string, look func() (bool, string, error)) (string, error) {
	every := lookEvery
	if l.quick {
		within, every = 50*time.Millisecond, time.Millisecond
	}
	deadline := time.Now().Add(within)
	for {
		ok, how, err := look()
		if ok {
			return how, nil
		}
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		left := time.Until(deadline)
		if left <= 0 {
			if err == nil && how != "" {
				err = errors.New(how)
			}
			if err == nil {
				err = errors.New("nothing of it was seen")
			}
			return "", err
		}
		l.say("%s, for %v at most", what, left.Round(time.Second))
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-time.After(every):
		}
	}
}
