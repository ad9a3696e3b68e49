// Package artifact keeps the evidence of a run: a folder with the log, what
// the nodes said, and a manifest. Secrets are taken out before anything is
// written.
package artifact

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const manifestName = "manifest.json"

// Run is one folder of evidence. Its methods may be called from several
// goroutines at once.
type Run struct {
	parent  string // the artifacts folder
	dir     string
	command string
	started time.Time
	root    *os.Root // opens nothing outside dir, whatever the name

	mu      sync.Mutex
	closed  bool
	values  *secrets
	names   map[string]string   // in small letters to as they are
	whole   map[string]*secrets // by name: what was searched for in the whole of a file
	streams []*stream
	missing []Missing
}

// New makes the folder root/<UTC time>-<command>, with mode 0700; if it exists
// already, a number is added. root is made if it does not exist.
func New(root, command string, now time.Time) (*Run, error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("make the artifacts folder: %w", err)
	}
	base := filepath.Join(root, now.UTC().Format("20060102T150405Z")+"-"+slug(command))
	dir := base
	err := os.Mkdir(dir, 0o700)
	for n := 2; errors.Is(err, fs.ErrExist) && n < 1000; n++ {
		dir = fmt.Sprintf("%s-%d", base, n)
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("make the run's folder: %w", err)
	}
	r, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the run's folder: %w", err)
	}
	return &Run{parent: root, dir: dir, command: command, started: now.UTC(), root: r, values: newSecrets(nil), names: map[string]string{}, whole: map[string]*secrets{}}, nil
}

// Dir returns the run's folder.
func (r *Run) Dir() string { return r.dir }

// Secret takes values out of everything that is written from now on, and at
// Close out of what was written before. Of a private key each line counts.
func (r *Run) Secret(values ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := slices.Clone(r.values.plain)
	for _, v := range values {
		if v != "" && !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	if len(all) == len(r.values.plain) {
		return
	}
	r.values = newSecrets(all)
	for _, s := range r.streams {
		s.secret(r.values)
	}
}

// Filter returns a writer that redacts what it is given, each call for itself,
// and hands it on to w.
func (r *Run) Filter(w io.Writer) io.Writer { return &filter{r, w} }

type filter struct {
	run *Run
	to  io.Writer
}

func (f *filter) Write(p []byte) (int, error) {
	if _, err := f.to.Write(f.run.clean(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Write puts data into the file name, a relative path with slashes, redacted
// and with mode 0600. Folders are made; a file of that name is replaced.
func (r *Run) Write(name string, data []byte) error {
	f, err := r.open(name)
	if err != nil {
		return err
	}
	values := r.secrets()
	_, err = f.Write(values.clean(data))
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write artifact %s: %w", name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.whole[name] = values
	return nil
}

// Create opens the file name for writing as Write does. Text is redacted line
// by line and a line is written when it is complete, or at Close. When the run
// is closed the file is, too, and what is written later is dropped.
func (r *Run) Create(name string) (io.WriteCloser, error) {
	f, err := r.open(name)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &stream{name: name, file: f, redact: redactor{values: r.values}}
	r.streams = append(r.streams, s)
	return s, nil
}

// Missing records that name could not be had, and why.
func (r *Run) Missing(name, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := Missing{Name: name, Reason: reason}
	if !slices.Contains(r.missing, m) {
		r.missing = append(r.missing, m)
	}
}

// clean redacts a whole text.
func (r *Run) clean(data []byte) []byte { return r.secrets().clean(data) }

// secrets are the values that are known by now.
func (r *Run) secrets() *secrets {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.values
}

func (r *Run) open(name string) (*os.File, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if err := r.claim(name); err != nil {
		return nil, err
	}
	if dir := path.Dir(name); dir != "." {
		if err := r.root.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("write artifact %s: %w", name, err)
		}
	}
	f, err := r.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("write artifact %s: %w", name, err)
	}
	return f, nil
}

// claim refuses a name that on other systems is that of a file which is there.
func (r *Run) claim(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return fmt.Errorf("write artifact %s: the run is closed", name)
	}
	small := strings.ToLower(name)
	if have, ok := r.names[small]; ok && have != name {
		return fmt.Errorf("write artifact %s: differs from %s only in large and small letters", name, have)
	}
	r.names[small] = name
	delete(r.whole, name) // it is being replaced
	return nil
}

// checkName refuses what would lie outside, on any platform, or be the manifest.
func checkName(name string) error {
	switch {
	case !fs.ValidPath(name) || name == "." || strings.ContainsAny(name, "\\:\x00"):
		return fmt.Errorf("artifact name %q: must be a relative path within the run's folder", name)
	case !filepath.IsLocal(filepath.FromSlash(name)):
		return fmt.Errorf("artifact name %q: not allowed on this system", name)
	case strings.EqualFold(name, manifestName):
		return fmt.Errorf("artifact name %q: is kept for the manifest", name)
	}
	return nil
}

// slug makes a file name of a command such as "scenario lb".
func slug(command string) string {
	words := strings.FieldsFunc(strings.ToLower(command), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
	s := strings.Join(words, "-")
	if len(s) > 60 {
		s = s[:60]
	}
	if s == "" {
		return "run"
	}
	return s
}
