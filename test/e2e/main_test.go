// Package e2e runs the real labctl on real VMs, in the embedded engine: real
// Vagrant, real Docker, real Swarm, nothing faked. It runs if LABCTL_E2E is
// set; with LABCTL_E2E=required it fails where it cannot run.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"labctl/internal/cli"
	"labctl/internal/ui"
)

// binary is the labctl under test, built by TestMain.
var binary string

// suite ends when the suite is interrupted: then the running labctl is, too,
// and none but destroy is begun any more.
var suite = context.Background()

func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "engine" && os.Args[2] == "serve" { // see hypervisor
		os.Exit(cli.Run(context.Background(), os.Args, cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Getenv("LABCTL_E2E") == "" {
		return m.Run() // every test skips itself
	}
	var stop context.CancelFunc
	suite, stop = signal.NotifyContext(suite, os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "labctl-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary = filepath.Join(dir, "labctl")
	build := exec.Command("go", "build", "-o", binary, "../../cmd/labctl")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build labctl:", err)
		return 1
	}
	return m.Run()
}

// all says whether the parts are wanted that take too long to stand in
// everybody's way: LABCTL_E2E=all.
func all() bool { return os.Getenv("LABCTL_E2E") == "all" }

// needVMs skips a test unless the suite was asked for, and fails it where it
// was asked for and cannot run.
func needVMs(t *testing.T) {
	t.Helper()
	if os.Getenv("LABCTL_E2E") == "" {
		t.Skip("real VMs: set LABCTL_E2E=required, or run make test")
	}
	if os.Geteuid() != 0 {
		t.Fatal("the real-VM suite needs root for the embedded engine")
	}
}

// lab is one folder with a lab.toml, driven through the binary.
type lab struct {
	t   *testing.T
	dir string
	in  []string // the command that runs another one in other namespaces; nil: here
}

func newLab(t *testing.T, toml string, in ...string) *lab {
	t.Helper()
	l := &lab{t: t, dir: t.TempDir(), in: in}
	l.write("lab.toml", toml)
	t.Cleanup(func() {
		// Whatever happened: no VM is left behind.
		r := l.run(5*time.Minute, nil, "destroy", "--force")
		if r.code != 0 {
			t.Errorf("destroy at the end: exit code %d\n%s", r.code, r.err)
		}
	})
	return l
}

func (l *lab) write(name, text string) {
	l.t.Helper()
	if err := os.WriteFile(filepath.Join(l.dir, name), []byte(text), 0o644); err != nil {
		l.t.Fatal(err)
	}
}

// result is what a labctl that has ended left.
type result struct {
	out, err string
	code     int
	took     time.Duration // since the signal, if there was one
	ran      time.Duration // in all
	events   []ui.Event
}

// steps lists the events that ended a step as "node step: state", those of
// the lab as a whole as "step: state".
func (r result) steps() []string {
	var out []string
	for _, e := range r.events {
		if e.State == ui.Started || e.State == ui.Progress {
			continue
		}
		out = append(out, strings.TrimSpace(e.Node+" "+e.Step)+": "+string(e.State))
	}
	return out
}

// ready is how long a create took until the lab was ready: without what comes
// before its first step, and without the evidence, which is always the same.
func (r result) ready() time.Duration {
	var begin, end time.Time
	for _, e := range r.events {
		switch {
		case begin.IsZero():
			begin = e.Time
		case e.Step == "snapshot" && e.State == ui.Done:
			end = e.Time
		}
	}
	return end.Sub(begin)
}

// elapsed is how long a node's step took; 0 if it did not end.
func (r result) elapsed(node, step string) time.Duration {
	for _, e := range r.events {
		if e.Node == node && e.Step == step && (e.State == ui.Done || e.State == ui.Kept) {
			return e.Elapsed
		}
	}
	return 0
}

// cleanupTime is kept free before go test's timeout, for destroy.
const cleanupTime = 6 * time.Minute

// event waits for a line of progress; see start.
type event func(ui.Event) bool

// run runs labctl to its end. until, if not nil, is called with each event;
// the first for which it is true has labctl interrupted.
func (l *lab) run(within time.Duration, until event, args ...string) result {
	l.t.Helper()
	return l.until(syscall.SIGINT, within, until, args...)
}

// until is run with another signal than Ctrl-C's.
func (l *lab) until(signal syscall.Signal, within time.Duration, until event, args ...string) result {
	l.t.Helper()
	// go test's own timeout would end this process without any cleanup.
	if end, ok := l.t.Deadline(); ok && args[0] != "destroy" {
		within = min(within, time.Until(end)-cleanupTime)
	}
	parent := suite
	if args[0] == "destroy" {
		parent = context.Background()
	}
	ctx, cancel := context.WithTimeout(parent, within)
	defer cancel()
	argv := slices.Concat(l.in, []string{binary, "--progress", "json"}, args)
	if l.in != nil { // there the folder must be entered anew
		argv = slices.Concat(l.in, []string{"sh", "-c", `cd "$0" && exec "$@"`, l.dir}, argv[len(l.in):])
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = l.dir
	cmd.Env = append(os.Environ(), "LANG=C.UTF-8")
	// labctl leaves in order when interrupted; a kill is the last resort.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 30 * time.Second
	var out bytes.Buffer
	w := &eventReader{}
	interrupted := time.Time{}
	w.each = func(e ui.Event) {
		if until != nil && interrupted.IsZero() && until(e) {
			interrupted = time.Now()
			_ = cmd.Process.Signal(signal)
		}
	}
	cmd.Stdout, cmd.Stderr = &out, w
	begin := time.Now()
	err := cmd.Run()
	r := result{out: out.String(), err: w.text.String(), events: w.events, took: time.Since(begin)}
	r.ran = r.took
	if !interrupted.IsZero() {
		r.took = time.Since(interrupted)
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		r.code = exit.ExitCode()
	case err != nil:
		l.t.Fatalf("labctl %s: %v", strings.Join(args, " "), err)
	}
	if ctx.Err() != nil && parent.Err() == nil {
		l.t.Errorf("labctl %s was not done within %v", strings.Join(args, " "), within)
	}
	return r
}

// ok is run that must end with exit code 0.
func (l *lab) ok(within time.Duration, args ...string) result {
	l.t.Helper()
	r := l.run(within, nil, args...)
	if r.code != 0 {
		l.t.Fatalf("labctl %s: exit code %d\n%s\n%s", strings.Join(args, " "), r.code, r.out, r.err)
	}
	return r
}

// eventReader takes standard error apart: JSON lines are events, the rest is
// kept as text.
type eventReader struct {
	partial []byte
	events  []ui.Event
	text    strings.Builder
	each    func(ui.Event)
}

func (r *eventReader) Write(p []byte) (int, error) {
	r.partial = append(r.partial, p...)
	for {
		i := bytes.IndexByte(r.partial, '\n')
		if i < 0 {
			return len(p), nil
		}
		line := r.partial[:i]
		var e ui.Event
		if json.Unmarshal(line, &e) == nil && e.Step != "" {
			r.events = append(r.events, e)
			r.each(e)
		} else {
			r.text.Write(line)
			r.text.WriteByte('\n')
		}
		r.partial = append([]byte(nil), r.partial[i+1:]...)
	}
}

// host is what a lab must leave as it found it.
type host struct{ addr, route, mounts, netns string }

func lookAtHost(t *testing.T) host {
	t.Helper()
	out := func(argv ...string) string {
		b, err := exec.Command(argv[0], argv[1:]...).Output()
		if err != nil {
			t.Fatalf("%s: %v", strings.Join(argv, " "), err)
		}
		return string(b)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	return host{
		addr:   out("ip", "-br", "addr"),
		route:  out("ip", "route", "show", "table", "all"),
		mounts: string(mounts),
		netns:  out("ip", "netns"),
	}
}

// processesIn lists the processes of a network namespace, as /proc names it.
func processesIn(ns string) []string {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var out []string
	for _, d := range dirs {
		if link, err := os.Readlink(filepath.Join(d, "ns", "net")); err == nil && link == ns {
			comm, _ := os.ReadFile(filepath.Join(d, "comm"))
			out = append(out, filepath.Base(d)+" "+strings.TrimSpace(string(comm)))
		}
	}
	return out
}
