package scenario

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"labctl/internal/remote"

	"github.com/google/go-cmp/cmp"
)

func TestInterruptRunsCleanups(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	f := &fakes{do: map[string]doing{"act": func(own context.Context, node string, c remote.Command) (remote.Result, error) {
		cancel()
		return hangs(own, node, c)
	}, "clean": func(own context.Context, node string, c remote.Command) (remote.Result, error) {
		return remote.Result{}, own.Err() // nil: a context of its own
	}}}
	d := page(t, "@all|act", "@manager|never", "@manager check|never", "@manager cleanup|clean")
	res, err := Run(ctx, d, f.options())
	if !errors.Is(err, context.Canceled) || err.Error() != "x.md: interrupted: context canceled" {
		t.Errorf("error %v", err)
	}
	slices.Sort(f.calls)
	wantCalls(t, f, "docker1: act", "docker1: clean", "docker2: act")
	if !res.Interrupted || res.Passed || res.Failure != nil || len(res.CleanupFailures) > 0 {
		t.Errorf("result %+v", res)
	}
	if got := res.Blocks[0].Verdict; got != Interrupted {
		t.Errorf("verdict %s", got)
	}
}

func TestAbortStopsCleanups(t *testing.T) {
	abort := make(chan struct{})
	f := &fakes{do: map[string]doing{"second": func(own context.Context, node string, c remote.Command) (remote.Result, error) {
		close(abort)
		return hangs(own, node, c)
	}}}
	d := page(t, "@manager|act", "@manager check|look", "@manager cleanup|first", "@manager cleanup|second")
	res := mustRun(t, f, d, func(o *Options) { o.Abort = abort })
	wantCalls(t, f, "docker1: act", "docker1: look", "docker1: second")
	var got []string
	for _, c := range res.CleanupFailures {
		got = append(got, c.Error())
	}
	want := []string{"x.md:33: docker1: interrupted", "x.md:27: @manager: cleanup was interrupted and did not run"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("cleanup failures (-want +got):\n%s", diff)
	}
}

// A node that vanishes fails the block in time; the others are cleaned.
func TestVanishedNode(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	deaf := func(_ context.Context, node string, c remote.Command) (remote.Result, error) {
		if node == "docker2" {
			<-release // it does not even listen to its context
		}
		return remote.Result{}, nil
	}
	f := &fakes{do: map[string]doing{"act": deaf}}
	d := page(t, "@all timeout=10ms|act", "@manager check|true", "@manager cleanup|clean")
	start := time.Now()
	res := mustRun(t, f, d, nil)
	if d := time.Since(start); d > grace+5*time.Second {
		t.Errorf("took %s", d)
	}
	if res.Failure == nil || res.Failure.Error() != "x.md:15: docker2: no end within 10ms" {
		t.Errorf("failure %v", res.Failure)
	}
	if last := f.calls[len(f.calls)-1]; last != "docker1: clean" {
		t.Errorf("last call %q", last)
	}
}
