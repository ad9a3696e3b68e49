package box

import (
	"context"
	"crypto/sha256"
	"embed"

	"labctl/internal/apt"
)

// baking is what makes a box of a node's disk. It is apart from recipe, so
// that a change of it leaves the plain box as it is.
//
//go:embed all:bake
var baking embed.FS

// BakeOptions say which node becomes a box. The embedded Options are those
// with which its plain box was built.
type BakeOptions struct {
	Options
	// Contents tells what was put into the node beyond the plain box, in any
	// words: boxes of equal contents are one.
	Contents string
	// Disk writes the node's disk to the file, as a raw image. It is called
	// only if there is something to bake.
	Disk func(ctx context.Context, file string) error
}

// FindBaked looks for the box that Bake makes of a node with these contents
// on top of the plain box that is in the cache. It runs nothing.
func FindBaked(o Options, contents string) (Box, bool, error) {
	host, err := apt.ReadSystem(apt.OSRelease)
	if err != nil {
		return Box{}, false, err
	}
	t, err := newTarget(o, host)
	if err != nil {
		return Box{}, false, err
	}
	prefix, ok, err := t.bakedPrefix(boxDir(o), contents)
	if err != nil || !ok {
		return Box{}, false, err
	}
	return findFile(boxDir(o), prefix, t.bakedBox)
}

// bakedPrefix begins the file names of boxes that are baked from nodes with
// these contents. The very plain box counts and not its recipe alone: one that
// was built anew, with newer packages, is not passed over. ok is false if
// there is no plain box.
func (t target) bakedPrefix(dir, contents string) (prefix string, ok bool, err error) {
	plain, ok, err := t.find(dir)
	if err != nil || !ok {
		return "", false, err
	}
	h := sha256.New()
	add(h, "plain", []byte(plain.Hash))
	add(h, "contents", []byte(contents))
	if err := addFiles(h, baking); err != nil {
		return "", false, err
	}
	return "baked-" + t.label() + "-" + short(h.Sum(nil)) + "-", true, nil
}

func (t target) bakedBox(path, hash string) Box {
	return Box{Name: "labctl/" + t.label() + "-docker-" + hash, Path: path, Hash: hash}
}
