package artifact

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// folderName is the name of a run's folder, as New makes it.
var folderName = regexp.MustCompile(`^\d{8}T\d{6}Z-[a-z0-9][a-z0-9-]*$`)

// Entry is a run whose folder is there.
type Entry struct {
	Name string
	Dir  string
	// Manifest is nil for a run that has not finished: it goes on, or was
	// killed.
	Manifest *Manifest
	// Err says why the manifest cannot be read; nil if it can, or is not there.
	Err error
}

// List returns the runs of the artifacts folder root, the oldest first. What
// is no run's folder is passed over; a root that is not there has no runs.
func List(root string) ([]Entry, error) {
	dirs, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the runs: %w", err)
	}
	var out []Entry
	for _, d := range dirs {
		if d.IsDir() && folderName.MatchString(d.Name()) { // a link is no folder
			if e, ok := open(filepath.Join(root, d.Name())); ok {
				out = append(out, e)
			}
		}
	}
	slices.SortFunc(out, func(a, b Entry) int {
		const stamp = len("20060102T150405Z")
		// A number that New added makes a name longer.
		return cmp.Or(cmp.Compare(a.Name[:stamp], b.Name[:stamp]), cmp.Compare(len(a.Name), len(b.Name)), cmp.Compare(a.Name, b.Name))
	})
	return out, nil
}

// open reads the run in dir; ok is false if nothing in it is a run's.
func open(dir string) (e Entry, ok bool) {
	e = Entry{Name: filepath.Base(dir), Dir: dir}
	data, err := os.ReadFile(filepath.Join(dir, manifestName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		_, err := os.Lstat(filepath.Join(dir, "labctl.log"))
		return e, err == nil
	case err != nil:
		e.Err = err
		return e, true
	}
	e.Manifest, e.Err = parseManifest(data)
	return e, true
}

func parseManifest(data []byte) (*Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", manifestName, err)
	}
	if m.Schema != Schema {
		return nil, fmt.Errorf("%s: its schema is %d, this labctl knows %d", manifestName, m.Schema, Schema)
	}
	return &m, nil
}

// NoRunError is a name that no run has, or more than one.
type NoRunError struct {
	Name string
	Root string
	Many []string // the runs that it could be; nil if there is none
}

func (e *NoRunError) Error() string {
	switch {
	case e.Many != nil:
		return fmt.Sprintf("several runs begin with %s: %s", e.Name, strings.Join(e.Many, ", "))
	case e.Name == "latest":
		return "there is no run in " + e.Root
	}
	return fmt.Sprintf("there is no run %q in %s", e.Name, e.Root)
}

// Hint says how to see the names.
func (e *NoRunError) Hint() string { return "`labctl artifacts list` shows the runs" }

// Find returns the run of that name below root. name is that of a folder or
// how just one begins, the path of a run's folder, or "latest", which "" stands
// for too. The error is a *NoRunError, or says what cannot be read.
func Find(root, name string) (Entry, error) {
	name = cmp.Or(name, "latest")
	if filepath.Base(name) != name || strings.ContainsAny(name, `/\`) {
		dir := filepath.Clean(name)
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			dir = real // artifacts/latest
		}
		if e, ok := open(dir); ok {
			return e, nil
		}
		return Entry{}, &NoRunError{Name: name, Root: root}
	}
	all, err := List(root)
	if err != nil {
		return Entry{}, err
	}
	if name == "latest" {
		if i := slices.IndexFunc(all, func(e Entry) bool { return e.Name == latest(root) }); i >= 0 {
			return all[i], nil
		}
		if len(all) == 0 {
			return Entry{}, &NoRunError{Name: name, Root: root}
		}
		return all[len(all)-1], nil
	}
	var found []Entry
	for _, e := range all {
		if e.Name == name {
			return e, nil
		}
		if strings.HasPrefix(e.Name, name) {
			found = append(found, e)
		}
	}
	switch len(found) {
	case 0:
		return Entry{}, &NoRunError{Name: name, Root: root}
	case 1:
		return found[0], nil
	}
	missing := &NoRunError{Name: name, Root: root}
	for _, e := range found {
		missing.Many = append(missing.Many, e.Name)
	}
	return Entry{}, missing
}

// latest is the name of the run that root/latest points at, "" for none.
func latest(root string) string {
	file := filepath.Join(root, "latest")
	if to, err := os.Readlink(file); err == nil {
		return to
	}
	data, _ := os.ReadFile(file) // of a system without links
	return strings.TrimSpace(string(data))
}

// unfinishedFor is how long a run without a manifest counts as one that may
// still go on.
const unfinishedFor = 24 * time.Hour

// Prunable returns those runs that may go if the newest keep ones stay, the
// oldest first. A run that may still go on stays as well.
func Prunable(all []Entry, keep int, now time.Time) []Entry {
	var out []Entry
	for _, e := range all[:max(0, len(all)-keep)] {
		if e.Manifest == nil && e.Err == nil && now.Sub(changed(e.Dir)) < unfinishedFor {
			continue
		}
		out = append(out, e)
	}
	return out
}

// changed is when a file of the run was last written.
func changed(dir string) time.Time {
	var last time.Time
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := d.Info(); err == nil && info.ModTime().After(last) {
			last = info.ModTime()
		}
		return nil
	})
	return last
}

// pruned begins the name of a run's folder that is being removed, so that one
// that a kill leaves half removed is no run any more.
const pruned = ".pruned-"

// Prune removes the runs, which List gave, from root, and points root/latest
// at the newest that is left if the one that it points at is gone. Nothing
// outside of root is touched, whatever links lie in the folders.
func Prune(root string, runs []Entry) error {
	r, err := os.OpenRoot(root)
	if err != nil {
		return fmt.Errorf("prune the runs: %w", err)
	}
	defer func() { _ = r.Close() }()
	var errs []error
	for _, e := range runs {
		err := r.Rename(e.Name, pruned+e.Name)
		if err == nil {
			err = r.RemoveAll(pruned + e.Name)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("remove run %s: %w", e.Name, err))
		}
	}
	errs = append(errs, removeHalves(r), followLatest(root))
	return errors.Join(errs...)
}

// removeHalves removes what a killed Prune has left.
func removeHalves(r *os.Root) error {
	dirs, err := fs.ReadDir(r.FS(), ".")
	if err != nil {
		return fmt.Errorf("prune the runs: %w", err)
	}
	var errs []error
	for _, d := range dirs {
		if name, ok := strings.CutPrefix(d.Name(), pruned); ok && d.IsDir() && folderName.MatchString(name) {
			errs = append(errs, r.RemoveAll(d.Name()))
		}
	}
	return errors.Join(errs...)
}

func followLatest(root string) error {
	was := latest(root)
	left, err := List(root)
	if err != nil || was == "" || slices.ContainsFunc(left, func(e Entry) bool { return e.Name == was }) {
		return err
	}
	for _, e := range slices.Backward(left) {
		if e.Manifest != nil {
			return pointLatest(root, e.Name)
		}
	}
	if err := os.Remove(filepath.Join(root, "latest")); err != nil {
		return fmt.Errorf("remove what points at a run that is gone: %w", err)
	}
	return nil
}

// Changed names the files of a finished run that are no longer as its manifest
// says, or are not there any more. Files that came later do not count.
func Changed(e Entry) []string {
	if e.Manifest == nil {
		return nil
	}
	root, err := os.OpenRoot(e.Dir)
	if err != nil {
		return nil
	}
	defer func() { _ = root.Close() }()
	var out []string
	for _, f := range e.Manifest.Files {
		if now, err := hashFile(root, f.Name); err != nil || now != f {
			out = append(out, f.Name)
		}
	}
	return out
}
