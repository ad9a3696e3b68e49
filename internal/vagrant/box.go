package vagrant

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	govagrant "github.com/bmatcuk/go-vagrant"
)

// boxTimeout bounds the adding of a box that lies on this machine.
const boxTimeout = 5 * time.Minute

// AddBox makes a box file known to Vagrant under name, unless it is. changed
// is false if it was. The folder must hold a Vagrantfile.
func (c *Client) AddBox(ctx context.Context, name, file string) (changed bool, err error) {
	g, err := govagrant.NewVagrantClient(c.Dir)
	if err != nil {
		return false, &Error{Command: "box list", Cause: err}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, boxTimeout, fmt.Errorf("not done within %v", boxTimeout))
	defer cancel()
	list := g.BoxList()
	list.Env = c.env()
	if err := c.wait(ctx, "box list", list, func() *os.Process { return list.Process }, &list.ErrorResponse); err != nil {
		return false, err
	}
	if slices.ContainsFunc(list.Boxes, func(b *govagrant.Box) bool { return b.Name == name }) {
		return false, nil
	}
	add := g.BoxAdd(file)
	add.Env = c.env()
	add.Name = name
	err = c.wait(ctx, "box add", add, func() *os.Process { return add.Process }, &add.ErrorResponse)
	if err != nil && strings.Contains(err.Error(), "already exists") {
		return false, nil // another lab was quicker
	}
	return err == nil, err
}

// wait runs a command of go-vagrant. It never hands the context to go-vagrant,
// which would kill Vagrant at once and leave its locks: Vagrant is
// interrupted, and killed only if it stays.
func (c *Client) wait(ctx context.Context, name string, cmd interface {
	Start() error
	Wait() error
}, process func() *os.Process, response *govagrant.ErrorResponse) error {
	c.called()
	if err := cmd.Start(); err != nil {
		return &Error{Command: name, Cause: err}
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if response.Error != nil {
			// It puts the error's class in front.
			_, message, _ := strings.Cut(response.Error.Error(), ", ")
			return &Error{Command: name, Message: message, Cause: response.Error}
		}
		if err != nil {
			return &Error{Command: name, Cause: err}
		}
		return nil
	case <-ctx.Done():
		_ = signalGroup(process(), false)
		time.AfterFunc(c.patience(), func() { _ = process().Kill() })
		return &Error{Command: name, Cause: context.Cause(ctx)}
	}
}
