package box

import (
	"bytes"
	"io"
	"strings"
	"sync"

	"labctl/internal/remote"
)

// BuildError is a build that failed on its own account.
type BuildError struct {
	Reason string // the first error that was printed, in one line
	Log    string // file with the whole output
	Err    *remote.ExitError
}

func (e *BuildError) Error() string { return "box: build failed: " + e.Reason }

// Hint says where to read more.
func (e *BuildError) Hint() string { return "the whole output is in " + e.Log }

// Unwrap returns the failed command.
func (e *BuildError) Unwrap() error { return e.Err }

// output takes the output of the build: the two streams may be written at
// once.
type output struct {
	mu       sync.Mutex
	log      io.Writer
	progress func(string)
	first    string // the first line that is an error
	last     string // the last line of all
}

// stream returns a writer that sees whole lines.
func (o *output) stream() io.Writer { return &lineWriter{out: o} }

type lineWriter struct {
	out  *output
	part []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.out.mu.Lock()
	defer w.out.mu.Unlock()
	w.part = append(w.part, p...)
	for {
		line, rest, ok := bytes.Cut(w.part, []byte("\n"))
		if !ok {
			break
		}
		w.out.line(strings.TrimSpace(string(line)))
		w.part = rest
	}
	return w.out.log.Write(p)
}

// line reads what the build script and mmdebstrap say.
func (o *output) line(s string) {
	if s == "" {
		return
	}
	o.last = s
	if detail, ok := strings.CutPrefix(s, "progress: "); ok {
		o.progress(detail)
		return
	}
	// mmdebstrap's own steps, apart from those that only say how they are done.
	if detail, ok := strings.CutPrefix(s, "I: "); ok && strings.HasSuffix(detail, "...") {
		o.progress(strings.TrimSuffix(detail, "..."))
		return
	}
	if o.first == "" && (strings.HasPrefix(s, "E: ") || strings.HasPrefix(s, "dpkg: error")) {
		o.first = strings.TrimPrefix(s, "E: ")
	}
}

// reason is the best single line on why the build failed.
func (o *output) reason() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.first != "":
		return o.first
	case o.last != "":
		return o.last
	}
	return "no output"
}
