package artifact

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Archive packs the folder of a run into one file beside it, DIR.tar.gz, and
// returns its name. The same folder gives the same bytes: the files are sorted,
// and have no owner and no time but that of the run. It is there whole or not
// at all. What is no regular file is left out. The files of a run that has not
// finished are redacted once more, by how secrets look: its own end, at which
// that is done, is still to come or never came.
func Archive(dir string) (file string, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", fmt.Errorf("archive: %w", err)
	}
	defer func() { _ = root.Close() }()
	name := filepath.Base(filepath.Clean(dir))
	file = filepath.Clean(dir) + ".tar.gz"
	out, err := os.CreateTemp(filepath.Dir(file), "."+name+"-*.tar.gz") // mode 0600
	if err != nil {
		return "", fmt.Errorf("archive: %w", err)
	}
	err = errors.Join(writeArchive(out, root, name), out.Close())
	if err == nil {
		err = os.Rename(out.Name(), file)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("archive %s: %w", name, err), os.Remove(out.Name()))
	}
	return file, nil
}

func writeArchive(to io.Writer, root *os.Root, name string) error {
	// No time and no name in the header.
	zip, err := gzip.NewWriterLevel(to, gzip.BestCompression)
	if err != nil {
		return err
	}
	out := tar.NewWriter(zip)
	when := stamp(name)
	_, err = root.Lstat(manifestName)
	finished := err == nil
	err = fs.WalkDir(root.FS(), ".", func(file string, d fs.DirEntry, err error) error { // in order
		if err != nil || !d.Type().IsRegular() || strings.HasSuffix(file, sweeping) {
			return err
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name + "/" + file, Mode: 0o600, ModTime: when}
		if info, err := d.Info(); err == nil && !finished && info.Size() <= maxSweep {
			return addClean(out, root, file, h)
		}
		return addFile(out, root, file, h)
	})
	return errors.Join(err, out.Close(), zip.Close())
}

func addFile(out *tar.Writer, root *os.Root, file string, h *tar.Header) error {
	in, err := root.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	h.Size = info.Size()
	if err := out.WriteHeader(h); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	// Not more than there was: somebody may still write to it.
	if _, err := io.CopyN(out, in, h.Size); err != nil {
		return fmt.Errorf("%s: it changed while it was read: %w", file, err)
	}
	return nil
}

func addClean(out *tar.Writer, root *os.Root, file string, h *tar.Header) error {
	data, err := root.ReadFile(file)
	if err != nil {
		return err
	}
	data = Redact(data, nil)
	h.Size = int64(len(data))
	if err := out.WriteHeader(h); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	_, err = out.Write(data)
	return err
}

// stamp is the time in a run folder's name, the epoch if there is none.
func stamp(name string) time.Time {
	first, _, _ := strings.Cut(name, "-")
	if t, err := time.Parse("20060102T150405Z", first); err == nil {
		return t
	}
	return time.Unix(0, 0)
}
