package artifact

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync"
)

// longestLine is the length in bytes at which a line is written in pieces.
const longestLine = 1 << 20

// stream is a file that is written while the run goes on.
type stream struct {
	name string

	mu     sync.Mutex
	file   *os.File // nil when closed
	redact redactor
	rest   []byte // the line that is not complete
}

func (s *stream) secret(values *secrets) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.redact.values = values
}

func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return len(p), nil
	}
	s.rest = append(s.rest, p...)
	if err := s.put(bytes.LastIndexByte(s.rest, '\n') + 1); err != nil {
		return 0, err
	}
	for len(s.rest) > longestLine {
		// Not within a word, for it might be a secret.
		end := bytes.LastIndexAny(s.rest[:longestLine], " \t,;\"'") + 1
		if end == 0 {
			end = len(s.rest)
		}
		if err := s.put(end); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// put writes the first n bytes of rest.
func (s *stream) put(n int) error {
	if n == 0 {
		return nil
	}
	_, err := s.file.Write(s.redact.text(s.rest[:n]))
	s.rest = s.rest[n:]
	if err != nil {
		return fmt.Errorf("write artifact %s: %w", s.name, err)
	}
	return nil
}

// Close writes what is left. Closing again does nothing.
func (s *stream) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return nil
	}
	err := s.put(len(s.rest))
	if cerr := s.file.Close(); cerr != nil {
		err = errors.Join(err, fmt.Errorf("close artifact %s: %w", s.name, cerr))
	}
	s.file = nil
	return err
}
