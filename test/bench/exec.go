//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// grace is what an interrupted program gets to leave in order: Vagrant removes
// what it had half made.
const grace = time.Minute

// finished is a program that ended well.
type finished struct {
	stdout, stderr []byte
	start          time.Time
	took           time.Duration
}

// runProgram runs a program that must end with exit code 0 within its time.
// When ctx ends, or the time, it is interrupted as a Ctrl-C does it, and only
// then killed. Its output is copied to log.
func runProgram(ctx context.Context, log io.Writer, dir string, env []string, within time.Duration, argv ...string) (finished, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("not done within %v", within))
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = dir, env
	// A group of its own: a person's Ctrl-C is passed on once, by us.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = grace
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&out, log), io.MultiWriter(&errOut, log)
	_, _ = fmt.Fprintf(log, "\n%s $ %s\n", time.Now().UTC().Format(time.TimeOnly), strings.Join(argv, " "))
	f := finished{start: time.Now()}
	err := cmd.Run()
	f.took = time.Since(f.start)
	f.stdout, f.stderr = out.Bytes(), errOut.Bytes()
	if ctx.Err() != nil {
		return f, fmt.Errorf("%s: %w", strings.Join(argv, " "), context.Cause(ctx))
	}
	if err != nil {
		return f, &programError{argv, err, out.String() + errOut.String()}
	}
	return f, nil
}

// programError is a program that failed.
type programError struct {
	argv   []string
	err    error
	output string
}

func (e *programError) Error() string {
	lines := strings.Split(strings.TrimSpace(e.output), "\n")
	return fmt.Sprintf("%s: %v\n%s", strings.Join(e.argv, " "), e.err, strings.Join(lines[max(0, len(lines)-20):], "\n"))
}

func (e *programError) Unwrap() error { return e.err }

// link gives a file a second name, or copies it where that cannot be.
func link(from, to string) error {
	if err := os.Link(from, to); err == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
