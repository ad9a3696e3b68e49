//go:build linux

// Bench measures, in one run on one machine, labctl against the plain way: a
// Vagrantfile with file and shell provisioners, then docker swarm init and join
// through vagrant ssh (see the folder plain). Both have the same box, the same
// packages and the same VMs, in an embedded engine each.
//
//	make bench                       three sides, one round
//	make bench BENCH=-quick          without the sequential plain way
//	make bench BENCH='-rounds 3'     in turn, first one way round, then the other
//	make bench BENCH='-sizes 2,4,8'  labctl alone, with labs of so many nodes
//	go run ./test/bench -show FILE   shows a result again, and measures nothing
//
// It prints tables and a timeline, and writes the result as JSON and as a
// drawing into bench/. It needs root, and leaves nothing behind: no VM, no
// engine, no box, whether it ends, fails, or is interrupted.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"labctl/internal/engine"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, out, errOut io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(args) == 3 && args[0] == "engine" && args[1] == "serve" {
		// The plain way's engine is this program again, as labctl's is labctl.
		if err := (engine.Embedded{Dir: args[2]}).Serve(ctx, nil); err != nil {
			_, _ = fmt.Fprintln(errOut, "error:", err)
			return 1
		}
		return 0
	}
	o := options{}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(errOut)
	f.IntVar(&o.rounds, "rounds", 1, "how often everything is measured")
	f.BoolVar(&o.quick, "quick", false, "leave out the sequential plain way, which takes longest")
	f.StringVar(&o.labctl, "labctl", "", "the labctl to measure; \"\": build it")
	f.StringVar(&o.out, "out", "bench", "folder for the result; \"\" for none")
	sizes := f.String("sizes", "", "measure labctl alone, with labs of so many nodes: numbers with commas between")
	show := f.String("show", "", "show a result again, and measure nothing")
	if err := f.Parse(args); err != nil {
		return 2
	}
	if f.NArg() > 0 || o.rounds < 1 {
		_, _ = fmt.Fprintln(errOut, "error: no arguments, and one round or more: see -help")
		return 2
	}
	var r *Result
	var err error
	if *sizes != "" {
		if o.sizes, err = parseSizes(*sizes); err != nil {
			_, _ = fmt.Fprintln(errOut, "error:", err)
			return 2
		}
	}
	if *show != "" {
		r, err = readResult(*show)
	} else {
		o.command = command(o)
		r, err = measure(ctx, o, errOut)
	}
	if r != nil && len(r.Samples) > 0 {
		_, _ = fmt.Fprint(out, r.report())
	}
	if err != nil {
		_, _ = fmt.Fprintln(errOut, "error:", err)
		if ctx.Err() != nil {
			return 130
		}
		return 1
	}
	return 0
}

// command is what makes such a result again.
func command(o options) string {
	var flags []string
	if o.quick {
		flags = append(flags, "-quick")
	}
	if o.rounds > 1 {
		flags = append(flags, fmt.Sprintf("-rounds %d", o.rounds))
	}
	if o.sizes != nil {
		flags = append(flags, "-sizes "+strings.Trim(strings.ReplaceAll(fmt.Sprint(o.sizes), " ", ","), "[]"))
	}
	if len(flags) == 0 {
		return "make bench"
	}
	return fmt.Sprintf("make bench BENCH='%s'", strings.Join(flags, " "))
}

func readResult(file string) (*Result, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r := &Result{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

// save writes the result and its drawing, named by its date.
func (r *Result) save(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return "", err
	}
	base := filepath.Join(dir, r.Date.Format("20060102T150405Z"))
	return base + ".json", errors.Join(os.WriteFile(base+".json", append(data, '\n'), 0o644), os.WriteFile(base+".svg", []byte(r.svg()), 0o644))
}

// options are the command line.
type options struct {
	rounds  int
	quick   bool
	sizes   []int  // nil: labctl against the plain way
	labctl  string // "" to build it
	out     string
	command string
}

// measure runs the benchmark. What was measured before an error is kept, and
// says that it is not whole.
func measure(ctx context.Context, o options, errOut io.Writer) (r *Result, err error) {
	b := &bench{say: func(format string, args ...any) {
		_, _ = fmt.Fprintf(errOut, "%s %s\n", time.Now().UTC().Format(time.TimeOnly), fmt.Sprintf(format, args...))
	}}
	if err := b.prepare(ctx, o.labctl); err != nil {
		return nil, errors.Join(err, b.remove())
	}
	b.result.Rounds, b.result.Command = o.rounds, o.command
	err = b.rounds(ctx, o)
	if err != nil {
		b.result.Incomplete = incomplete(ctx, err, b.work)
		b.keepLog(errOut)
	}
	err = errors.Join(err, b.remove())
	if o.out != "" && len(b.result.Samples) > 0 {
		file, serr := b.result.save(o.out)
		err = errors.Join(err, serr)
		b.say("written: %s", file)
	}
	return &b.result, err
}

// incomplete says in one line why a run ended early, for a file that is kept:
// without the folder, which is gone by then.
func incomplete(ctx context.Context, err error, work string) string {
	var re *roundError
	if ctx.Err() != nil && errors.As(err, &re) {
		return re.at + ": interrupted"
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return strings.ReplaceAll(line, work+string(filepath.Separator), "")
}

// roundError says during which part of which round something went wrong.
type roundError struct {
	at  string
	err error
}

func (e *roundError) Error() string { return e.at + ": " + e.err.Error() }
func (e *roundError) Unwrap() error { return e.err }

// rounds takes the sides in turn.
func (b *bench) rounds(ctx context.Context, o options) error {
	for round := 1; round <= o.rounds; round++ {
		if o.sizes != nil {
			if err := b.sizes(ctx, round, o.sizes); err != nil {
				return err
			}
			continue
		}
		for _, side := range order(round, o.quick) {
			var err error
			if side == sideLabctl {
				err = b.labctlSide(ctx, round)
			} else {
				err = b.plainSide(ctx, round, side)
			}
			if err != nil {
				return &roundError{fmt.Sprintf("round %d, %s", round, side), err}
			}
		}
	}
	return nil
}

// order is that of the sides in a round: every other round the other way
// round, so that no side is always the one that finds a warm cache.
func order(round int, quick bool) []string {
	sides := []string{sideLabctl, sideParallel, sideSequential}
	if quick {
		sides = sides[:2]
	}
	if round%2 == 0 {
		slices.Reverse(sides)
	}
	return sides
}
