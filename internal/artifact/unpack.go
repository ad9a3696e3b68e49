package artifact

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// What a node may send. A node is a trainee's machine: it may be broken, full,
// or up to mischief, and must not harm the host that asks it.
const (
	maxArchive = 64 << 20 // bytes of the whole archive
	maxFile    = 8 << 20  // bytes of one file; the rest is cut off
	maxFiles   = 500
)

// unpack writes the regular files of a tar archive below dir of r, and records
// what missing.tsv lists. It returns the number of files written.
func unpack(r *Run, dir string, archive io.Reader) (int, error) {
	count, entries := 0, 0
	in := tar.NewReader(archive)
	for {
		h, err := in.Next()
		switch {
		case errors.Is(err, io.EOF):
			return count, nil
		case err != nil:
			return count, fmt.Errorf("the evidence is cut short: %w", err)
		case h.Typeflag == tar.TypeDir:
			continue
		}
		if entries++; entries > maxFiles {
			return count, fmt.Errorf("sent more than %d files", maxFiles)
		}
		name := strings.TrimPrefix(h.Name, "./")
		full := dir + "/" + name
		if h.Typeflag != tar.TypeReg {
			r.Missing(dir, fmt.Sprintf("refused %q: not a regular file", short(h.Name)))
			continue
		}
		if path.Clean("/"+name) != "/"+name {
			r.Missing(dir, fmt.Sprintf("refused %q: not a name below the node's folder", short(h.Name)))
			continue
		}
		data, err := io.ReadAll(io.LimitReader(in, maxFile))
		if err != nil {
			// What arrived of it may be the most telling part.
			err = fmt.Errorf("the evidence is cut short in %s: %w", name, err)
		}
		if name == "missing.tsv" {
			recordMissing(r, dir, string(data))
			if err != nil {
				return count, err
			}
			continue
		}
		if h.Size > maxFile {
			r.Missing(full, fmt.Sprintf("cut off after %d MiB of %d bytes", maxFile>>20, h.Size))
		}
		if werr := r.Write(full, data); werr != nil {
			r.Missing(dir, fmt.Sprintf("refused %q: %s", short(h.Name), short(werr.Error())))
		} else {
			count++
		}
		if err != nil {
			return count, err
		}
	}
}

func recordMissing(r *Run, dir, table string) {
	lines := 0
	for line := range strings.Lines(table) {
		name, reason, ok := strings.Cut(strings.TrimSpace(line), "\t")
		if lines++; ok && lines <= maxFiles {
			r.Missing(dir+"/"+short(name), short(reason))
		}
	}
}

// short keeps a node's words to a length that a person reads.
func short(s string) string {
	const most = 400
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}
