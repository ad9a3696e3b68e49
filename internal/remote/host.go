package remote

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// defaultGrace is how long an interrupted program may tidy up before it is
// killed.
const defaultGrace = 5 * time.Second

// Host runs programs on this machine. The zero value is ready.
//
// On unix each program leads a process group of its own, so that a Ctrl-C at
// the terminal reaches labctl alone, which then interrupts the whole group.
// Such a program cannot read from the terminal: what asks a person something
// must be run otherwise.
type Host struct {
	// Grace is the time between interrupt and kill when the context ends;
	// 0 means 5 s.
	Grace time.Duration
}

var _ Runner = Host{}

// Run runs c to its end; see Runner. A background program that still holds
// the output open when c has exited is waited for no longer than Grace.
func (h Host) Run(ctx context.Context, c Command) (Result, error) {
	res := Result{Argv: c.Argv, ExitCode: -1}
	fail := func(err error) (Result, error) {
		return res, &RunError{Node: "host", Argv: c.Argv, Err: err}
	}
	if len(c.Argv) == 0 {
		return fail(errors.New("no program given"))
	}
	grace := h.Grace
	if grace == 0 {
		grace = defaultGrace
	}

	out := newTaps(c)
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Dir = c.Dir
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.Stdin = c.Stdin
	cmd.Stdout, cmd.Stderr = &out.stdout, &out.stderr
	cmd.Cancel = func() error { return interruptGroup(cmd.Process) }
	cmd.WaitDelay = grace
	ownGroup(cmd)

	start := time.Now()
	err := cmd.Run()
	res.Duration = time.Since(start)
	out.seal(&res)
	if ctx.Err() != nil && cmd.Process != nil {
		killGroup(cmd.Process) // what the program started and left behind
	}
	if state := cmd.ProcessState; state != nil {
		res.ExitCode = state.ExitCode()
		if sig, n := endSignal(state); sig != "" {
			res.ExitCode = 128 + n
			if ctx.Err() == nil {
				return fail(&SignalError{Signal: sig})
			}
		}
	}

	var exit *exec.ExitError
	switch {
	case err == nil:
		return res, nil
	case ctx.Err() != nil:
		return fail(interrupted(ctx))
	case errors.As(err, &exit), errors.Is(err, exec.ErrWaitDelay):
		return res, nil
	}
	var execErr *exec.Error
	if errors.As(err, &execErr) {
		err = execErr.Err // its text would name the program once more
	}
	return fail(err)
}

// interrupted tells why ctx ended, in words for people.
func interrupted(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("not finished in time: %w", context.Cause(ctx))
	}
	return fmt.Errorf("interrupted: %w", context.Cause(ctx))
}
