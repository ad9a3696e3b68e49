package vagrant

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"labctl/internal/config"
)

// ask runs a short command, or one that answers, within its time.
func (c *Client) ask(ctx context.Context, within time.Duration, late string, each func(message), args ...string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("%s %v", late, within))
	defer cancel()
	args = append([]string{args[0], "--machine-readable"}, args[1:]...)
	failure, err := c.run(ctx, nil, each, args...)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return &Error{Command: args[0], Cause: context.Cause(ctx)}
	}
	return &Error{Command: args[0], Message: failure, Cause: err}
}

// run runs one Vagrant to its end, with a copy of its output to log, which may
// be nil, and each called with every message, from one goroutine. When ctx
// ends, Vagrant is interrupted, given a grace, and killed. failure is what
// Vagrant said of a failure.
//
// It does so itself, not through go-vagrant: that hands on no output before
// the end, gives up reading at a line of 64 KiB (on which Vagrant then hangs),
// drops a key file whose path has a blank in it, and would leave Vagrant in
// labctl's process group, where a Ctrl-C reaches it twice, which Vagrant takes
// for "exit without cleaning up".
func (c *Client) run(ctx context.Context, log io.Writer, each func(message), args ...string) (failure string, err error) {
	c.called()
	cmd := exec.CommandContext(ctx, "vagrant", args...)
	cmd.Dir = c.Dir
	cmd.Env = append(os.Environ(), c.env()...)
	ownGroup(cmd)
	cmd.Cancel = func() error { return signalGroup(cmd.Process, false) }
	cmd.WaitDelay = c.patience()
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w

	var said failureWords
	parsed := make(chan struct{})
	go func() {
		defer close(parsed)
		readMachine(io.TeeReader(r, orDiscard(log)), func(m message) {
			said.take(m)
			each(m)
		}, said.stray)
	}()
	err = cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) && ctx.Err() == nil {
		// It ended well, but something that it started for good (a service of
		// VirtualBox) still holds its output open.
		err = nil
	}
	if err != nil && c.Provider != config.VirtualBox {
		// Ruby's children (a plugin's ssh, qemu-img) can outlive a killed
		// Vagrant. VirtualBox's own service, which VMs live under, can be
		// among them, so there they are left alone.
		_ = signalGroup(cmd.Process, true)
	}
	_ = w.Close()
	<-parsed
	return said.String(), err
}

func (c *Client) called() {
	if c.Calls != nil {
		c.Calls.Add(1)
	}
}

func (c *Client) queryTimeout() time.Duration {
	if c.query != 0 {
		return c.query
	}
	return defaultQuery
}

func (c *Client) patience() time.Duration {
	if c.grace != 0 {
		return c.grace
	}
	return defaultGrace
}

// failureWords finds what Vagrant says of its failure: the message of its
// exit, else its last error, else what Ruby printed when it broke down.
type failureWords struct {
	exit, shown string
	other       []string // the last lines that are no messages
}

const otherLines = 20

func (f *failureWords) take(m message) {
	switch {
	case m.kind == "error-exit" && len(m.data) > 1:
		f.exit = m.data[1]
	case m.kind == "ui" && len(m.data) > 1 && m.data[0] == "error":
		f.shown = m.data[1]
	}
}

func (f *failureWords) stray(line string) {
	if f.other = append(f.other, line); len(f.other) > otherLines {
		f.other = f.other[1:]
	}
}

func (f *failureWords) String() string {
	switch {
	case f.exit != "":
		return f.exit
	case f.shown != "":
		return f.shown
	}
	return strings.Join(f.other, "\n")
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// message is one line of `vagrant --machine-readable`:
// timestamp,target,type,data…
type message struct {
	target, kind string
	data         []string
}

// readMachine reads messages to the end. A line may have any length; one that
// is no message goes to stray.
func readMachine(r io.Reader, each func(message), stray func(line string)) {
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadString('\n')
		line = strings.TrimRight(line, "\r\n")
		if m, ok := parseMachine(line); ok {
			each(m)
		} else if line != "" {
			stray(line)
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				// Never leave Vagrant blocked on a pipe that nobody reads.
				_, _ = io.Copy(io.Discard, r)
			}
			return
		}
	}
}

var unescape = strings.NewReplacer(`\n`, "\n", `\r`, "\r", "%!(VAGRANT_COMMA)", ",")

func parseMachine(line string) (message, bool) {
	parts := strings.Split(line, ",")
	if len(parts) < 3 || !allDigits(parts[0]) {
		return message{}, false
	}
	m := message{target: parts[1], kind: parts[2]}
	for _, d := range parts[3:] {
		m.data = append(m.data, unescape.Replace(d))
	}
	return m, true
}

func allDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
