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
	Lab      *LabInfo          // nil: not known
	Nodes    []NodeInfo
}

// LabInfo is what the run was on.
type LabInfo struct {
	Name         string `json:"name"`
	Provider     string `json:"provider,omitempty"`     // "" before the lab was made
	Acceleration string `json:"acceleration,omitempty"` // "kvm" or "tcg"; "" for VirtualBox
	Subnet       string `json:"subnet,omitempty"`       // of the nodes, such as 192.168.33.0/24
}

// NodeInfo is one node of the lab.
type NodeInfo struct {
	Name  string `json:"name"`
	Role  string `json:"role,omitempty"`
	LabIP string `json:"lab_ip,omitempty"`
	NodeFacts
}

// NodeFacts is what a node says of itself. A field that is "" is not known.
type NodeFacts struct {
	Docker string `json:"docker,omitempty"` // the engine's version
	Kernel string `json:"kernel,omitempty"` // its release, as `uname -r` has it
	OS     string `json:"os,omitempty"`     // such as "Debian GNU/Linux 12 (bookworm)"
	// Error says why the node could not be asked; "" if it answered, or was
	// not to be asked.
	Error string `json:"error,omitempty"`
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
	Lab      *LabInfo          `json:"lab,omitempty"`
	Nodes    []NodeInfo        `json:"nodes"`
	Files    []File            `json:"files"`
	Missing  []Missing         `json:"missing"`
}

// Close closes the files made by Create, takes secrets that became known late
// out of all files, writes manifest.json and makes
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
	errs = append(errs, r.sweep())
	files, err := r.files()
	errs = append(errs, err, r.writeManifest(info, files, missing), r.root.Close(), pointLatest(r.parent, filepath.Base(r.dir)))
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
		Lab:      info.Lab,
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
	for i := range m.Nodes {
		f := &m.Nodes[i].NodeFacts
		*f = NodeFacts{clean(f.Docker), clean(f.Kernel), clean(f.OS), clean(f.Error)}
	}
	for _, x := range missing {
		m.Missing = append(m.Missing, Missing{clean(x.Name), short(clean(x.Reason))})
	}
	slices.SortStableFunc(m.Missing, func(a, b Missing) int { return cmp.Compare(a.Name, b.Name) })

	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(m); err != nil {
		return fmt.Errorf("write %s: %w", manifestName, err)
	}
	// It is what makes the folder a finished run, so it is there whole or not.
	err := r.root.WriteFile(manifestName+".new", out.Bytes(), 0o600)
	if err == nil {
		err = r.root.Rename(manifestName+".new", manifestName)
	}
	if err != nil {
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
		f, err := hashFile(r.root, name)
		files = append(files, f)
		return err
	})
	if err != nil {
		return files, fmt.Errorf("list the artifacts: %w", err)
	}
	return files, nil
}

func hashFile(root *os.Root, name string) (File, error) {
	f, err := root.Open(name)
	if err != nil {
		return File{Name: name}, err
	}
	defer func() { _ = f.Close() }()
	sum := sha256.New()
	n, err := io.Copy(sum, f)
	return File{name, n, hex.EncodeToString(sum.Sum(nil))}, err
}

// pointLatest makes root/latest point at the run of that name.
func pointLatest(root, base string) error {
	latest, tmp := filepath.Join(root, "latest"), filepath.Join(root, ".latest-"+base)
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
