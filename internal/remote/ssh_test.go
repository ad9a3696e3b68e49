//go:build unix

package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"labctl/internal/remote/sshtest"
)

func endpoint(s *sshtest.Server, name string) Endpoint {
	return Endpoint{Name: name, Host: s.Host, Port: s.Port, User: s.User, KeyFile: s.KeyFile}
}

func options(t *testing.T) DialOptions {
	return DialOptions{KnownHosts: filepath.Join(t.TempDir(), "known_hosts"), Timeout: 5 * time.Second}
}

func connect(t *testing.T, o sshtest.Options) (*sshtest.Server, *Conn) {
	t.Helper()
	s := sshtest.Start(t, o)
	get := Dial
	if borrowed {
		get = func(ctx context.Context, ep Endpoint, o DialOptions) (*Conn, error) {
			_, socket := startLender(t, o, ep)
			return Borrow(ctx, ep, socket, o)
		}
	}
	c, err := get(t.Context(), endpoint(s, "docker1"), options(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return s, c
}

func TestRun(t *testing.T) {
	s, c := connect(t, sshtest.Options{})
	var out, errOut bytes.Buffer
	res, err := c.Run(t.Context(), Command{
		Argv:  []string{"sh", "-c", `cat; printf '%s|' "$@" >&2; exit 7`, "sh", "a b", "it's", "$HOME", ""},
		Stdin: strings.NewReader("from here"), Stdout: &out, Stderr: &errOut,
	})
	if err != nil {
		t.Fatal(err)
	}
	const wantErr = "a b|it's|$HOME||"
	if res.Stdout != "from here" || res.Stderr != wantErr || res.ExitCode != 7 || res.Duration <= 0 {
		t.Errorf("result %+v", res)
	}
	if out.String() != res.Stdout || errOut.String() != wantErr {
		t.Errorf("live copies %q and %q", out.String(), errOut.String())
	}
	want := `exec sh -c 'cat; printf '\''%s|'\'' "$@" >&2; exit 7' sh 'a b' 'it'\''s' '$HOME' ''`
	if got := s.Commands(); len(got) != 1 || got[0] != want {
		t.Errorf("sent %q, want %s", got, want)
	}
}

func TestRunEnvStaysOffTheCommandLine(t *testing.T) {
	s, c := connect(t, sshtest.Options{})
	res, err := c.Run(t.Context(), Command{
		Argv:  []string{"sh", "-c", `printf '%s|%s|%s|%s|' "$TOKEN" "$EMPTY" "$LINES" "${labctl_env-unset}"; cat`},
		Env:   []string{`TOKEN=s3cret 'x' \n = $HOME `, "EMPTY=", "LINES=one\n\\two\\n\n"},
		Stdin: strings.NewReader("\nrest=kept\n\n"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := `s3cret 'x' \n = $HOME ||` + "one\n\\two\\n\n" + `|unset|` + "\nrest=kept\n\n"; res.Stdout != want {
		t.Errorf("stdout %q, want %q", res.Stdout, want)
	}
	if line := s.Commands()[0]; strings.Contains(line, "s3cret") {
		t.Errorf("the value stands on the command line: %s", line)
	}
}

func TestRunRefusesBadEnv(t *testing.T) {
	s, c := connect(t, sshtest.Options{})
	for env, want := range map[string]string{
		"A=x\x00y": "docker1: true: environment: the value of A contains NUL",
		"A b=x":    `docker1: true: environment: "A b" is not a variable name`,
		"novalue":  `docker1: true: environment: "novalue" is not a variable name`,
		"1A=x":     `docker1: true: environment: "1A" is not a variable name`,
		"A;id;B=x": `docker1: true: environment: "A;id;B" is not a variable name`,
	} {
		if _, err := c.Run(t.Context(), Command{Argv: []string{"true"}, Env: []string{env}}); err == nil || err.Error() != want {
			t.Errorf("%q: error %v, want %s", env, err, want)
		}
	}
	if got := s.Commands(); len(got) != 0 {
		t.Errorf("ran %q", got)
	}
}

func TestRunScriptWithClosedStdin(t *testing.T) {
	_, c := connect(t, sshtest.Options{})
	res, err := c.Run(t.Context(), Script(`echo "$1-$2"`, "a b", "c"))
	if err != nil || res.Stdout != "a b-c\n" {
		t.Errorf("%+v, %v", res, err)
	}
	res, err = c.Run(t.Context(), Command{Argv: []string{"cat"}})
	if err != nil || res.Stdout != "" || res.ExitCode != 0 {
		t.Errorf("nil Stdin: %+v, %v", res, err)
	}
}

func TestRunLargeOutputAndInput(t *testing.T) {
	_, c := connect(t, sshtest.Options{})
	const size = 8 << 20
	res, err := c.Run(t.Context(), Command{Argv: []string{"sh", "-c", "tee /dev/stderr"}, Stdin: io.LimitReader(zeros{}, size)})
	if err != nil || len(res.Stdout) != size || len(res.Stderr) != size {
		t.Errorf("%d and %d bytes, want %d; %v", len(res.Stdout), len(res.Stderr), size, err)
	}
	line := strings.Repeat("x", 300<<10) + ",y\n" // one line, far over 64 KiB
	res, err = c.Run(t.Context(), Command{Argv: []string{"cat"}, Stdin: strings.NewReader(line)})
	if err != nil || res.Stdout != line {
		t.Errorf("long line: %d bytes, %v", len(res.Stdout), err)
	}
}

// A command may end without reading its input.
func TestRunIgnoresUnreadInput(t *testing.T) {
	_, c := connect(t, sshtest.Options{})
	res, err := c.Run(t.Context(), Command{Argv: []string{"true"}, Stdin: io.LimitReader(zeros{}, 16<<20)})
	if err != nil || res.ExitCode != 0 {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestRunFailingInput(t *testing.T) {
	_, c := connect(t, sshtest.Options{})
	in := io.MultiReader(strings.NewReader("half"), errReader{})
	_, err := c.Run(t.Context(), Command{Argv: []string{"cat"}, Stdin: in})
	if err == nil || err.Error() != "docker1: cat: standard input: disk gone" {
		t.Errorf("error %v", err)
	}
}

func TestRunSignal(t *testing.T) {
	_, c := connect(t, sshtest.Options{})
	res, err := c.Run(t.Context(), Command{Argv: []string{"sh", "-c", "echo x; kill -KILL $$"}})
	var sig *SignalError
	if !errors.As(err, &sig) || err.Error() != "docker1: sh -c 'echo x; kill -KILL $$': ended by signal KILL" {
		t.Errorf("error %v", err)
	}
	if res.ExitCode != 137 || res.Stdout != "x\n" {
		t.Errorf("result %+v", res)
	}
}

func TestRunConnectionDrops(t *testing.T) {
	s, c := connect(t, sshtest.Options{})
	drop := writerFunc(func(p []byte) (int, error) { go s.Drop(); return len(p), nil })
	res, err := c.Run(t.Context(), Command{Argv: []string{"sh", "-c", "echo begun; sleep 30"}, Stdout: drop})
	const want = "docker1: sh -c 'echo begun; sleep 30': the SSH connection was lost"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if res.Stdout != "begun\n" {
		t.Errorf("lost what had come before: %q", res.Stdout)
	}
	if _, err = c.Run(t.Context(), Command{Argv: []string{"uptime"}}); err == nil || err.Error() != "docker1: uptime: the SSH connection was lost" {
		t.Errorf("on the dead connection: %v", err)
	}
}

// sshd itself may end a session, for instance when it runs out of processes.
func TestRunSessionWithoutEnd(t *testing.T) {
	_, c := connect(t, sshtest.Options{})
	_, err := c.Run(t.Context(), Command{Argv: []string{"sh", "-c", "kill -QUIT $$"}})
	if want := "docker1: sh -c 'kill -QUIT $$': the session ended without an exit code"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestRunContextEnds(t *testing.T) {
	for _, c := range []struct{ name, script, wantOut string }{
		{"obeys SIGINT", `trap 'echo tidy; exit 0' INT; echo ready; while :; do sleep 0.05; done`, "ready\ntidy\n"},
		{"must be killed", `trap '' INT; echo ready; while :; do sleep 0.05; done`, "ready\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, conn := connect(t, sshtest.Options{})
			ctx, cancel := context.WithCancel(t.Context())
			started := writerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil })
			start := time.Now()
			res, err := conn.run(ctx, Command{Argv: []string{"sh", "-c", c.script}, Stdout: started}, 300*time.Millisecond)
			if !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "docker1: sh -c ") {
				t.Errorf("error %v", err)
			}
			if res.Stdout != c.wantOut {
				t.Errorf("stdout %q, want %q", res.Stdout, c.wantOut)
			}
			if d := time.Since(start); d > 4*time.Second {
				t.Errorf("took %v", d)
			}
			if res, err := conn.Run(t.Context(), Command{Argv: []string{"echo", "on"}}); err != nil || res.Stdout != "on\n" {
				t.Errorf("the connection is of no more use: %+v, %v", res, err)
			}
		})
	}
}

func TestRunSideBySide(t *testing.T) {
	// More commands than OpenSSH's server allows at a time.
	const commands = 25
	_, c := connect(t, sshtest.Options{MaxSessions: 10})
	done := make(chan error)
	for i := range commands {
		go func() {
			want := fmt.Sprintln(i)
			res, err := c.Run(t.Context(), Command{Argv: []string{"sh", "-c", "sleep 0.1; echo $1", "sh", fmt.Sprint(i)}})
			if err == nil && res.Stdout != want {
				err = fmt.Errorf("got %q, want %q", res.Stdout, want)
			}
			done <- err
		}()
	}
	for range commands {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestKeepaliveGivesUp(t *testing.T) {
	s := sshtest.Start(t, sshtest.Options{Deaf: true})
	o := options(t)
	o.Keepalive = 50 * time.Millisecond
	c, err := Dial(t.Context(), endpoint(s, "docker2"), o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, err = c.Run(t.Context(), Command{Argv: []string{"sleep", "30"}})
	const want = "docker2: sleep 30: the SSH connection was lost: no sign of life for 150ms"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestKeepaliveKeeps(t *testing.T) {
	s := sshtest.Start(t, sshtest.Options{})
	o := options(t)
	o.Keepalive = 20 * time.Millisecond
	c, err := Dial(t.Context(), endpoint(s, "docker2"), o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if res, err := c.Run(t.Context(), Command{Argv: []string{"sh", "-c", "sleep 0.5; echo alive"}}); err != nil || res.Stdout != "alive\n" {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestDialUnixSocket(t *testing.T) {
	_, c := connect(t, sshtest.Options{})
	sock := filepath.Join(t.TempDir(), "s")
	lis, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lis.Close() }()
	go func() {
		for {
			peer, err := lis.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(peer, "hello")
			_ = peer.Close()
		}
	}()
	conn, err := c.Dial("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(conn); err != nil || string(b) != "hello" {
		t.Errorf("read %q, %v", b, err)
	}
	_, err = c.Dial("unix", "/no/socket")
	const want = "docker1: open unix socket /no/socket through SSH: ssh: rejected: connect failed (\"open failed\")"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestCloseTwice(t *testing.T) {
	_, c := connect(t, sshtest.Options{})
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	<-c.Done()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("disk gone") }
