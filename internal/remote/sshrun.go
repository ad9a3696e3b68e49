package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// Run runs c on the node; see Runner. Each word of Argv reaches the program
// as it is. The program replaces the login shell, so that a signal reaches
// it and its end is its own. A program that does not exist is exit code 127
// here, because that is all that the shell tells. Dir is ignored.
//
// Env travels on standard input, in front of c.Stdin, and a `read` loop
// exports it: sshd needs no AcceptEnv for that, and a value stands at no time
// on a command line, where `ps` and the audit log of the node would show it.
// A value may hold anything but NUL.
//
// When ctx ends, the command gets SIGINT, then after 5 s SIGKILL, then its
// session is closed. What runs as another user (sudo) is beyond sshd's
// signals and only notices its closed output.
func (c *Conn) Run(ctx context.Context, cmd Command) (Result, error) {
	return c.run(ctx, cmd, defaultGrace)
}

func (c *Conn) run(ctx context.Context, cmd Command, grace time.Duration) (Result, error) {
	res := Result{Argv: cmd.Argv, ExitCode: -1}
	fail := func(err error) (Result, error) {
		return res, &RunError{Node: c.ep.Name, Argv: cmd.Argv, Err: err}
	}
	if len(cmd.Argv) == 0 {
		return fail(errors.New("no program given"))
	}
	line, prelude, err := shellLine(cmd)
	if err != nil {
		return fail(err)
	}

	begin := time.Now()
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return fail(interrupted(ctx))
	}
	c.count.command(line)
	out := newTaps(cmd)
	r, err := c.start(ctx, line, io.MultiReader(strings.NewReader(prelude), orEmpty(cmd.Stdin)), out)
	if err == nil {
		err = r.wait(ctx, grace)
	}
	res.Duration = time.Since(begin)
	out.seal(&res)

	var exit *ssh.ExitError
	var missing *ssh.ExitMissingError
	switch {
	case err == nil:
		res.ExitCode = 0
		return res, nil
	case ctx.Err() != nil:
		return fail(interrupted(ctx))
	case errors.As(err, &exit) && exit.Signal() != "":
		res.ExitCode = exit.ExitStatus() // 128 + signal number
		return fail(&SignalError{Signal: exit.Signal()})
	case errors.As(err, &exit):
		res.ExitCode = exit.ExitStatus()
		return res, nil
	case c.gone():
		return fail(c.lost())
	case errors.As(err, &missing):
		err = errors.New("the session ended without an exit code")
	}
	return fail(err)
}

// gone says whether the connection has ended, or is just ending: the failure
// of a session is seen a moment before the end of the connection.
func (c *Conn) gone() bool {
	t := time.NewTimer(time.Second)
	defer t.Stop()
	select {
	case <-c.closed:
		return true
	case <-t.C:
		return false
	}
}

// shellLine gives what the node's login shell is told, and what comes first
// on standard input.
func shellLine(cmd Command) (line, prelude string, err error) {
	line = "exec " + Quote(cmd.Argv)
	if len(cmd.Env) == 0 {
		return line, "", nil
	}
	var b strings.Builder
	for _, kv := range cmd.Env {
		name, _, ok := strings.Cut(kv, "=")
		// The value stays out of the message: it may be a secret.
		if !ok || !isName(name) {
			return "", "", fmt.Errorf("environment: %q is not a variable name", name)
		}
		if strings.Contains(kv, "\x00") {
			return "", "", fmt.Errorf("environment: the value of %s contains NUL", name)
		}
		b.WriteString(lineEscaper.Replace(kv) + "\n")
	}
	b.WriteString("\n")
	// POSIX makes `read` take no byte beyond its line, so the rest of the
	// input is left for the program.
	//
	// A line with a backslash has escapes in it. The dot keeps line breaks at
	// the end, which $(…) takes away.
	const loop = `while IFS= read -r labctl_env && [ -n "$labctl_env" ]; do ` +
		`case $labctl_env in *\\*) labctl_env=$(printf '%b.' "$labctl_env"); labctl_env=${labctl_env%.} ;; esac; ` +
		`export "$labctl_env"; done; `
	return loop + line, b.String(), nil
}

// lineEscaper makes one line of a value, for printf's %b to undo.
var lineEscaper = strings.NewReplacer(`\`, `\\`, "\n", `\n`)

func isName(s string) bool {
	for i, r := range s {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}

func orEmpty(r io.Reader) io.Reader {
	if r == nil {
		return strings.NewReader("")
	}
	return r
}

// end is what a session's Wait returned.
type end struct{ err error }

// running is a started command.
type running struct {
	session  *ssh.Session
	ended    chan end   // takes one value
	badStdin chan error // the caller's reader failed
}

// start opens a session and starts line. Both need an answer of the peer, so
// they are left behind when ctx ends.
func (c *Conn) start(ctx context.Context, line string, stdin io.Reader, out *taps) (*running, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	type started struct {
		r   *running
		err error
	}
	done := make(chan started, 1)
	go func() {
		session, err := c.client.NewSession()
		if err != nil {
			done <- started{nil, err}
			return
		}
		session.Stdout, session.Stderr = &out.stdout, &out.stderr
		pipe, err := session.StdinPipe()
		if err == nil {
			err = session.Start(line)
		}
		if err != nil {
			_ = session.Close()
			done <- started{nil, err}
			return
		}
		r := &running{session: session, ended: make(chan end, 1), badStdin: make(chan error, 1)}
		go r.feed(pipe, stdin, c.count)
		go func() { r.ended <- end{session.Wait()} }()
		done <- started{r, nil}
	}()
	select {
	case s := <-done:
		return s.r, s.err
	case <-ctx.Done():
		go func() {
			if s := <-done; s.err == nil {
				_ = s.r.session.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

// feed copies standard input. That the program stopped reading is no error:
// `head` does it too. That the caller's reader fails is one: the program must
// not take half an input for a whole one, so its session is closed instead.
func (r *running) feed(pipe io.WriteCloser, stdin io.Reader, count *Counter) {
	src := &readErr{r: stdin, count: count}
	_, _ = copyPooled(pipe, src)
	if src.err != nil {
		r.badStdin <- fmt.Errorf("standard input: %w", src.err)
		_ = r.session.Close()
		return
	}
	_ = pipe.Close()
}

// wait waits for the end, or brings it about when ctx ends. The calls that
// send something are not waited for: a dead peer can block them.
func (r *running) wait(ctx context.Context, grace time.Duration) error {
	defer func() { go func() { _ = r.session.Close() }() }()
	select {
	case e := <-r.ended:
		select {
		case bad := <-r.badStdin:
			return bad
		default:
			return e.err
		}
	case <-ctx.Done():
	}
	select {
	case e := <-r.ended:
		return e.err // it had just finished
	default:
	}
	for _, sig := range []ssh.Signal{ssh.SIGINT, ssh.SIGKILL} {
		go func() { _ = r.session.Signal(sig) }()
		t := time.NewTimer(grace)
		select {
		case <-r.ended:
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
		grace = time.Second // the killed program's end is reported at once
	}
	return ctx.Err()
}

// readErr remembers a reader's error, which io.Copy mixes with the writer's.
type readErr struct {
	r     io.Reader
	err   error
	count *Counter
}

func (s *readErr) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.count.input(n)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}
