package fault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

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
		_, err := l.await(ctx, wellWithin, "waiting for the lab to be sound again", true, func() (bool, string, error) { return l.recovered(ctx, done) })
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
	err := l.sound(ctx)
	if bad := (*UnsoundError)(nil); errors.As(err, &bad) {
		return false, bad.Reason, nil
	}
	if err != nil {
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
// the last look, or says that the time is over. With why it says what it still
// waits for, which would give a mystery away.
func (l *Lab) await(ctx context.Context, within time.Duration, what string, why bool, look func() (bool, string, error)) (string, error) {
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
		text := fmt.Sprintf("%s, for %v at most", what, left.Round(time.Second))
		switch {
		case !why:
		case err != nil:
			text += ": " + oneLine(err)
		case how != "":
			text += ": " + how
		}
		l.say("%s", text)
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-time.After(every):
		}
	}
}
