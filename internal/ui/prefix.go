package ui

import (
	"bytes"
	"io"
	"sync"
)

// PrefixWriter puts Prefix before each line that goes to To. Writers that
// share one To share Mu, so that lines stay whole. Close writes an unfinished
// last line.
type PrefixWriter struct {
	Mu     *sync.Mutex
	To     io.Writer
	Prefix string
	line   []byte
}

// Write takes output in pieces of any size. Only whole lines are passed on.
func (w *PrefixWriter) Write(p []byte) (int, error) {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	w.line = append(w.line, p...)
	for {
		i := bytes.IndexByte(w.line, '\n')
		if i < 0 {
			return len(p), nil
		}
		if _, err := w.To.Write(append([]byte(w.Prefix), w.line[:i+1]...)); err != nil {
			return 0, err
		}
		w.line = append(w.line[:0], w.line[i+1:]...)
	}
}

// Close ends an unfinished line.
func (w *PrefixWriter) Close() error {
	if len(w.line) == 0 {
		return nil
	}
	_, err := w.Write([]byte("\n"))
	return err
}
