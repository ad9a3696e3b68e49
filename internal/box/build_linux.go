package box

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"labctl/internal/apt"
	"labctl/internal/remote"
)

// Build returns the box from the cache, or makes it: a few hundred megabytes
// are fetched and installed, as root, in a mount namespace that ends with the
// build. Builds with the same cache folder wait for one another. When ctx
// ends, what was begun is removed.
func Build(ctx context.Context, o Options) (Box, error) {
	b := builder{Options: o, euid: os.Geteuid(), osRelease: apt.OSRelease, lookup: lookup}
	if b.Progress == nil {
		b.Progress = func(string) {}
	}
	return b.build(ctx)
}

// builder is Build with what it asks of the host made visible.
type builder struct {
	Options
	euid      int
	osRelease string
	lookup    func(file string) bool
}

func (b builder) build(ctx context.Context) (Box, error) {
	host, err := apt.ReadSystem(b.osRelease)
	if err != nil {
		return Box{}, fmt.Errorf("box: %w", err)
	}
	t, err := newTarget(b.Options, host)
	if err != nil {
		return Box{}, err
	}
	dir := boxDir(b.Options)
	if box, ok, err := t.find(dir); err != nil || ok && !b.Force {
		return box, err
	}
	if err := b.preflight(t, host); err != nil {
		return Box{}, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Box{}, fmt.Errorf("box: cache: %w", err)
	}
	unlock, err := apt.Lock(ctx, filepath.Join(dir, "lock"), func() {
		b.Progress("waiting for another build of a box to end")
	})
	if err != nil {
		return Box{}, fmt.Errorf("box: %w", err)
	}
	defer unlock()
	// Another build may have made it while this one waited.
	old, found, err := t.find(dir)
	if err != nil || found && !b.Force {
		return old, err
	}
	box, err := b.make(ctx, t, host, dir)
	if err == nil && found && old.Path != box.Path {
		err = os.Remove(old.Path)
	}
	return box, err
}

// MissingError is a host that lacks programs for the build.
type MissingError struct {
	Files    []string // what was looked for
	Packages []string // Debian packages that hold them, in the same order
}

func (e *MissingError) Error() string {
	return "box: not installed on this host: " + strings.Join(e.Files, ", ")
}

// Hint says how to install them on Debian or Ubuntu.
func (e *MissingError) Hint() string {
	return "sudo apt-get install " + strings.Join(e.Packages, " ")
}

// RootError is a build without the rights that it needs.
type RootError struct{}

func (RootError) Error() string { return "box: building it needs root, for mounts and file owners" }

// Hint says how to get them.
func (RootError) Hint() string { return "run it with sudo" }

func (b builder) preflight(t target, host apt.System) error {
	if t.arch != "amd64" {
		return fmt.Errorf("box: only amd64 boxes can be built, and this host is %s", t.arch)
	}
	if err := host.CanServe(b.Mirror); err != nil {
		return fmt.Errorf("box: %w", err)
	}
	return b.can([][2]string{
		{"mmdebstrap", "mmdebstrap"},
		{"sfdisk", "fdisk"},
		{"mke2fs", "e2fsprogs"},
		{"extlinux", "extlinux"},
		{"qemu-img", "qemu-utils"},
		{apt.Keyring, "debian-archive-keyring"},
	})
}

// can looks for what a build needs, each a file and its package, and for root.
func (b builder) can(needs [][2]string) error {
	missing := &MissingError{}
	for _, need := range needs {
		if !b.lookup(need[0]) {
			missing.Files = append(missing.Files, need[0])
			missing.Packages = append(missing.Packages, need[1])
		}
	}
	if len(missing.Files) > 0 {
		return missing
	}
	if b.euid != 0 {
		return RootError{}
	}
	return nil
}

// sbin are folders of programs that an administrator's PATH may lack.
const sbin = "/usr/local/sbin:/usr/sbin:/sbin"

// lookup says whether a program, or a file with its full path, is there.
func lookup(file string) bool {
	if filepath.IsAbs(file) {
		_, err := os.Stat(file)
		return err == nil
	}
	if _, err := exec.LookPath(file); err == nil {
		return true
	}
	for _, dir := range filepath.SplitList(sbin) {
		if info, err := os.Stat(filepath.Join(dir, file)); err == nil && info.Mode()&0o111 != 0 {
			return true
		}
	}
	return false
}

// workPrefix begins the names of the folders in which boxes are made.
const workPrefix = ".build-"

// make builds the box in a folder beside its place and moves it there. The
// caller holds the lock.
func (b builder) make(ctx context.Context, t target, host apt.System, dir string) (Box, error) {
	return b.inFolder(dir, func(work string, log io.Writer) (Box, error) {
		// The new system's own users must be able to enter it.
		if err := os.Chmod(work, 0o755); err != nil {
			return Box{}, fmt.Errorf("box: %w", err)
		}
		b.Progress("reading apt's settings")
		if err := b.prepare(ctx, t, host, work); err != nil {
			return Box{}, err
		}
		if err := b.run(ctx, work, log, "scripts/build.sh", t.release); err != nil {
			return Box{}, err
		}
		prefix, err := t.prefix()
		if err != nil {
			return Box{}, err
		}
		return store(filepath.Join(work, "box.box"), dir, prefix, t.box)
	})
}

// inFolder runs f with a work folder that goes afterwards, and with the log
// of builds. The caller holds the lock.
func (b builder) inFolder(dir string, f func(work string, log io.Writer) (Box, error)) (box Box, err error) {
	if err := removeStale(dir); err != nil {
		return Box{}, err
	}
	work, err := os.MkdirTemp(dir, workPrefix)
	if err != nil {
		return Box{}, fmt.Errorf("box: %w", err)
	}
	defer func() { err = errors.Join(err, remove(work)) }()
	log, err := os.Create(filepath.Join(dir, "build.log"))
	if err != nil {
		return Box{}, fmt.Errorf("box: log: %w", err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	return f(work, log)
}

// store moves the finished file to its name: prefix and the hash of its
// content.
func store(file, dir, prefix string, named func(path, hash string) Box) (Box, error) {
	f, err := os.Open(file)
	if err != nil {
		return Box{}, fmt.Errorf("box: %w", err)
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return Box{}, fmt.Errorf("box: %w", err)
	}
	// On disk before it has its name: a box that is found is whole.
	if err := f.Sync(); err != nil {
		return Box{}, fmt.Errorf("box: %w", err)
	}
	hash := short(h.Sum(nil))
	box := named(filepath.Join(dir, prefix+hash+".box"), hash)
	box.Built = true
	if err := os.Rename(file, box.Path); err != nil {
		return Box{}, fmt.Errorf("box: %w", err)
	}
	return box, nil
}

// prepare writes the recipe and apt's settings into the work folder.
func (b builder) prepare(ctx context.Context, t target, host apt.System, work string) error {
	settings, err := apt.Read(ctx, apt.Options{System: host, Release: t.release, Mirror: b.Mirror, Host: b.Host})
	if err != nil {
		return fmt.Errorf("box: %w", err)
	}
	if err := unpack(recipe, work); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"sources.list": settings.List(),
		// apt's own user may not enter the cache folder.
		"apt.conf": settings.Conf(apt.Setting{Key: "APT::Sandbox::User", Value: "root"}),
	} {
		// apt.conf may hold the password of a proxy.
		if err := os.WriteFile(filepath.Join(work, name), []byte(text), 0o600); err != nil {
			return fmt.Errorf("box: %w", err)
		}
	}
	return nil
}

// unpack writes files to dir. Embedded files have no modes: what begins as a
// script becomes executable.
func unpack(files fs.FS, dir string) error {
	return fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(dir, filepath.FromSlash(path))
		if d.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		data, err := fs.ReadFile(files, path)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if strings.HasPrefix(string(data), "#!") {
			mode = 0o755
		}
		if err := os.WriteFile(to, data, mode); err != nil {
			return err
		}
		return os.Chmod(to, mode) // whatever the umask
	})
}

// run runs a script of the work folder, with that folder, args and the size of
// the disk. The namespaces end with unshare, and with them
// every process and mount of the build, even when unshare is killed.
func (b builder) run(ctx context.Context, work string, log io.Writer, script string, args ...string) error {
	if b.Log != nil {
		log = io.MultiWriter(log, b.Log)
	}
	out := &output{log: log, progress: b.Progress}
	argv := []string{
		"unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
		"sh", "-eu", filepath.Join(work, filepath.FromSlash(script)), work,
	}
	argv = append(append(argv, args...), strconv.Itoa(diskGiB))
	_, err := remote.Check(ctx, b.Host, "host", remote.Command{
		Argv:   argv,
		Env:    []string{"PATH=" + os.Getenv("PATH") + ":" + sbin, "LC_ALL=C.UTF-8"},
		Stdout: out.stream(),
		Stderr: out.stream(),
	})
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("box: build interrupted: %w", context.Cause(ctx))
	}
	if exit := (*remote.ExitError)(nil); errors.As(err, &exit) {
		return &BuildError{Reason: out.reason(), Log: filepath.Join(filepath.Dir(work), "build.log"), Err: exit}
	}
	return err
}

// removeTimeout bounds the wait for the processes of an ended build.
const removeTimeout = 10 * time.Second

// remove removes a work folder. Processes of a build that was killed may
// still be writing there for a moment.
func remove(dir string) error {
	end := time.Now().Add(removeTimeout)
	for {
		err := os.RemoveAll(dir)
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("box: work folder cannot be removed after %v: %w", removeTimeout, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// removeStale removes the work folders of builds that were killed.
func removeStale(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("box: cache: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), workPrefix) {
			if err := remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
