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
	"sync"
	"time"

	"labctl/internal/config"
)

// Up boots the named VMs with one `vagrant up`. progress is called with each
// line that Vagrant says about a node, ready once for each node when Vagrant
// has finished with it, both from one goroutine. deadline bounds the whole.
//
// It runs Vagrant itself, not through go-vagrant: that hands on no output
// before the end, gives up reading at a line of 64 KiB (on which Vagrant then
// hangs), and would leave Vagrant in labctl's process group, where a Ctrl-C
// reaches it twice, which Vagrant takes for "exit without cleaning up".
func (c *Client) Up(ctx context.Context, names []string, deadline time.Duration, progress func(node, line string), ready func(node string)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	args := append([]string{"up", "--machine-readable", "--no-provision", "--no-destroy-on-error", "--provider", c.vagrantProvider()}, names...)
	if c.Provider != config.VirtualBox {
		args = append(args, "--parallel")
	}
	cmd := exec.CommandContext(ctx, "vagrant", args...)
	cmd.Dir = c.Dir
	cmd.Env = append(os.Environ(), c.env()...)
	ownGroup(cmd)
	cmd.Cancel = func() error { return signalGroup(cmd.Process, false) }
	cmd.WaitDelay = grace
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w

	var last lastLine
	var failure string
	parsed := make(chan struct{})
	go func() {
		defer close(parsed)
		finished := map[string]bool{}
		readMachine(io.TeeReader(r, orDiscard(c.Log)), func(m message) {
			switch {
			case m.kind == "ui" && len(m.data) > 1:
				last.set(m.target, m.data[1])
				if m.target != "" {
					progress(m.target, m.data[1])
				}
			case m.kind == "action" && len(m.data) > 1 && m.data[0] == "up" && m.data[1] == "end":
				if !finished[m.target] {
					finished[m.target] = true
					ready(m.target)
				}
			case m.kind == "error-exit" && len(m.data) > 1:
				failure = m.data[1]
			}
		})
	}()
	timer := time.AfterFunc(deadline, cancel)
	err := cmd.Run()
	expired := !timer.Stop()
	if err != nil && c.Provider != config.VirtualBox {
		// Ruby's children (a plugin's ssh, qemu-img) can outlive a killed
		// Vagrant. VirtualBox's own service, which VMs live under, can be
		// among them, so there they are left alone.
		_ = signalGroup(cmd.Process, true)
	}
	_ = w.Close()
	<-parsed
	switch {
	case err == nil:
		return nil
	case expired:
		return &TimeoutError{Deadline: deadline, Last: last.String()}
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return &Error{Command: "up", Message: failure, Cause: err}
}

// TimeoutError is a `vagrant up` that did not end in time.
type TimeoutError struct {
	Deadline time.Duration
	Last     string // what Vagrant said last
}

func (e *TimeoutError) Error() string {
	return fmt.Sprintf("vagrant up was not done within %v; its last words: %s", e.Deadline, e.Last)
}

// Hint says where to look.
func (e *TimeoutError) Hint() string {
	return "look at the serial consoles and vagrant.log in the artifacts folder; `labctl create` again goes on where this stopped"
}

type lastLine struct {
	mu   sync.Mutex
	text string
}

func (l *lastLine) set(target, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = strings.TrimSpace(target + ": " + strings.TrimSpace(text))
}

func (l *lastLine) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text
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

// readMachine reads messages to the end. A line may have any length; a line
// that is no message is passed over.
func readMachine(r io.Reader, each func(message)) {
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadString('\n')
		if m, ok := parseMachine(strings.TrimRight(line, "\r\n")); ok {
			each(m)
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
