package doctor

import (
	"io/fs"
	"os/user"

	"golang.org/x/sys/windows"
)

func whoAmI(f *Facts) {
	if u, err := user.Current(); err == nil {
		f.User = u.Username
	}
}

// modeAndOwner: Windows has its own kind of rights, which a new folder takes
// from the one above it.
func modeAndOwner(fs.FileInfo) (mode uint32, owner int) { return 0o700, -1 }

func freeSpace(path string) (free, device uint64, err error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return 0, 0, err
	}
	if err := windows.GetDiskFreeSpaceEx(name, &free, nil, nil); err != nil {
		return 0, 0, err
	}
	if len(path) > 0 { // the drive's letter
		device = uint64(path[0] | 0x20)
	}
	return free, device, nil
}
