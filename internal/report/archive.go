package report

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// ArchiveSuffix ends the name of a run's folder that is packed into a file.
const ArchiveSuffix = ".tar.gz"

// The limits of an archive, which may come from anybody.
const (
	maxArchived      = 512 << 20
	maxArchivedFiles = 10_000
)

// LoadArchive reads a run's folder that `labctl artifacts archive` packed. It
// is unpacked into a folder of its own for the time of reading, and nothing is
// left of that. What is no regular file of the run's folder is passed over.
func LoadArchive(file string) (*Report, error) {
	in, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read the archive: %w", err)
	}
	defer func() { _ = in.Close() }()
	dir, err := os.MkdirTemp("", "labctl-report-*")
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", file, err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", file, err)
	}
	defer func() { _ = root.Close() }()
	run, err := unpack(root, in)
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", file, err)
	}
	r, err := Load(filepath.Join(dir, run))
	if errors.Is(err, fs.ErrNotExist) {
		err = &NoRunError{file}
	}
	return r, err
}

// unpack writes the files of an archive below root, and returns the name of
// the one folder that holds them all.
func unpack(root *os.Root, in io.Reader) (run string, err error) {
	zip, err := gzip.NewReader(in)
	if err != nil {
		return "", err
	}
	left := int64(maxArchived)
	archive := tar.NewReader(zip)
	for n := 0; ; n++ {
		h, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF) && run == "":
			return "", errors.New("it holds no run's folder")
		case errors.Is(err, io.EOF):
			return run, nil
		case err != nil:
			return "", err
		case n == maxArchivedFiles:
			return "", fmt.Errorf("it holds more than %d files", maxArchivedFiles)
		}
		name := path.Clean(h.Name)
		top, _, below := strings.Cut(name, "/")
		if h.Typeflag != tar.TypeReg || !below || !filepath.IsLocal(filepath.FromSlash(name)) || strings.ContainsAny(name, "\\\x00") {
			continue
		}
		if run == "" {
			run = top
		}
		if top != run {
			return "", fmt.Errorf("it holds more than one folder: %q and %q", run, top)
		}
		if left -= h.Size; left < 0 {
			return "", fmt.Errorf("it holds more than %d MiB", maxArchived>>20)
		}
		if err := put(root, name, archive); err != nil {
			return "", err
		}
	}
}

func put(root *os.Root, name string, in io.Reader) error {
	if err := root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, in)
	return errors.Join(err, f.Close())
}
