package ui

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"
)

// quiet is the least time between two progress lines of one step.
const quiet = 5 * time.Second

// plain prints a line when a step starts and ends, and now and then what it
// waits for.
type plain struct {
	w     io.Writer
	now   func() time.Time
	start time.Time
	text  *lineWriter
	stop  chan struct{}
	ended sync.WaitGroup

	mu     sync.Mutex
	steps  map[stepKey]*plainStep
	closed bool
}

type stepKey struct{ node, step string }

type plainStep struct {
	since   time.Time
	printed time.Time // of the newest line
	shown   string    // the detail in that line
	pending string    // a newer detail, too early to be printed; "" for none
}

func newPlain(w io.Writer, now func() time.Time) *plain {
	p := &plain{w: w, now: now, start: now(), steps: map[stepKey]*plainStep{}, stop: make(chan struct{})}
	p.text = &lineWriter{emit: p.print}
	return p
}

// watch prints held-back details when their time has come, even if no further
// event does: that a step waits, and for what, must show.
func (p *plain) watch() {
	p.ended.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				p.flush()
			case <-p.stop:
				return
			}
		}
	})
}

func (p *plain) Event(e Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	now := p.now()
	key := stepKey{e.Node, e.Step}
	s := p.steps[key]
	if s == nil {
		s = &plainStep{since: now.Add(-e.Elapsed)}
		p.steps[key] = s
	}
	detail := oneLine(e.Detail)
	switch e.State {
	case Started:
		*s = plainStep{since: now, printed: now, shown: detail}
		p.line(now, key, join(string(Started), detail))
	case Progress:
		s.pending = detail
		if detail == s.shown {
			s.pending = ""
		}
		p.due(now, key, s)
	case Skipped:
		delete(p.steps, key)
		p.line(now, key, ended(e.State, e.Detail))
	default:
		took := e.Elapsed
		if took == 0 {
			took = now.Sub(s.since)
		}
		delete(p.steps, key)
		p.line(now, key, join(fmt.Sprintf("%s (%s)", e.State, duration(took)), detail))
	}
}

// flush prints what has been held back long enough.
func (p *plain) flush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	keys := slices.SortedFunc(maps.Keys(p.steps), func(a, b stepKey) int {
		return cmp.Or(cmp.Compare(a.node, b.node), cmp.Compare(a.step, b.step))
	})
	for _, key := range keys {
		p.due(now, key, p.steps[key])
	}
}

func (p *plain) due(now time.Time, key stepKey, s *plainStep) {
	if s.pending == "" || now.Sub(s.printed) < quiet {
		return
	}
	p.line(now, key, s.pending)
	s.shown, s.pending, s.printed = s.pending, "", now
}

func (p *plain) line(now time.Time, key stepKey, text string) {
	since := fmt.Sprintf("%ds", int(now.Sub(p.start)/time.Second))
	_, _ = fmt.Fprintf(p.w, "[%5s] %s: %s: %s\n", since, label(key.node), key.step, text)
}

func (p *plain) Write(b []byte) (int, error) { return p.text.Write(b) }

func (p *plain) print(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = io.WriteString(p.w, line+"\n")
}

func (p *plain) Close() {
	p.text.finish()
	p.mu.Lock()
	closed := p.closed
	p.closed = true
	p.mu.Unlock()
	if !closed {
		close(p.stop)
		p.ended.Wait()
	}
}
