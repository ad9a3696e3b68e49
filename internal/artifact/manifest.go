package artifact

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"
)

// Schema is the version of manifest.json's format.
const Schema = 1

// Info is what Close adds to the manifest.
type Info struct {
	Finished time.Time // zero: now
	OK       bool
	Verdict  string            // of a scenario: "PASS" or "FAIL"; "" for none
	Err      error             // what went wrong; nil for nothing
	Version  string            // of labctl
	Tools    map[string]string // name to version: vagrant, qemu, docker, …
	Nodes    []NodeInfo
}

// NodeInfo is one node of the lab.
type NodeInfo struct {
	Name  string `json:"name"`
	Role  string `json:"role,omitempty"`
	LabIP string `json:"lab_ip,omitempty"`
}

// File is one file of the run's folder.
type File struct {
	Name   string `json:"name"` // relative, with slashes
	Size   int64  `json:"size"` // bytes
	SHA256 string `json:"sha256"`
}

// Missing is evidence that could not be had.
type Missing struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// Manifest is manifest.json.
type Manifest struct {
	Schema   int               `json:"schema"`
	Command  string            `json:"command"`
	Started  time.Time         `json:"started"`
	Finished time.Time         `json:"finished"`
	OK       bool              `json:"ok"`
	Verdict  string            `json:"verdict,omitempty"`
	Error    string            `json:"error,omitempty"`
	Labctl   string            `json:"labctl"`
	Tools    map[string]string `json:"tools"`
	Nodes    []NodeInfo        `json:"nodes"`
	Files    []File            `json:"files"`
	Missing  []Missing         `json:"missing"`
}

// Close closes the files made by Create, writes manifest.json and makes
// root/latest point at this run: a symbolic link, or where there are none a
// text file with the folder's name. Closing again does nothing.
func (r *Run) Close(info Info) error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	streams, missing := r.streams, slices.Clone(r.missing)
	r.mu.Unlock()

	var errs []error
	for _, s := range streams {
		errs = append(errs, s.Close())
	}
	files, err := r.files()
	errs = append(errs, err, r.writeManifest(info, files, missing), r.root.Close(), r.pointLatest())
	return errors.Join(errs...)
}

func (r *Run) writeManifest(info Info, files []File, missing []Missing) error {
	clean := func(s string) string { return string(r.clean([]byte(s))) }
	m := Manifest{
		Schema:   Schema,
		Command:  clean(r.command),
		Started:  r.started,
		Finished: info.Finished.UTC(),
		OK:       info.OK,
		Verdict:  info.Verdict,
		Labctl:   info.Version,
		Tools:    map[string]string{},
		Nodes:    append([]NodeInfo{}, info.Nodes...),
		Files:    append([]File{}, files...),
		Missing:  []Missing{},
	}
	if info.Finished.IsZero() {
		m.Finished = time.Now().UTC()
	}
	if info.Err != nil {
		m.Error = clean(info.Err.Error())
	}
	for k, v := range info.Tools {
		m.Tools[k] = clean(v)
	}
	for _, x := range missing {
		m.Missing = append(m.Missing, Missing{clean(x.Name), clean(x.Reason)})
	}
	slices.SortStableFunc(m.Missing, func(a, b Missing) int { return cmp.Compare(a.Name, b.Name) })

	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(m); err != nil {
		return fmt.Errorf("write %s: %w", manifestName, err)
	}
	if err := r.root.WriteFile(manifestName, out.Bytes(), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", manifestName, err)
	}
	return nil
}

// files lists what lies in the folder, sorted by name.
func (r *Run) files() ([]File, error) {
	var files []File
	err := fs.WalkDir(r.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || name == manifestName {
			return err
		}
		f, err := r.root.Open(name)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		sum := sha256.New()
		n, err := io.Copy(sum, f)
		files = append(files, File{name, n, hex.EncodeToString(sum.Sum(nil))})
		return err
	})
	if err != nil {
		return files, fmt.Errorf("list the artifacts: %w", err)
	}
	return files, nil
}

func (r *Run) pointLatest() error {
	latest, base := filepath.Join(r.parent, "latest"), filepath.Base(r.dir)
	tmp := filepath.Join(r.parent, ".latest-"+base)
	err := errors.ErrUnsupported
	if runtime.GOOS != "windows" {
		err = os.Symlink(base, tmp)
	}
	if err != nil {
		err = os.WriteFile(tmp, []byte(base+"\n"), 0o600)
	}
	if err == nil {
		err = os.Rename(tmp, latest)
	}
	if err != nil {
		_ = os.Remove(tmp)
		return fmt.Errorf("point %s at this run: %w", latest, err)
	}
	return nil
}
