package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Journal is what a run has begun and not yet taken away. It is written
// before each block that makes or breaks something, and removed when all of
// that is gone: what a killed run left can be found by it.
type Journal struct {
	File    string            `json:"file"` // the document's
	Source  string            `json:"source"`
	PID     int               `json:"pid"`
	Start   time.Time         `json:"start"`
	Params  map[string]string `json:"params,omitempty"` // by variable name
	Saved   map[string]string `json:"saved,omitempty"`
	Started []int             `json:"started"` // by block index
	Undone  []string          `json:"undone,omitempty"`
	Cleaned []int             `json:"cleaned,omitempty"` // cleanups that passed
	// Chapter is where a learner stopped, or what --to was given.
	Chapter int `json:"chapter,omitempty"`

	path string
}

// Journals reads the journals of a folder, oldest first. A folder that is not
// there holds none.
func Journals(dir string) ([]*Journal, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	var out []*Journal
	for _, name := range names {
		j, err := readJournal(name)
		if err != nil {
			return nil, err
		}
		out = append(out, j)
	}
	slices.SortFunc(out, func(a, b *Journal) int { return a.Start.Compare(b.Start) })
	return out, nil
}

func readJournal(name string) (*Journal, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	j := &Journal{path: name}
	if err := json.Unmarshal(data, j); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return j, nil
}

// Path is the file that the journal was read from.
func (j *Journal) Path() string { return j.path }

// Document is the document as it was when it ran.
func (j *Journal) Document() (*Document, error) {
	d, _, err := Load(j.File, []byte(j.Source))
	if err != nil {
		return nil, fmt.Errorf("%s: the document in it: %w", j.path, err)
	}
	for _, i := range slices.Concat(j.Started, j.Cleaned) {
		if i < 0 || i >= len(d.Blocks) {
			return nil, fmt.Errorf("%s: the document in it has no block %d", j.path, i)
		}
	}
	return d, nil
}

// Faults names the faults that still stand, "subnet.md:45 fault id=cut".
func (j *Journal) Faults() []string {
	d, err := j.Document()
	if err != nil {
		return nil // it was sound when it ran: this labctl reads another format
	}
	var out []string
	for _, i := range j.Started {
		if b := d.Blocks[i]; b.Kind == Fault && !slices.Contains(j.Undone, b.ID) {
			out = append(out, fmt.Sprintf("%s id=%s on @%s", d.Name(b), b.ID, b.Place))
		}
	}
	return out
}

// Forget removes the journal, and with it all knowledge of what stands.
func (j *Journal) Forget() error {
	err := os.Remove(j.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// save writes the journal through a temporary name and to the disk itself: a
// fault must be known even after the machine went down with it.
func (j *Journal) save() error {
	if err := os.MkdirAll(filepath.Dir(j.path), 0o700); err != nil {
		return err
	}
	data, err := json.Marshal(j)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(j.path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(j.path+".new", j.path)
}

// record writes down what stands now.
func (r *run) record() error {
	if r.o.Journal == "" {
		return nil
	}
	j := &Journal{File: r.doc.File, Source: string(r.doc.Source), PID: os.Getpid(), Start: r.res.Start, Params: r.res.Params, Saved: r.saved,
		Started: slices.Sorted(maps.Keys(r.started)), Undone: slices.Sorted(maps.Keys(r.undone)),
		Cleaned: slices.Sorted(maps.Keys(r.cleaned)), Chapter: r.chapter, path: r.o.Journal}
	if err := j.save(); err != nil {
		return fmt.Errorf("the journal could not be written: %w", err)
	}
	return nil
}

// closeJournal removes the journal if nothing of the run stands any more.
func (r *run) closeJournal() {
	if r.o.Journal == "" {
		return
	}
	if r.o.Keep && len(r.started) > 0 || len(r.res.CleanupFailures) > 0 {
		if err := r.record(); err != nil {
			r.res.CleanupFailures = append(r.res.CleanupFailures, &Failure{File: r.doc.File, Node: hostName, Reason: err.Error()})
		}
		return
	}
	if err := (&Journal{path: r.o.Journal}).Forget(); err != nil {
		r.res.CleanupFailures = append(r.res.CleanupFailures, &Failure{File: r.doc.File, Node: hostName, Reason: err.Error()})
	}
}

// adopt goes on from where the journal's run stood.
func (r *run) adopt(j *Journal) {
	maps.Copy(r.vars, j.Params)
	maps.Copy(r.res.Params, j.Params)
	maps.Copy(r.saved, j.Saved)
	for _, i := range j.Started {
		r.started[i] = true
	}
	for _, id := range j.Undone {
		r.undone[id] = true
	}
	for _, i := range j.Cleaned {
		r.cleaned[i] = true
	}
	r.chapter = j.Chapter
}

// Clean undoes and removes what the journal's run left, and removes the
// journal if all of that worked.
func Clean(ctx context.Context, j *Journal, o Options) (*Result, error) {
	d, err := j.Document()
	if err != nil {
		return nil, err
	}
	o.Journal, o.Set, o.Config, o.Keep = j.path, nil, nil, false
	r, err := newRun(d, o)
	if err != nil {
		return nil, err
	}
	r.adopt(j)
	r.cleanups(ctx)
	if len(r.res.CleanupFailures) > 0 {
		r.res.Failure = r.res.CleanupFailures[0]
	}
	r.finish()
	return r.res, nil
}
