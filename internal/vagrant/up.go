package vagrant

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"labctl/internal/config"
)

// UpEvents are called while Up is at work, all from one goroutine.
type UpEvents struct {
	// Line is called with each line that Vagrant says about a node.
	Line func(node, line string)
	// Address is called when Vagrant knows where a node's sshd will answer.
	Address func(node, host string)
	// Ready is called once for each node, when Vagrant has finished with it.
	Ready func(node string)
}

// Up boots the named VMs with one `vagrant up`. deadline bounds the whole.
func (c *Client) Up(ctx context.Context, names []string, deadline time.Duration, on UpEvents) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	args := append([]string{"up", "--machine-readable", "--no-provision", "--no-destroy-on-error", "--provider", c.vagrantProvider()}, names...)
	if c.Provider != config.VirtualBox {
		args = append(args, "--parallel")
	}
	var last string
	finished := map[string]bool{}
	timer := time.AfterFunc(deadline, cancel)
	failure, err := c.run(ctx, c.Log, func(m message) {
		switch {
		case m.kind == "ui" && len(m.data) > 1:
			line := plainLine(m.target, m.data[1])
			if m.target == "" || line == "" {
				return
			}
			// What it says when it is interrupted tells nothing of why.
			if ctx.Err() == nil {
				last = m.target + ": " + line
			}
			on.Line(m.target, line)
			if address, ok := strings.CutPrefix(line, "SSH address: "); ok {
				if host, _, err := net.SplitHostPort(address); err == nil {
					on.Address(m.target, host)
				}
			}
		case m.kind == "action" && len(m.data) > 1 && m.data[0] == "up" && m.data[1] == "end":
			if !finished[m.target] {
				finished[m.target] = true
				on.Ready(m.target)
			}
		}
	}, args...)
	expired := !timer.Stop()
	switch {
	case err == nil:
		return nil
	case expired:
		return &TimeoutError{Deadline: deadline, Last: last}
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return &Error{Command: "up", Message: failure, Cause: err}
}

// plainLine is the first line of what Vagrant says about a node, without the
// node's name that it puts in front ("==> docker1: ", "    docker1: ").
func plainLine(target, text string) string {
	for {
		text = strings.TrimSpace(text)
		short := strings.TrimPrefix(strings.TrimPrefix(text, "==> "), target+":")
		if short == text {
			line, _, _ := strings.Cut(text, "\n")
			return line
		}
		text = short
	}
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
