package lab

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
)

// No more nodes are worked on than is allowed, and all that may be are: each
// step waits until so many run at once, and then sees that no more do.
func TestRunStepsParallel(t *testing.T) {
	for _, tt := range []struct{ parallel, want int }{{1, 1}, {3, 3}, {0, defaultParallel}} {
		var now, most atomic.Int64
		full := make(chan struct{}) // closed when as many run as may
		var steps []Step
		for i := range 4 * tt.want {
			steps = append(steps, Step{Name: "work", Node: fmt.Sprint("n", i), Run: func(ctx context.Context, _ *Env, _ func(string)) (bool, error) {
				n := now.Add(1)
				defer now.Add(-1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				if n == int64(tt.want) {
					select {
					case <-full:
					default:
						close(full)
					}
				}
				select {
				case <-full:
					return true, nil
				case <-ctx.Done():
					return false, ctx.Err()
				}
			}})
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if err := runSteps(ctx, &Env{Parallel: tt.parallel}, steps); err != nil {
			t.Errorf("parallel %d: %v", tt.parallel, err)
		}
		cancel()
		if most.Load() != int64(tt.want) {
			t.Errorf("parallel %d: %d steps at once, want %d", tt.parallel, most.Load(), tt.want)
		}
	}
}

// A node that does not get on holds up nobody else, and steps that only wait,
// or are the lab's own, take no place.
func TestRunStepsSlowNode(t *testing.T) {
	var others atomic.Int64
	const nodes = 10
	slow := func(ctx context.Context, _ *Env, _ func(string)) (bool, error) {
		for others.Load() < nodes {
			select {
			case <-time.After(time.Millisecond):
			case <-ctx.Done():
				return false, fmt.Errorf("only %d others came through", others.Load())
			}
		}
		return true, nil
	}
	steps := []Step{{Name: "work", Node: "slow", Run: slow}}
	for i := range nodes {
		n := fmt.Sprint("n", i)
		steps = append(steps,
			Step{Name: "boot", Node: n, Waits: true, Run: slow},
			Step{Name: "work", Node: n, Run: does(true, nil)},
			Step{Name: "more", Node: n, After: []string{key("work", n)}, Run: func(context.Context, *Env, func(string)) (bool, error) {
				others.Add(1)
				return true, nil
			}},
		)
	}
	steps = append(steps, Step{Name: "watch", Run: slow})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := runSteps(ctx, &Env{Parallel: 2}, steps); err != nil {
		t.Error(err)
	}
}

// A step that waits for its place is skipped when the command is interrupted.
func TestRunStepsParallelInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	h := &heard{}
	block := func(ctx context.Context, _ *Env, _ func(string)) (bool, error) {
		cancel()
		<-ctx.Done()
		return false, ctx.Err()
	}
	steps := []Step{{Name: "a", Node: "n1", Run: block}, {Name: "a", Node: "n2", Run: block}}
	if err := runSteps(ctx, &Env{Sink: h, Parallel: 1}, steps); err != context.Canceled {
		t.Errorf("error %v", err)
	}
	if !(h.has("a@n1 skipped") && h.has("a@n2 failed: interrupted")) && !(h.has("a@n2 skipped") && h.has("a@n1 failed: interrupted")) {
		t.Errorf("events %q", h.events)
	}
}

func TestLogCounts(t *testing.T) {
	var out bytes.Buffer
	log := logrus.New()
	log.SetOutput(&out)
	log.SetFormatter(&logrus.TextFormatter{DisableColors: true, DisableTimestamp: true})
	e := &Env{Log: log}
	e.counts.vagrant.Add(3)
	if err := runSteps(t.Context(), e, []Step{{Name: "a", Run: does(true, nil)}}); err != nil {
		t.Fatal(err)
	}
	want := `level=info msg="counted so far" ssh_commands=0 ssh_handshakes=0 ssh_sent=0 vagrant_calls=3` + "\n"
	if !strings.HasSuffix(out.String(), want) {
		t.Errorf("log\n%s\nwant at its end\n%s", out.String(), want)
	}
}
