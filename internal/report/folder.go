package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"strings"
)

const (
	manifestName   = "manifest.json"
	resultName     = "result.json"
	transcriptName = "transcript.md"
	eventsName     = "events.jsonl"
	diagnoseName   = "diagnose.json"
)

// maxRead is the size above which a file is not read. Collected files are cut
// at 8 MiB; logs are never read, only linked.
const maxRead = 16 << 20

// maxListed bounds the files that are listed where no manifest does it.
const maxListed = 5000

// folder is a run's folder. What is wrong with it is noted. Nothing outside it
// is read, whatever links it holds.
type folder struct {
	root  *os.Root
	notes []string
}

func (f *folder) note(format string, args ...any) {
	f.notes = append(f.notes, clean(fmt.Sprintf(format, args...)))
}

// any tells whether one of the files is there.
func (f *folder) any(names ...string) bool {
	for _, n := range names {
		if f.has(n) {
			return true
		}
	}
	return false
}

// has tells whether a regular file is there. A pipe would hang the reader.
func (f *folder) has(name string) bool {
	info, err := f.root.Lstat(name)
	return err == nil && info.Mode().IsRegular()
}

// read returns a file; ok is false if it is not there, or cannot be used,
// which is noted.
func (f *folder) read(name string) (data []byte, ok bool) {
	info, err := f.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, false
	case err != nil:
		f.note("%s cannot be read: %v", name, err)
		return nil, false
	case !info.Mode().IsRegular():
		f.note("%s is not read: it is no regular file", name)
		return nil, false
	case info.Size() > maxRead:
		f.note("%s is not read: it has %d MiB, more than %d", name, info.Size()>>20, maxRead>>20)
		return nil, false
	}
	file, err := f.root.Open(name)
	if err == nil {
		data, err = io.ReadAll(io.LimitReader(file, maxRead))
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		f.note("%s cannot be read: %v", name, err)
		return nil, false
	}
	return data, true
}

// json reads a file into v and cleans its texts.
func (f *folder) json(name string, v any) bool {
	data, ok := f.read(name)
	if !ok {
		return false
	}
	err := json.Unmarshal(data, v)
	if err != nil {
		f.note("%s is not as it should be: %v", name, err)
	}
	cleanAll(v)
	// A value of another type than expected does not spoil the rest.
	return err == nil || json.Valid(data)
}

// text reads a file as text.
func (f *folder) text(name string) string {
	data, _ := f.read(name)
	return clean(string(data))
}

// dirs lists the folders below a folder, sorted.
func (f *folder) dirs(name string) []string {
	list, err := fs.ReadDir(f.root.FS(), name)
	if err != nil {
		return nil
	}
	var out []string
	for _, d := range list {
		if d.IsDir() {
			out = append(out, d.Name())
		}
	}
	return out
}

// list walks the folder, for want of a manifest.
func (f *folder) list() []File {
	var out []File
	err := fs.WalkDir(f.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			f.note("%s cannot be listed: %v", name, err)
			return nil
		case !d.Type().IsRegular():
			return nil
		case len(out) == maxListed:
			f.note("more than %d files: the rest is not listed", maxListed)
			return fs.SkipAll
		}
		info, err := d.Info()
		if err == nil {
			out = append(out, f.file(name, info.Size()))
		}
		return nil
	})
	if err != nil {
		f.note("the folder cannot be listed: %v", err)
	}
	return out
}

// file makes a link to a file, if it is there, that leads nowhere else.
func (f *folder) file(name string, size int64) File {
	out := File{Name: clean(name), Size: size}
	if fs.ValidPath(name) && !strings.ContainsAny(name, "\\\x00") && f.has(name) {
		parts := strings.Split(name, "/")
		for i, p := range parts {
			parts[i] = url.PathEscape(p)
		}
		// The dot keeps a name with a colon from being a scheme.
		out.href = "./" + path.Join(parts...)
	}
	return out
}

// lines calls each for every line of a file, until it returns false.
func (f *folder) lines(name string, each func(n int, line []byte) bool) bool {
	data, ok := f.read(name)
	n := 0
	for l := range bytes.Lines(data) {
		n++
		if l = bytes.TrimSpace(l); len(l) > 0 && !each(n, l) {
			break
		}
	}
	return ok
}
