package doctor

import "golang.org/x/sys/unix"

// badFileSystem names a file system that keeps neither rights nor locks as a
// local disk does; "" for all others.
func badFileSystem(path string) string {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return ""
	}
	// The type has another width on every processor.
	switch uint32(st.Type) {
	case unix.NFS_SUPER_MAGIC:
		return "NFS"
	case unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC:
		return "a Windows share"
	case unix.V9FS_MAGIC:
		return "a disk of the machine around this one (9p)"
	case 0x786f4256:
		return "a shared folder of VirtualBox"
	}
	return ""
}
