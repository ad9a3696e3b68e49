package vagrant

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	govagrant "github.com/bmatcuk/go-vagrant"
)

// boxTimeout bounds the adding of a box that lies on this machine.
const boxTimeout = 5 * time.Minute

// Home is Vagrant's own folder: VAGRANT_HOME, else .vagrant.d in the user's.
func Home() string {
	if home := os.Getenv("VAGRANT_HOME"); home != "" {
		return home
	}
	user, _ := os.UserHomeDir() // "" ends in an error that names the file
	return filepath.Join(user, ".vagrant.d")
}

// KnowsBox says whether Vagrant has unpacked the box, as its folder shows:
// asking Vagrant takes it two seconds. Later Vagrants have a folder for each
// architecture in between.
func KnowsBox(name string) bool {
	dir := filepath.Join(Home(), "boxes", strings.ReplaceAll(name, "/", "-VAGRANTSLASH-"))
	for _, place := range []string{"*/libvirt/", "*/*/libvirt/"} {
		meta, merr := fs.Glob(os.DirFS(dir), place+"metadata.json")
		disk, derr := fs.Glob(os.DirFS(dir), place+"box.img")
		if merr == nil && derr == nil && len(meta) > 0 && len(meta) == len(disk) {
			return true
		}
	}
	return false
}

// AddBox makes a box file for libvirt known to Vagrant under name, unless it
// is. changed is false if it was. The folder must hold a Vagrantfile.
func (c *Client) AddBox(ctx context.Context, name, file string) (changed bool, err error) {
	if KnowsBox(name) {
		return false, nil
	}
	g, err := govagrant.NewVagrantClient(c.Dir)
	if err != nil {
		return false, &Error{Command: "box add", Cause: err}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, boxTimeout, fmt.Errorf("not done within %v", boxTimeout))
	defer cancel()
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
