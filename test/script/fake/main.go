//go:build linux

// Command fake is Vagrant and VirtualBox as the scripts want them, by the name
// under which it is called. It is a program of its own, and not the test's
// binary, because that one takes thirty times as long to start: there are over
// a thousand starts.
package main

import (
	"os"
	"path/filepath"
)

func main() {
	if filepath.Base(os.Args[0]) == "VBoxManage" {
		os.Exit(fakeVBoxManage(os.Args[1:]))
	}
	os.Exit(fakeVagrant(os.Args[1:]))
}
