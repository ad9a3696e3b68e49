//go:build !unix

package remote

import (
	"os"
	"os/exec"
)

func ownGroup(*exec.Cmd) {}

// interruptGroup kills: Windows has no interrupt for one process.
func interruptGroup(p *os.Process) error { return p.Kill() }

func killGroup(*os.Process) {}

func endSignal(*os.ProcessState) (string, int) { return "", 0 }
