package vagrant

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"labctl/internal/config"
)

const (
	orphanPoll  = 50 * time.Millisecond
	orphanAfter = 5 * time.Second // from SIGKILL to giving up
)

// EndOrphans ends every Vagrant that a killed labctl has left at work on this
// lab: it would hold the VMs' locks, and make what the next one removes. The
// caller holds the lab's lock, so no Vagrant that changes the lab has a labctl
// that lives. It is interrupted, and killed if it stays. ended is how many.
func (c *Client) EndOrphans(ctx context.Context) (ended int, err error) {
	orphans := c.orphans()
	for _, pid := range orphans {
		_ = syscall.Kill(pid, syscall.SIGINT) // Vagrant alone: its children are its own to end
	}
	begin, killed := time.Now(), false
	for left := slices.Clone(orphans); len(left) > 0; {
		switch took := time.Since(begin); {
		case took > c.patience()+orphanAfter:
			return 0, fmt.Errorf("a Vagrant that a killed labctl has left does not end: process %d", left[0])
		case took > c.patience() && !killed:
			killed = true
			for _, pid := range left {
				if c.Provider != config.VirtualBox { // see run
					pid = -pid
				}
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-time.After(orphanPoll):
		}
		now := c.orphans()
		// Of a copy: it clears what it deletes, and kill(0) is for everybody.
		left = slices.DeleteFunc(left, func(pid int) bool { return !slices.Contains(now, pid) })
	}
	if c.Provider != config.VirtualBox { // see run
		for _, pid := range orphans {
			_ = syscall.Kill(-pid, syscall.SIGKILL)
		}
	}
	return len(orphans), nil
}

// orphans finds the Vagrants that change this lab: by their environment, and
// by the words with which run starts them, in a process group of their own.
func (c *Client) orphans() []int {
	mark := []byte("\x00" + c.dotfile() + "\x00")
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var out []int
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		// Empty for a zombie, and not to be read of other users' processes.
		env, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err != nil || !bytes.Contains(append([]byte{0}, env...), mark) {
			continue
		}
		args, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || !bytes.Contains(args, []byte("\x00--machine-readable\x00")) {
			continue
		}
		changes := slices.ContainsFunc([]string{"up", "destroy", "snapshot"}, func(word string) bool {
			return bytes.Contains(args, []byte("\x00"+word+"\x00--machine-readable\x00"))
		})
		if group, err := syscall.Getpgid(pid); changes && err == nil && group == pid {
			out = append(out, pid)
		}
	}
	return out
}
