package ui

import (
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPrefixWriter(t *testing.T) {
	var out strings.Builder
	var mu sync.Mutex
	a := &PrefixWriter{Mu: &mu, To: &out, Prefix: "docker1: "}
	b := &PrefixWriter{Mu: &mu, To: &out, Prefix: "docker2: "}
	for _, w := range []struct {
		to   io.Writer
		text string
	}{{a, "one"}, {b, "x\n\ny\nz"}, {a, " line\ntwo"}, {b, ""}} {
		if n, err := io.WriteString(w.to, w.text); n != len(w.text) || err != nil {
			t.Errorf("%q: %d, %v", w.text, n, err)
		}
	}
	for _, w := range []*PrefixWriter{a, b, a} { // a second Close adds nothing
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff("docker2: x\ndocker2: \ndocker2: y\ndocker1: one line\ndocker1: two\ndocker2: z\n", out.String()); diff != "" {
		t.Error(diff)
	}
}

// Lines of writers that share their target stay whole.
func TestPrefixWriterSideBySide(t *testing.T) {
	var out strings.Builder
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, name := range []string{"a", "b", "c"} {
		wg.Go(func() {
			w := &PrefixWriter{Mu: &mu, To: &out, Prefix: name + ": "}
			for range 200 {
				for _, piece := range []string{name, strings.Repeat(name, 50), "\n"} {
					if _, err := io.WriteString(w, piece); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	count := 0
	for line := range strings.Lines(out.String()) {
		count++
		name, _, _ := strings.Cut(line, ": ")
		if line != name+": "+strings.Repeat(name, 51)+"\n" {
			t.Fatalf("line %q", line)
		}
	}
	if count != 600 {
		t.Errorf("%d lines", count)
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errBroken }

var errBroken = errors.New("broken pipe")

func TestPrefixWriterError(t *testing.T) {
	w := &PrefixWriter{Mu: &sync.Mutex{}, To: brokenPipe{}, Prefix: "p: "}
	if _, err := io.WriteString(w, "held back"); err != nil {
		t.Error(err)
	}
	if _, err := io.WriteString(w, "\n"); !errors.Is(err, errBroken) {
		t.Errorf("error %v", err)
	}
}
