package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"labctl/internal/diagnose"
	"labctl/internal/lab"
	"labctl/internal/remote"
	"labctl/internal/ui"
)

// How long a command of a fix may take, and how long the lab may take after
// all of them until nothing is wrong any more: an engine that was started again
// needs some time to find its swarm.
const (
	fixWithin    = 2 * time.Minute
	settleWithin = 90 * time.Second
	settlePause  = 3 * time.Second
)

// mendLab carries out the fixes of the findings, each after asking, and looks
// again if it did anything. A fix that fails keeps no other from being tried.
func (a *app) mendLab(ctx context.Context, e *lab.Env, out io.Writer, facts diagnose.Facts, found []diagnose.Finding, yes bool) (diagnose.Facts, []diagnose.Finding, error) {
	var errs []error
	mended := 0
	var left []string // the kinds that stay
	for _, f := range found {
		if f.Fix == nil {
			left = append(left, f.ID)
			continue
		}
		if err := diagnose.WriteText(out, diagnose.Facts{}, []diagnose.Finding{f}); err != nil {
			return facts, found, err
		}
		var lines []string
		for _, x := range f.Fix {
			lines = append(lines, "  on "+x.Node+": "+x.Command)
		}
		what := "run this?\n" + strings.Join(lines, "\n") + "\n"
		if !yes {
			ok, err := ui.ConfirmContext(ctx, a.streams.In, a.streams.Err, what)
			if err != nil {
				return facts, found, err
			}
			if !ok {
				_, _ = fmt.Fprintln(a.streams.Err, "left as it is")
				left = append(left, f.ID)
				continue
			}
		}
		mended++
		for _, x := range f.Fix {
			if err := runFix(ctx, e, x); err != nil {
				errs = append(errs, err)
				break
			}
			_, _ = fmt.Fprintf(a.streams.Err, "done on %s: %s\n", x.Node, x.Command)
		}
	}
	if mended == 0 {
		return facts, found, errors.Join(errs...)
	}
	facts, found, err := lookAgain(ctx, e, left, func(reason string) { _, _ = fmt.Fprintln(a.streams.Err, reason) })
	return facts, found, errors.Join(append(errs, err)...)
}

func runFix(ctx context.Context, e *lab.Env, x diagnose.Fix) error {
	conn := e.Runner(x.Node)
	if conn == nil {
		return fmt.Errorf("%s: not connected", x.Node)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, fixWithin, errors.New("not done within "+fixWithin.String()))
	defer cancel()
	command := strings.ReplaceAll(x.Command, "$(date +%s)", strconv.FormatInt(time.Now().Unix(), 10))
	_, err := remote.Check(ctx, conn, x.Node, remote.Command{Argv: []string{"sh", "-c", command}})
	return err
}

// lookAgain asks until nothing is found but what was left as it is, or time is
// over.
func lookAgain(ctx context.Context, e *lab.Env, left []string, say func(string)) (diagnose.Facts, []diagnose.Finding, error) {
	end := time.Now().Add(settleWithin)
	for first := true; ; first = false {
		facts, found, err := diagnoseLab(ctx, e)
		i := slices.IndexFunc(found, func(f diagnose.Finding) bool { return !slices.Contains(left, f.ID) })
		if err != nil || i < 0 || time.Now().After(end) {
			return facts, found, err
		}
		if first {
			say("looking again until it shows, for " + settleWithin.String() + " at most; still there: " + found[i].ID)
		}
		select {
		case <-ctx.Done():
			return facts, found, context.Cause(ctx)
		case <-time.After(settlePause):
		}
	}
}
