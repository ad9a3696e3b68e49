package box

import (
	"context"
	"crypto/sha256"
	"embed"

	"labctl/internal/apt"
)

// baking is what makes a box of another one, or of a node's disk. It is apart
// from recipe, so that a change of it leaves the plain box as it is.
//
//go:embed all:bake
var baking embed.FS

// kind begins the file names of the boxes that are made from the plain one.
type kind string

const (
	baked     kind = "baked"  // of a node's disk
	installed kind = "docker" // of the plain box and packages
)

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

// InstallOptions say what is installed in a plain box. The embedded Options
// are those with which it was built.
type InstallOptions struct {
	Options
	// Contents tells what is installed, in any words, as in BakeOptions.
	Contents string
	// Packages is a folder of .deb files. Those that the plain box has already,
	// in this version or a newer one, are passed over.
	Packages string
	// Files are written before: what a file of the node says, by its path.
	Files map[string]string
	// Finish is a shell script that runs in it at the end; "" for none.
	Finish string
}

// FindBaked looks for the box that Bake makes of a node with these contents
// on top of the plain box that is in the cache. It runs nothing.
func FindBaked(o Options, contents string) (Box, bool, error) { return findMade(o, baked, contents) }

// FindInstalled looks for the box that Install makes, likewise.
func FindInstalled(o Options, contents string) (Box, bool, error) {
	return findMade(o, installed, contents)
}

func findMade(o Options, k kind, contents string) (Box, bool, error) {
	host, err := apt.ReadSystem(apt.OSRelease)
	if err != nil {
		return Box{}, false, err
	}
	t, err := newTarget(o, host)
	if err != nil {
		return Box{}, false, err
	}
	prefix, _, ok, err := t.madePrefix(boxDir(o), k, contents)
	if err != nil || !ok {
		return Box{}, false, err
	}
	return findFile(boxDir(o), prefix, t.madeBox)
}

// madePrefix begins the file names of boxes that are made from plain with
// these contents. The very plain box counts and not its recipe alone: one that
// was built anew, with newer packages, is not passed over. ok is false if
// there is no plain box.
func (t target) madePrefix(dir string, k kind, contents string) (prefix string, plain Box, ok bool, err error) {
	plain, ok, err = t.find(dir)
	if err != nil || !ok {
		return "", plain, false, err
	}
	h := sha256.New()
	add(h, "plain", []byte(plain.Hash))
	add(h, "contents", []byte(contents))
	if err := addFiles(h, baking); err != nil {
		return "", plain, false, err
	}
	return string(k) + "-" + t.label() + "-" + short(h.Sum(nil)) + "-", plain, true, nil
}

func (t target) madeBox(path, hash string) Box {
	return Box{Name: "labctl/" + t.label() + "-docker-" + hash, Path: path, Hash: hash}
}
