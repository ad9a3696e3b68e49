package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	startTimeout = 60 * time.Second // libvirtd probes QEMU's abilities at its first start
	stopGrace    = 5 * time.Second  // for QEMU to write back its caches
	pollEvery    = 50 * time.Millisecond
)

func mayUnshare() error {
	if os.Geteuid() != 0 {
		return errors.New("it needs root to make a network namespace")
	}
	return nil
}

// Start starts the engine unless it runs, and returns when its libvirtd
// answers. started says whether this call started it. What an earlier engine
// of this lab kept on disk (domains, volumes) is there again.
func (e Embedded) Start(ctx context.Context) (started bool, err error) {
	if st, err := e.Status(); err != nil || st.Running {
		return false, err
	}
	// An engine whose supervisor was killed can have left libvirtd and VMs;
	// they would hold the volumes' locks.
	if err := e.Stop(ctx); err != nil {
		return false, err
	}
	if err := os.MkdirAll(e.Dir, 0o700); err != nil {
		return false, err
	}
	exe, err := os.Executable()
	if err != nil {
		return false, err
	}
	log, err := os.OpenFile(e.LogFile(), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return false, err
	}
	defer func() { _ = log.Close() }()
	// Not CommandContext: the engine outlives this labctl.
	cmd := exec.Command(exe, "engine", "serve", e.Dir)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), envOutside+"="+namespaces(), envCache+"="+e.Cache)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true, // a Ctrl-C for labctl is none for the engine
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
	}
	if err := cmd.Start(); err != nil {
		return false, fmt.Errorf("start the embedded engine in its own namespaces: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	deadline := time.NewTimer(startTimeout)
	defer deadline.Stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	fail := func(reason string) (bool, error) {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		return false, &StartError{Reason: reason, Log: tail(e.LogFile(), 15)}
	}
	for {
		select {
		case <-ctx.Done():
			_ = cmd.Process.Signal(syscall.SIGTERM)
			return false, ctx.Err()
		case err := <-ended:
			return fail(fmt.Sprintf("its supervisor ended at once (%v)", err))
		case <-deadline.C:
			return fail(fmt.Sprintf("libvirtd did not answer within %v", startTimeout))
		case <-tick.C:
			if st, err := e.Status(); err == nil && st.Running {
				return true, nil
			}
		}
	}
}

// StartError is an embedded engine that did not come up.
type StartError struct {
	Reason string
	Log    string // the end of the engine's log
}

func (e *StartError) Error() string { return "embedded engine: " + e.Reason }

// Output returns the end of the engine's log.
func (e *StartError) Output() string { return e.Log }

// Hint says what commonly helps.
func (e *StartError) Hint() string {
	return "the last lines of the engine's log are above; `labctl engine stop` clears what is left, then try again"
}

// Status asks the kernel, not only the record: an engine runs if its
// supervisor lives and is still in the network namespace that it made.
func (e Embedded) Status() (Status, error) {
	st := Status{Dir: e.Dir}
	r, ok, err := e.read()
	if err != nil || !ok {
		return st, err
	}
	st.NetNS = r.NetNS
	for _, p := range e.members(r) {
		st.Processes = append(st.Processes, fmt.Sprintf("%d %s", p.pid, p.name))
	}
	if r.Ready && e.member(r, r.PID) {
		st.Running, st.PID, st.Started = true, r.PID, r.Started
	}
	return st, nil
}

// Stop ends the engine and every VM in it. Volumes and definitions stay in
// Dir. A namespace dies with its last process, so nothing else is left. It
// spares the calling process, which may run inside the engine itself.
func (e Embedded) Stop(ctx context.Context) error {
	r, ok, err := e.read()
	if err != nil {
		return err
	}
	if !ok {
		return nil
	}
	spare := ancestors()
	asked := map[int]bool{}
	begin := time.Now()
	for {
		// The supervisor ends the others, which are its children. Only where
		// it was killed they are asked one by one.
		supervised := e.member(r, r.PID)
		var left []string
		for _, p := range e.members(r) {
			if slices.Contains(spare, p.pid) {
				continue
			}
			left = append(left, fmt.Sprintf("%d %s", p.pid, p.name))
			switch {
			case time.Since(begin) > 2*stopGrace:
				_ = syscall.Kill(p.pid, syscall.SIGKILL)
			case !asked[p.pid] && (!supervised || p.pid == r.PID):
				asked[p.pid] = true
				_ = syscall.Kill(p.pid, syscall.SIGTERM)
			}
		}
		if len(left) == 0 {
			break
		}
		if time.Since(begin) > 4*stopGrace {
			return fmt.Errorf("embedded engine: still running after SIGKILL: %s", strings.Join(left, ", "))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollEvery):
		}
	}
	if err := os.Remove(e.recordFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Inside says whether this process already runs inside the engine.
func (e Embedded) Inside() bool {
	r, ok, err := e.read()
	return err == nil && ok && e.member(r, os.Getpid())
}

// Enter replaces this process by labctl with the same arguments inside the
// engine's namespaces. It returns only when that fails.
func (e Embedded) Enter(ctx context.Context, args []string) error {
	// Whoever is interrupted up to here would go on inside as if it were not.
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	st, err := e.Status()
	if err != nil {
		return err
	}
	if !st.Running {
		return errors.New("the embedded engine is not running")
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		return fmt.Errorf("enter the embedded engine: %w", err)
	}
	wd, err := os.Getwd()
	if err != nil {
		return err
	}
	// The folder is entered anew inside: one that was opened outside, which is
	// what nsenter --wd does, has no path there, and getcwd fails.
	argv := append([]string{"nsenter", "-t", strconv.Itoa(st.PID), "-m", "-n", "--",
		"sh", "-c", `cd "$1" && shift && exec "$@"`, "labctl", wd, exe}, args[1:]...)
	env := append(os.Environ(), EnvInside+"="+strconv.Itoa(st.PID))
	return fmt.Errorf("enter the embedded engine: %w", syscall.Exec(nsenter, argv, env))
}

type process struct {
	pid  int
	name string
}

// member says whether a process lives in this engine. The kernel gives the
// number of a namespace that has gone to a new one, after a reboot surely, and
// then the record's would be a container's or another lab's: so the process
// must also see this very engine's folder at /run/libvirt.
func (e Embedded) member(r record, pid int) bool {
	ns := netns(pid)
	if ns == "" || ns != r.NetNS || ns == r.Outside {
		return false
	}
	own, err := os.Stat(filepath.Join(e.Dir, "run"))
	if err != nil {
		return false
	}
	seen, err := os.Stat(fmt.Sprintf("/proc/%d/root%s", pid, private["run"]))
	return err == nil && os.SameFile(own, seen)
}

// members lists the processes that live in this engine.
func (e Embedded) members(r record) []process {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var out []process
	for _, d := range dirs {
		pid, err := strconv.Atoi(filepath.Base(d))
		if err != nil || !e.member(r, pid) {
			continue
		}
		comm, _ := os.ReadFile(filepath.Join(d, "comm"))
		// A zombie holds nothing and cannot be ended.
		if stat, _ := os.ReadFile(filepath.Join(d, "stat")); strings.Contains(string(stat), ") Z ") {
			continue
		}
		out = append(out, process{pid, strings.TrimSpace(string(comm))})
	}
	return out
}

// netns names the network namespace of a process; "" if it is gone, or may not
// be asked, as process 1 of some containers.
func netns(pid int) string { return namespace(pid, "net") }

func namespace(pid int, kind string) string {
	s, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
	if err != nil {
		return ""
	}
	return s
}

// namespaces names this process's network and mount namespace.
func namespaces() string {
	return netns(os.Getpid()) + " " + namespace(os.Getpid(), "mnt")
}

// isolated says whether this process is in other namespaces than those that
// outside names, which is what namespaces returned there. Where either is not
// known, it is not.
func isolated(outside string) bool {
	was, is := strings.Fields(outside), strings.Fields(namespaces())
	return len(was) == 2 && len(is) == 2 && was[0] != is[0] && was[1] != is[1]
}

// ancestors returns this process and those above it.
func ancestors() []int {
	var out []int
	for pid := os.Getpid(); pid > 1; pid = parentOf(pid) {
		out = append(out, pid)
	}
	return out
}

// parentOf returns a process's parent, 0 if it is gone.
func parentOf(pid int) int {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name in parentheses may hold blanks: count from its end.
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	if len(fields) < 2 {
		return 0
	}
	parent, _ := strconv.Atoi(fields[1])
	return parent
}

func tail(file string, lines int) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	all := strings.Split(strings.TrimSpace(string(data)), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return strings.Join(all, "\n")
}
