//go:build unix

package remote

import (
	"os"

	"golang.org/x/sys/unix"
)

// lockFile waits for the exclusive lock of f; closing f frees it. It works
// between goroutines too, as each opens the file anew.
func lockFile(f *os.File) error {
	for {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != unix.EINTR {
			return err
		}
	}
}
