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
	b := builder{Options: o.Options, euid: os.Geteuid(), osRelease: apt.OSRelease, lookup: lookup}
	return b.bake(ctx, o)
}

func (b builder) bake(ctx context.Context, o BakeOptions) (Box, error) {
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
	prefix, ok, err := t.bakedPrefix(dir, o.Contents)
	if err == nil && !ok {
		err = errors.New("box: the plain box from which the node was made is not in the cache any more: `labctl box build`, then a new lab")
	}
	if err != nil {
		return Box{}, err
	}
	old, found, err := findFile(dir, prefix, t.bakedBox)
	if err != nil || found && !b.Force {
		return old, err
	}
	box, err := b.inFolder(dir, func(work string, log io.Writer) (Box, error) {
		if err := unpackAll(work); err != nil {
			return Box{}, err
		}
		b.Progress("copy the node's disk")
		if err := o.Disk(ctx, filepath.Join(work, "node.raw")); err != nil {
			return Box{}, err
		}
		if err := b.run(ctx, work, log, "bake/bake.sh"); err != nil {
			return Box{}, err
		}
		return store(filepath.Join(work, "box.box"), dir, prefix, t.bakedBox)
	})
	if err == nil && found && old.Path != box.Path {
		err = os.Remove(old.Path)
	}
	return box, err
}

// unpackAll writes the recipe, and what bakes, into the work folder.
func unpackAll(work string) error { return errors.Join(unpack(recipe, work), unpack(baking, work)) }
