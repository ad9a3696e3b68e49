package box

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"labctl/internal/apt"
)

// Bake returns the box of a node with these contents from the cache, or makes
// it of the node's disk: what is the node's own is taken out, the rest packed
// as the plain box is. As with Build, that needs root, builds wait for one
// another, and nothing is left of one that was interrupted.
func Bake(ctx context.Context, o BakeOptions) (Box, error) {
	return newMaker(o.Options).bake(ctx, o)
}

// Install returns the plain box with the packages from the cache, or makes it,
// as Bake does.
func Install(ctx context.Context, o InstallOptions) (Box, error) {
	return newMaker(o.Options).install(ctx, o)
}

func newMaker(o Options) builder {
	return builder{Options: o, euid: os.Geteuid(), osRelease: apt.OSRelease, lookup: lookup}
}

func (b builder) bake(ctx context.Context, o BakeOptions) (Box, error) {
	return b.from(ctx, baked, o.Contents, "bake/bake.sh", func(work string, _ Box) error {
		b.Progress("copy the node's disk")
		return o.Disk(ctx, filepath.Join(work, "node.raw"))
	})
}

func (b builder) install(ctx context.Context, o InstallOptions) (Box, error) {
	return b.from(ctx, installed, o.Contents, "bake/install.sh", func(work string, plain Box) error {
		// Programs of the box run in it, each as its own user.
		errs := []error{os.Chmod(work, 0o755), os.Symlink(plain.Path, filepath.Join(work, "plain.box")), os.Symlink(o.Packages, filepath.Join(work, "debs")), os.Mkdir(filepath.Join(work, "files"), 0o755), os.WriteFile(filepath.Join(work, "finish.sh"), []byte(o.Finish), 0o644)}
		for name, text := range o.Files {
			file := filepath.Join(work, "files", filepath.FromSlash(name))
			errs = append(errs, os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644))
		}
		return errors.Join(errs...)
	})
}

// from makes a box by a script, for which begin puts into the work folder what
// it needs beside the recipe.
func (b builder) from(ctx context.Context, k kind, contents, script string, begin func(work string, plain Box) error) (Box, error) {
	if b.Progress == nil {
		b.Progress = func(string) {}
	}
	host, err := apt.ReadSystem(b.osRelease)
	if err != nil {
		return Box{}, fmt.Errorf("box: %w", err)
	}
	t, err := newTarget(b.Options, host)
	if err != nil {
		return Box{}, err
	}
	err = b.can([][2]string{
		{"sfdisk", "fdisk"},
		{"mke2fs", "e2fsprogs"},
		{"extlinux", "extlinux"},
		{"qemu-img", "qemu-utils"},
	})
	if err != nil {
		return Box{}, err
	}
	dir := boxDir(b.Options)
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
	prefix, plain, ok, err := t.madePrefix(dir, k, contents)
	if err == nil && !ok {
		err = errors.New("box: the plain box from which it is to be made is not in the cache any more: `labctl box build`, then a new lab")
	}
	if err != nil {
		return Box{}, err
	}
	old, found, err := findFile(dir, prefix, t.madeBox)
	if err != nil || found && !b.Force {
		return old, err
	}
	box, err := b.inFolder(dir, func(work string, log io.Writer) (Box, error) {
		if err := unpackAll(work); err != nil {
			return Box{}, err
		}
		if err := begin(work, plain); err != nil {
			return Box{}, err
		}
		if err := b.run(ctx, work, log, script); err != nil {
			return Box{}, err
		}
		return store(filepath.Join(work, "box.box"), dir, prefix, t.madeBox)
	})
	if err == nil && found && old.Path != box.Path {
		err = os.Remove(old.Path)
	}
	return box, err
}

// unpackAll writes the recipe, and what bakes, into the work folder.
func unpackAll(work string) error { return errors.Join(unpack(recipe, work), unpack(baking, work)) }
