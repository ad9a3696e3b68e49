//go:build unix

package remote

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestHostRun(t *testing.T) {
	var live bytes.Buffer
	res, err := Host{}.Run(t.Context(), Command{
		Argv:   []string{"sh", "-c", `cat; echo "$GREETING $PWD"; echo bad >&2; exit 3`},
		Env:    []string{"GREETING=hello"},
		Stdin:  strings.NewReader("in\n"),
		Stdout: &live, Stderr: &live,
		Dir: "/",
	})
	if err != nil {
		t.Fatal(err)
	}
	if res.Stdout != "in\nhello /\n" || res.Stderr != "bad\n" || res.ExitCode != 3 {
		t.Errorf("stdout %q, stderr %q, exit code %d", res.Stdout, res.Stderr, res.ExitCode)
	}
	if got := live.String(); len(got) != len("in\nhello /\nbad\n") || !strings.Contains(got, "bad\n") {
		t.Errorf("live copy %q", got)
	}
}

func TestHostStdinIsClosed(t *testing.T) {
	res, err := Host{}.Run(t.Context(), Command{Argv: []string{"cat"}})
	if err != nil || res.Stdout != "" || res.ExitCode != 0 {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestHostErrors(t *testing.T) {
	for _, c := range []struct {
		argv []string
		code int
		want string
	}{
		{[]string{"no-such-program", "a b"}, -1, "host: no-such-program 'a b': executable file not found in $PATH"},
		{[]string{"/no/such/file"}, -1, "host: /no/such/file: fork/exec /no/such/file: no such file or directory"},
		{[]string{"sh", "-c", "kill -KILL $$"}, 137, "host: sh -c 'kill -KILL $$': ended by signal KILL"},
		{nil, -1, "host: : no program given"},
	} {
		res, err := Host{}.Run(t.Context(), Command{Argv: c.argv})
		if err == nil || err.Error() != c.want || res.ExitCode != c.code {
			t.Errorf("%q: error %v, code %d; want %s, code %d", c.argv, err, res.ExitCode, c.want, c.code)
		}
	}
}

func TestHostInterruptsThenKills(t *testing.T) {
	for _, c := range []struct {
		name, script, wantOut string
		least, most           time.Duration
	}{
		{"obeys", `trap 'echo tidy; exit 0' INT; echo ready; while :; do sleep 0.05; done`, "ready\ntidy\n", 0, 3 * time.Second},
		{"ignores", `trap '' INT; echo ready; while :; do sleep 0.05; done`, "ready\n", 300 * time.Millisecond, 3 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			started := writerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil })
			start := time.Now()
			res, err := Host{Grace: 300 * time.Millisecond}.Run(ctx, Command{Argv: []string{"sh", "-c", c.script}, Stdout: started})
			if !errors.Is(err, context.Canceled) || !strings.HasSuffix(err.Error(), ": interrupted: context canceled") {
				t.Errorf("error %v", err)
			}
			if res.Stdout != c.wantOut {
				t.Errorf("stdout %q, want %q", res.Stdout, c.wantOut)
			}
			if d := time.Since(start); d < c.least || d > c.most {
				t.Errorf("took %v", d)
			}
		})
	}
}

// A program's own children must not outlive an interrupted command.
func TestHostKillsTheGroup(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancel(t.Context())
	started := writerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil })
	script := `sh -c 'trap "" INT; echo $$ >"$1"; echo ready; while :; do sleep 0.05; done' sh "$1"`
	_, err := Host{Grace: 200 * time.Millisecond}.Run(ctx, Command{Argv: []string{"sh", "-c", script, "sh", pidFile}, Stdout: started})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	pid := readPid(t, pidFile)
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || isZombie(pid) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("child %d still lives", pid)
		}
	}
}

func TestHostDeadlineText(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := Host{}.Run(ctx, Command{Argv: []string{"sleep", "30"}})
	if err == nil || err.Error() != "host: sleep 30: not finished in time: context deadline exceeded" {
		t.Errorf("error %v", err)
	}
}

func TestHostDoesNotWaitForDaemons(t *testing.T) {
	start := time.Now()
	res, err := Host{Grace: 200 * time.Millisecond}.Run(t.Context(), Command{Argv: []string{"sh", "-c", "sleep 3 & echo started"}})
	if err != nil || res.Stdout != "started\n" || res.ExitCode != 0 {
		t.Errorf("%+v, %v", res, err)
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("waited %v for a background program", d)
	}
}

func TestFailingLiveWriterLosesNothing(t *testing.T) {
	broken := writerFunc(func([]byte) (int, error) { return 0, errors.New("closed") })
	res, err := Host{}.Run(t.Context(), Command{Argv: []string{"sh", "-c", "head -c 1000000 /dev/zero"}, Stdout: broken})
	if err != nil || len(res.Stdout) != 1000000 || res.ExitCode != 0 {
		t.Errorf("%d bytes, exit code %d, %v", len(res.Stdout), res.ExitCode, err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func readPid(t *testing.T, file string) int {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, c := range strings.TrimSpace(string(b)) {
		n = n*10 + int(c-'0')
	}
	return n
}

// isZombie: where nobody reaps orphans, a killed process stays listed.
func isZombie(pid int) bool {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return err == nil && strings.Contains(string(b), ") Z ")
}
