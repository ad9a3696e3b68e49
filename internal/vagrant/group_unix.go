//go:build unix

package vagrant

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup starts cmd in a process group of its own, so that a Ctrl-C on the
// terminal reaches labctl alone, which decides what Vagrant is told.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// signalGroup interrupts or kills cmd's group.
func signalGroup(p *os.Process, kill bool) error {
	if p == nil {
		return nil
	}
	if kill {
		return syscall.Kill(-p.Pid, syscall.SIGKILL)
	}
	// Vagrant alone: its children are its own to end.
	return p.Signal(syscall.SIGINT)
}
