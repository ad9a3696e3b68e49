//go:build unix

package doctor

import (
	"io/fs"
	"os"
	"os/user"
	"syscall"

	"golang.org/x/sys/unix"
)

func whoAmI(f *Facts) {
	f.Root = os.Geteuid() == 0
	if u, err := user.Current(); err == nil {
		f.User = u.Username
	}
}

func modeAndOwner(info fs.FileInfo) (mode uint32, owner int) {
	owner = -1
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		owner = int(st.Uid)
	}
	return uint32(info.Mode().Perm()), owner
}

// freeSpace returns the bytes that this user may still write to a folder's
// file system, and that file system's device.
func freeSpace(path string) (free, device uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, 0, err
	}
	var file unix.Stat_t
	if err := unix.Stat(path, &file); err != nil {
		return 0, 0, err
	}
	return uint64(st.Bavail) * uint64(st.Bsize), uint64(file.Dev), nil
}
