package artifact

import (
	"archive/tar"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"
)

// What a node may send. A node is a trainee's machine: it may be broken, full,
// or up to mischief, and must not harm the host that asks it.
const (
	maxArchive = 64 << 20 // bytes of the whole archive, and of what is in it
	maxFile    = 8 << 20  // bytes of one file; the rest is cut off
	maxFiles   = 500
	maxName    = 200 // bytes of a file's name, folders included
)

// plainName is a name that every system takes for the same one file: letters
// without accents, and no end that Windows cuts off.
var plainName = regexp.MustCompile(`^([A-Za-z0-9._~@+=,-]*[A-Za-z0-9_~@+=,-]/)*[A-Za-z0-9._~@+=,-]*[A-Za-z0-9_~@+=,-]$`)

// unpacking writes the regular files of a node's tar archive below dir of run.
type unpacking struct {
	run   *Run
	dir   string
	facts *NodeFacts // what the files tell of the node; may not be nil
	count int        // files written

	room int64 // bytes that may still be written; 0 at first: maxArchive
	sent map[string]bool
}

// all unpacks the archive, and records what missing.tsv in it lists. What came
// before an error is kept.
func (u *unpacking) all(archive io.Reader) error {
	u.room, u.sent = cmp.Or(u.room, maxArchive), map[string]bool{}
	in := tar.NewReader(archive)
	for entries := 0; ; {
		h, err := in.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("the evidence is cut short: %w", err)
		case h.Typeflag == tar.TypeDir:
			continue
		}
		if entries++; entries > maxFiles {
			return fmt.Errorf("sent more than %d files", maxFiles)
		}
		name := strings.TrimPrefix(h.Name, "./")
		if problem := u.problem(h, name); problem != "" {
			u.run.Missing(u.dir, fmt.Sprintf("refused %q: %s", short(h.Name), problem))
			continue
		}
		if err := u.file(in, h, name); err != nil {
			return err
		}
	}
}

// problem says why an entry is not unpacked, "" for nothing.
func (u *unpacking) problem(h *tar.Header, name string) string {
	switch small := strings.ToLower(name); {
	case h.Typeflag != tar.TypeReg:
		return "not a regular file"
	case path.Clean("/"+name) != "/"+name || name == "":
		return "not a name below the node's folder"
	case len(name) > maxName || !plainName.MatchString(name):
		return "not a name that every system can have"
	case u.sent[small]:
		return "sent before, in large or small letters"
	default:
		u.sent[small] = true
		return ""
	}
}

func (u *unpacking) file(in io.Reader, h *tar.Header, name string) error {
	full := u.dir + "/" + name
	// One byte more shows a file that says less than it holds: tar has ways to
	// let few bytes stand for many.
	data, err := io.ReadAll(io.LimitReader(in, min(maxFile, u.room)+1))
	if err != nil {
		// What arrived of it may be the most telling part.
		err = fmt.Errorf("the evidence is cut short in %s: %w", name, err)
	}
	if int64(len(data)) > u.room {
		return fmt.Errorf("sent more than %d MiB", maxArchive>>20)
	}
	if len(data) > maxFile {
		u.run.Missing(full, fmt.Sprintf("cut off after %d MiB of %d bytes", maxFile>>20, h.Size))
		data = wholeLines(data[:maxFile])
	}
	u.room -= int64(len(data))
	if name == "missing.tsv" {
		u.missing(string(data))
		return err
	}
	u.learn(name, string(data))
	if werr := u.run.Write(full, data); werr != nil {
		u.run.Missing(u.dir, fmt.Sprintf("refused %q: %s", short(h.Name), short(werr.Error())))
	} else {
		u.count++
	}
	return err
}

// learn takes from a file what it says of the node.
func (u *unpacking) learn(name, text string) {
	switch name {
	case "uname.txt": // Linux NAME RELEASE …
		if words := strings.Fields(text); len(words) > 2 {
			u.facts.Kernel = short(words[2])
		}
	case "os-release.txt":
		u.facts.OS = short(quoted(text, "PRETTY_NAME="))
	}
}

func (u *unpacking) missing(table string) {
	lines := 0
	for line := range strings.Lines(table) {
		name, reason, ok := strings.Cut(strings.TrimSpace(line), "\t")
		if lines++; ok && lines <= maxFiles {
			u.run.Missing(u.dir+"/"+short(name), reason)
		}
	}
}

// wholeLines cuts off a last line that is not whole, unless that were all: a
// secret that is cut in two is not recognized.
func wholeLines(data []byte) []byte {
	if end := bytes.LastIndexByte(data, '\n') + 1; end > len(data)/2 {
		return data[:end]
	}
	return data
}

// short keeps a node's words to a length that a person reads.
func short(s string) string {
	const most = 400
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}
