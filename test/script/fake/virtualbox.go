//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// fakeVBoxManage is VirtualBox as a script wants it: it answers "VBoxManage
// WORDS" with the file $FAKE/vbox/WORDS, the blanks in WORDS replaced by "-".
// Without such a file it is a VirtualBox that does not look at networks.conf,
// which is this machine's and no script's.
func fakeVBoxManage(args []string) int {
	data, err := os.ReadFile(filepath.Join(os.Getenv("FAKE"), "vbox", strings.Join(args, "-")))
	switch {
	case err == nil:
		_, _ = os.Stdout.Write(data)
	case len(args) == 1 && args[0] == "--version":
		fmt.Println("6.1.26r145957")
	}
	return 0
}
