package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/gofrs/flock"

	"labctl/internal/config"
	"labctl/internal/remote"
)

func askCPU(_ context.Context, o *Options) (func(*Facts), error) {
	if runtime.GOOS != "linux" {
		return nil, nil
	}
	data, err := fs.ReadFile(o.Root, "proc/cpuinfo")
	if err != nil {
		return nil, err
	}
	flag := cpuFlag(string(data))
	release, _ := fs.ReadFile(o.Root, "proc/sys/kernel/osrelease")
	return func(f *Facts) { f.CPUFlag, f.Kernel = flag, strings.TrimSpace(string(release)) }, nil
}

// cpuFlag finds the flag of hardware virtualisation in /proc/cpuinfo.
func cpuFlag(cpuinfo string) string {
	for line := range strings.Lines(cpuinfo) {
		key, value, _ := strings.Cut(line, ":")
		if strings.TrimSpace(key) != "flags" {
			continue
		}
		for _, w := range strings.Fields(value) {
			if w == "vmx" || w == "svm" {
				return w
			}
		}
	}
	return ""
}

func askKVM(_ context.Context, o *Options) (func(*Facts), error) {
	var k KVM
	if _, err := fs.Stat(o.Root, "dev/kvm"); err == nil {
		k.Exists = true
	}
	if k.Exists {
		f, err := o.Root.Open("dev/kvm")
		if err != nil {
			k.Denied = "/dev/kvm cannot be opened: permission denied"
			if !errors.Is(err, fs.ErrPermission) {
				k.Denied = "/dev/kvm cannot be opened: " + err.Error()
			}
		} else {
			_ = f.Close()
		}
	}
	return func(f *Facts) { f.KVM = k }, nil
}

func askMemory(ctx context.Context, o *Options) (func(*Facts), error) {
	switch runtime.GOOS {
	case "linux":
		data, err := fs.ReadFile(o.Root, "proc/meminfo")
		if err != nil {
			return nil, err
		}
		total, free := meminfo(string(data))
		return func(f *Facts) { f.MemTotal, f.MemFree = total, free }, nil
	case "darwin":
		res, err := remote.Check(ctx, o.Host, "host", remote.Command{Argv: []string{"sysctl", "-n", "hw.memsize"}})
		if err != nil {
			return nil, err
		}
		total, err := strconv.ParseUint(strings.TrimSpace(res.Stdout), 10, 64)
		return func(f *Facts) { f.MemTotal = total }, err
	}
	return nil, nil
}

// meminfo reads /proc/meminfo: all memory, and what programs can still have.
func meminfo(text string) (total, free uint64) {
	for line := range strings.Lines(text) {
		w := strings.Fields(line)
		if len(w) < 2 {
			continue
		}
		n, err := strconv.ParseUint(w[1], 10, 54)
		if err != nil {
			continue
		}
		switch w[0] {
		case "MemTotal:":
			total = n << 10
		case "MemAvailable:":
			free = n << 10
		}
	}
	return total, free
}

// What a lab puts on disks, in bytes: a node with Docker and the images of the
// scenarios, and beside it box, bundle and Vagrant's unpacked copy of the box.
const (
	nodeTakes  = 3 << 30
	cacheTakes = 1 << 30
	boxTakes   = 1 << 30
)

func askDisk(_ context.Context, o *Options) (func(*Facts), error) {
	nodes := uint64(0)
	for _, n := range o.Lab.Nodes {
		if !slices.Contains(o.Known, n.Name) {
			nodes++
		}
	}
	home := o.Env("HOME")
	disks := []Disk{{What: "the lab's folder", Path: filepath.Dir(o.StateDir), Needs: 100 * mib}}
	if len(o.Known) == 0 { // else they are there
		disks = append(disks, Disk{What: "the cache folder", Path: o.Cache, Needs: cacheTakes})
		if home != "" {
			disks = append(disks, Disk{What: "Vagrant's boxes", Path: filepath.Join(home, ".vagrant.d"), Needs: boxTakes})
		}
	}
	at := ""
	switch {
	case o.may(config.Embedded) && runtime.GOOS == "linux":
		at = o.StateDir
	case o.may(config.Libvirt) && runtime.GOOS == "linux":
		at = "/var/lib/libvirt/images"
	case home != "":
		at = filepath.Join(home, "VirtualBox VMs")
	}
	if at != "" && nodes > 0 {
		disks = append(disks, Disk{What: "the VMs' disks", Path: at, Needs: nodes * nodeTakes})
	}
	var out []Disk
	for _, d := range disks {
		free, device, err := freeSpace(nearest(d.Path))
		if errors.Is(err, errors.ErrUnsupported) {
			return nil, errors.New("how much room a disk has is not known on this system")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.Path, err)
		}
		d.Free, d.Device = free, device
		out = append(out, d)
	}
	return func(f *Facts) { f.Disks = out }, nil
}

// nearest is the folder itself, or the nearest one above it that exists.
func nearest(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}

func askUses(_ context.Context, o *Options) (func(*Facts), error) {
	if o.Uses == nil {
		return nil, nil
	}
	uses, err := o.Uses()
	if err != nil {
		return nil, err
	}
	ifaces, err := o.Ifaces()
	if err != nil {
		return nil, err
	}
	tunnel := map[string]bool{}
	for _, i := range ifaces {
		tunnel[i.Name] = i.Flags&net.FlagPointToPoint != 0
	}
	var out []Use
	for _, u := range uses {
		if u.Addr.Addr().Is4() && !u.Addr.Addr().IsLoopback() {
			u.Tunnel = u.Tunnel || tunnel[u.Interface]
			out = append(out, u)
		}
	}
	return func(f *Facts) { f.Uses = out }, nil
}

func askNameservers(_ context.Context, o *Options) (func(*Facts), error) {
	if runtime.GOOS == "windows" {
		return nil, nil
	}
	data, err := fs.ReadFile(o.Root, "etc/resolv.conf")
	// systemd-resolved shows itself there, and the true servers elsewhere.
	if true, rerr := fs.ReadFile(o.Root, "run/systemd/resolve/resolv.conf"); rerr == nil && strings.Contains(string(data), "127.0.0.53") {
		data = true
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	list := nameservers(string(data))
	return func(f *Facts) { f.Nameservers = list }, err
}

func nameservers(resolv string) []netip.Addr {
	var out []netip.Addr
	for line := range strings.Lines(resolv) {
		w := strings.Fields(line)
		if len(w) < 2 || w[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(w[1]); err == nil && a.Is4() && !a.IsLoopback() {
			out = append(out, a)
		}
	}
	return out
}

// askState looks at the folder, and tries a file in it: that is the only way
// to learn whether it can be written and whether locks work.
func askState(_ context.Context, o *Options) (func(*Facts), error) {
	s := StateFolder{Path: o.StateDir, Owner: -1, Self: -1}
	tried := filepath.Dir(o.StateDir)
	if info, err := os.Stat(o.StateDir); err == nil {
		s.Exists, tried = true, o.StateDir
		s.Mode, s.Owner = modeAndOwner(info)
	}
	s.Self = os.Getuid()
	s.Kind = badFileSystem(nearest(tried))
	if s.Unwritable, s.NoLocks = tryFile(tried); s.Unwritable != "" && !s.Exists {
		s.Path = tried
	}
	newest(o, &s)
	return func(f *Facts) { f.State = s }, nil
}

func tryFile(dir string) (unwritable, noLocks string) {
	t, err := os.CreateTemp(dir, ".labctl-doctor-*")
	if err != nil {
		var path *fs.PathError
		if errors.As(err, &path) {
			err = path.Err
		}
		return err.Error(), ""
	}
	_ = t.Close()
	defer func() { _ = os.Remove(t.Name()) }()
	l := flock.New(t.Name())
	if ok, err := l.TryLock(); err != nil {
		return "", err.Error()
	} else if ok {
		_ = l.Unlock()
	}
	return "", ""
}

// newest finds the newest of the files that labctl itself writes there.
func newest(o *Options, s *StateFolder) {
	for _, pattern := range []string{"*", "ssh/*", "keys/*"} {
		list, _ := filepath.Glob(filepath.Join(o.StateDir, pattern))
		for _, name := range list {
			if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() && info.ModTime().After(s.Newest) {
				s.Newest, s.NewestFile = info.ModTime(), name
			}
		}
	}
}
