// Package report makes a page of a run's folder: report.html for people,
// report.json for programs, JUnit XML for CI systems, and a comparison of
// several runs. It reads nothing but the folder, and the same folder gives the
// same bytes. Whatever a node, a container or a document printed is text to
// it, never markup.
package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// The names of the files that Write makes.
const (
	HTMLName = "report.html"
	JSONName = "report.json"
)

// Write reads the run folder dir and puts report.html and report.json into
// it, each whole or not at all, with mode 0600. A folder that lacks files, or
// holds broken ones, still gets a report that says so. The error tells why
// there is no report; it is never worth more than a warning to a command whose
// evidence this is.
func Write(dir string) (err error) {
	defer func() {
		// A mistake in here must not take a command's own result away.
		if p := recover(); p != nil {
			err = fmt.Errorf("report on %s: %v", dir, p)
		}
	}()
	r, err := Load(dir)
	if err != nil {
		return err
	}
	return r.Write(dir)
}

// Write puts report.html and report.json into dir, as the function does.
func (r *Report) Write(dir string) error {
	page, err := r.HTML()
	if err != nil {
		return err
	}
	data, err := r.JSON()
	if err != nil {
		return err
	}
	return errors.Join(replace(filepath.Join(dir, HTMLName), page), replace(filepath.Join(dir, JSONName), data))
}

// JSON is report.json, which docs/report.schema.json describes.
func (r *Report) JSON() ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetIndent("", "  ")
	if err := enc.Encode(r); err != nil {
		return nil, fmt.Errorf("write %s: %w", JSONName, err)
	}
	return out.Bytes(), nil
}

// replace writes a file under another name and renames it.
func replace(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// Load reads the run folder dir. It fails only if dir is no folder that can be
// read, or holds nothing of a run; what else is wrong stands in Notes.
func Load(dir string) (*Report, error) {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, fmt.Errorf("read the run's folder: %w", err)
	}
	if real, err = filepath.Abs(real); err != nil {
		return nil, fmt.Errorf("read the run's folder: %w", err)
	}
	root, err := os.OpenRoot(real)
	if err != nil {
		return nil, fmt.Errorf("read the run's folder: %w", err)
	}
	defer func() { _ = root.Close() }()
	f := &folder{root: root}
	if !f.any(manifestName, resultName, eventsName, "labctl.log", "host.log") {
		return nil, &NoRunError{dir}
	}
	return build(filepath.Base(real), f), nil
}

// NoRunError says that a folder holds nothing of a run.
type NoRunError struct{ Dir string }

func (e *NoRunError) Error() string {
	return fmt.Sprintf("%s is no run's folder: it has neither %s nor %s nor %s", e.Dir, manifestName, resultName, eventsName)
}

// Hint says what is one.
func (e *NoRunError) Hint() string {
	return "a run's folder lies in artifacts/ and is called like 20261125T095838Z-scenario-lb; `latest` is the newest"
}

// Is makes it a case of fs.ErrNotExist.
func (e *NoRunError) Is(target error) bool { return target == fs.ErrNotExist }
