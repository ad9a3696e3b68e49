// Package box makes the Vagrant box of the embedded engine from Debian
// packages and keeps it in a cache, named by what it was made from.
package box

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"labctl/internal/apt"
	"labctl/internal/remote"
)

// recipe is all that decides what a box holds, apart from the release, the
// architecture, and which versions the mirror has on the day.
//
//go:embed all:image all:scripts packages.txt vagrant.pub
var recipe embed.FS

// Options say which box to make, and where.
type Options struct {
	// Release is Debian's code name, such as "bookworm"; "" means the host's.
	Release string
	// Mirror is the URL of a Debian mirror; "" means those of the host's apt.
	Mirror string
	// CacheDir is labctl's cache folder, such as ~/.cache/labctl.
	CacheDir string
	// Force builds the box even if it is cached.
	Force bool
	// Progress is told, one call at a time, what is being done; nil for none.
	Progress func(detail string)
	// Log receives the output of all programs; nil for none. It is kept in
	// the cache folder too.
	Log io.Writer
	// Host runs the programs.
	Host remote.Runner
}

// Box is a box in the cache.
type Box struct {
	Name  string // for Vagrant, such as "labctl/debian12-0123456789ab"
	Path  string // the .box file
	Hash  string // of the file's content, 12 hex digits, as in Name
	Built bool   // false if it was found in the cache
}

// diskGiB is the size of a node's disk. It is sparse: what is not used takes
// no room.
const diskGiB = 8

// target is what is asked for, fully known.
type target struct {
	release string // code name
	arch    string // as Go names it
}

// newTarget fills in what the options leave to the host.
func newTarget(o Options, host apt.System) (target, error) {
	release, err := host.Release(o.Release)
	if err != nil {
		return target{}, fmt.Errorf("box: %w", err)
	}
	return target{release: release, arch: runtime.GOARCH}, nil
}

// label is the short name of the system: "debian12" for a release that is
// known, else its code name.
func (t target) label() string {
	switch t.release {
	case "bookworm":
		return "debian12"
	case "trixie":
		return "debian13"
	case "forky":
		return "debian14"
	}
	return "debian-" + t.release
}

// inputs is the hash of the recipe, the release and the architecture.
func (t target) inputs(files fs.FS) (string, error) {
	h := sha256.New()
	add(h, "release", []byte(t.release))
	add(h, "arch", []byte(t.arch))
	add(h, "disk", fmt.Append(nil, diskGiB))
	if err := addFiles(h, files); err != nil {
		return "", err
	}
	return short(h.Sum(nil)), nil
}

// add hashes data under a name. The lengths keep two different lists of names
// from reading the same.
func add(h hash.Hash, name string, data []byte) {
	_, _ = fmt.Fprintf(h, "%d %s %d %s\n", len(name), name, len(data), data)
}

// addFiles hashes all files, in lexical order.
func addFiles(h hash.Hash, files fs.FS) error {
	err := fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(files, path)
		if err != nil {
			return err
		}
		add(h, path, data)
		return nil
	})
	if err != nil {
		return fmt.Errorf("box: recipe: %w", err)
	}
	return nil
}

// short is enough of a hash to tell boxes apart.
func short(sum []byte) string { return hex.EncodeToString(sum)[:12] }

// Find looks for the box that Build would make from these options, and says
// whether it is in the cache. It builds nothing and runs nothing.
func Find(o Options) (Box, bool, error) {
	host, err := apt.ReadSystem(apt.OSRelease)
	if err != nil {
		return Box{}, false, fmt.Errorf("box: %w", err)
	}
	t, err := newTarget(o, host)
	if err != nil {
		return Box{}, false, err
	}
	return t.find(boxDir(o))
}

// boxDir is the folder of the boxes in the cache.
func boxDir(o Options) string { return filepath.Join(o.CacheDir, "boxes") }

// prefix begins the file names of all boxes made from these inputs; what
// follows is the hash of their content. So a box that was built anew, with
// other versions of its packages, gets a name of its own, and Vagrant does
// not take it for the old one that it has unpacked.
func (t target) prefix() (string, error) {
	inputs, err := t.inputs(recipe)
	return t.label() + "-" + inputs + "-", err
}

func (t target) find(dir string) (Box, bool, error) {
	prefix, err := t.prefix()
	if err != nil {
		return Box{}, false, err
	}
	return findFile(dir, prefix, t.box)
}

// findFile looks for a box file of that prefix.
func findFile(dir, prefix string, named func(path, hash string) Box) (Box, bool, error) {
	// ReadDir and not Glob: the folder's name may hold any character.
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Box{}, false, fmt.Errorf("box: cache: %w", err)
	}
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), prefix)
		if !ok {
			continue
		}
		if hash, ok := strings.CutSuffix(rest, ".box"); ok && len(hash) == 12 && e.Type().IsRegular() {
			return named(filepath.Join(dir, e.Name()), hash), true, nil
		}
	}
	return Box{}, false, nil
}

func (t target) box(path, hash string) Box {
	return Box{Name: "labctl/" + t.label() + "-" + hash, Path: path, Hash: hash}
}
