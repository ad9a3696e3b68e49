//go:build linux

package script

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience is how long anything may take that takes milliseconds on an idle
// machine.
const patience = 60 * time.Second

// exits CODE COMMAND...: runs it, and wants exactly that exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits code command...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("%s: exit code %d, want %s", strings.Join(args[1:], " "), code, args[0])
	}
}

// background are the commands that scripts have started, by script and name.
var background sync.Map

type started struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

func find(ts *testscript.TestScript, name string) *started {
	v, ok := background.Load(ts.Getenv("WORK") + " " + name)
	if !ok {
		ts.Fatalf("nothing was started as %s", name)
	}
	return v.(*started)
}

// scriptEnv is the script's environment, for what ts.Exec does not run.
func scriptEnv(ts *testscript.TestScript) []string {
	var env []string
	for _, key := range []string{"PATH", "HOME", "WORK", "FAKE", "TMPDIR", "XDG_CACHE_HOME", "GOCOVERDIR", "GORACE"} {
		if v := ts.Getenv(key); v != "" {
			env = append(env, key+"="+v)
		}
	}
	return env
}

// start NAME COMMAND...: runs it in the background, in a process group of its
// own as a shell does it; its output goes to NAME.out and NAME.err.
func start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start name command...")
	}
	name := args[0]
	env := scriptEnv(ts)
	s := &started{cmd: exec.Command(args[1], args[2:]...), ended: make(chan struct{})}
	s.cmd.Dir, s.cmd.Env = ts.MkAbs("."), env
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var files []*os.File
	for _, suffix := range []string{".out", ".err"} {
		f, err := os.Create(ts.MkAbs(name + suffix))
		ts.Check(err)
		files = append(files, f)
	}
	s.cmd.Stdout, s.cmd.Stderr = files[0], files[1]
	ts.Check(s.cmd.Start())
	background.Store(ts.Getenv("WORK")+" "+name, s)
	go func() {
		_ = s.cmd.Wait()
		for _, f := range files {
			_ = f.Close()
		}
		close(s.ended)
	}()
	ts.Defer(func() {
		_ = s.cmd.Process.Kill()
		<-s.ended
	})
}

// signal INT|TERM|KILL NAME: like a Ctrl-C, INT goes to the whole process
// group.
func sendSignal(ts *testscript.TestScript, neg bool, args []string) {
	sigs := map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}
	if neg || len(args) != 2 || sigs[args[0]] == 0 {
		ts.Fatalf("usage: signal INT|TERM|KILL name")
	}
	pid := find(ts, args[1]).cmd.Process.Pid
	if args[0] == "INT" {
		pid = -pid
	}
	ts.Check(syscall.Kill(pid, sigs[args[0]]))
}

// ended NAME CODE [WITHIN]: wants the command to end in time (15 s) with that
// exit code, "killed" for a signal's.
func ended(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: ended name code [within]")
	}
	within := 15 * time.Second
	if len(args) == 3 {
		var err error
		within, err = time.ParseDuration(args[2])
		ts.Check(err)
	}
	s := find(ts, args[0])
	select {
	case <-s.ended:
	case <-time.After(within):
		ts.Logf("%s so far:\n%s", args[0], ts.ReadFile(args[0]+".err"))
		ts.Fatalf("%s has not ended within %v", args[0], within)
	}
	code := "killed"
	if s.cmd.ProcessState.Exited() {
		code = strconv.Itoa(s.cmd.ProcessState.ExitCode())
	}
	if code != args[1] {
		ts.Logf("%s said:\n%s", args[0], ts.ReadFile(args[0]+".err"))
		ts.Fatalf("%s: exit code %s, want %s", args[0], code, args[1])
	}
}

// await FILE REGEXP: waits until the file has a match.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await file regexp")
	}
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	poll(ts, "no match of "+args[1]+" in "+args[0], func() bool {
		data, err := os.ReadFile(ts.MkAbs(args[0]))
		return err == nil && re.Match(data)
	})
}

// gone PIDFILE: wants the process, which is named in the file, to end.
func gone(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: gone pidfile")
	}
	pid := strings.TrimSpace(ts.ReadFile(args[0]))
	if _, err := strconv.Atoi(pid); err != nil {
		ts.Fatalf("%s holds no process id: %q", args[0], pid)
	}
	poll(ts, "process "+pid+" of "+args[0]+" still runs", func() bool {
		stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
		return err != nil || strings.Contains(string(stat), ") Z ")
	})
}

func poll(ts *testscript.TestScript, reason string, done func() bool) {
	deadline := time.Now().Add(patience)
	for !done() {
		if time.Now().After(deadline) {
			ts.Fatalf("%s after %v", reason, patience)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

var (
	// aboutStep are the lines of progress that tell of a step's beginning
	// and end; what lies between depends on how quick the machine is.
	aboutStep = regexp.MustCompile(`^\[ *\d+s\] \S+: [a-z A-Z]+: (started|skipped|done|kept|failed)`)
	progress  = regexp.MustCompile(`^\[ *\d+s\] (\S+): `)
	varying   = []struct {
		re *regexp.Regexp
		to string
	}{
		{regexp.MustCompile(`(?m)^\[ *\d+s\]`), "[T]"},
		{regexp.MustCompile(`\(\d+m?\d*(\.\d+)?(ms|µs|s)\)`), "(T)"},
		{regexp.MustCompile(`after \d+m?\d*s`), "after T"},
		{regexp.MustCompile(`within (0s|\d+ms)`), "within T"},
		{regexp.MustCompile(`(?m), \d+m?\d*s$`), ", T"},
		{regexp.MustCompile(`tries \d+`), "tries N"},
		{regexp.MustCompile(`pid \d+`), "pid N"},
		{regexp.MustCompile(`since \d\d:\d\d:\d\d`), "since TIME"},
		{regexp.MustCompile(`\d{8}T\d{6}Z(-[a-z-]*[a-z])(-\d+)?\b`), "TIME$1"}, // a number where two runs began in one second
		{regexp.MustCompile(`\d{8}T\d{6}Z`), "TIME"},
		{regexp.MustCompile(`(labctl lab \S+) [0-9a-f]{8}\b`), "$1 HASH"}, // of the lab's folder
		{regexp.MustCompile(`127\.0\.0\.1:\d+`), "127.0.0.1:PORT"},
		{regexp.MustCompile(`(?m)^\tPort \d+$`), "\tPort PORT"},
		{regexp.MustCompile(`"\S+/\d+/key"`), `"KEY"`}, // of a node's SSH server
	}
)

// normal FILE TO [NODE]: copies the file, or "stdout" or "stderr", with what
// differs from run to run replaced. Of the progress only the begin and end of
// steps are kept, and with NODE ("lab" for the whole) only those of that node
// and nothing else; with "none", all but the progress.
func normal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: normal file to [node]")
	}
	text := strings.ReplaceAll(ts.ReadFile(args[0]), ts.Getenv("WORK"), "$WORK")
	var out strings.Builder
	for line := range strings.Lines(text) {
		m := progress.FindStringSubmatch(line)
		switch {
		case m != nil && !aboutStep.MatchString(line):
			continue
		case len(args) == 3 && args[2] == "none":
			if m != nil {
				continue
			}
		case len(args) == 3 && (m == nil || m[1] != args[2]):
			continue
		}
		for _, v := range varying {
			line = v.re.ReplaceAllString(line, v.to)
		}
		out.WriteString(line)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(out.String()), 0o644))
}
