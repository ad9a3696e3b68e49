package provision

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// part is one small file of a stream.
type part struct{ name, text string }

// stream is the tar archive that one command on the node reads: scripts and
// settings, then the packages with their SHA256SUMS.
type stream struct {
	parts    []part
	dir      string // folder of the debs
	debs     []Package
	progress func(string)
}

// open begins to write the archive, as fast as it is read. Closing it ends
// that, also before the end.
func (s *stream) open() io.ReadCloser {
	r, w := io.Pipe()
	go func() { w.CloseWithError(s.write(w)) }()
	return r
}

func (s *stream) write(w io.Writer) error {
	t := tar.NewWriter(w)
	parts := s.parts
	if len(s.debs) > 0 {
		var sums strings.Builder
		for _, p := range s.debs {
			fmt.Fprintf(&sums, "%s  %s\n", p.SHA256, p.File)
		}
		parts = append(parts[:len(parts):len(parts)], part{"debs/SHA256SUMS", sums.String()})
	}
	for _, p := range parts {
		if err := t.WriteHeader(&tar.Header{Name: p.name, Mode: 0o600, Size: int64(len(p.text))}); err != nil {
			return err
		}
		if _, err := io.WriteString(t, p.text); err != nil {
			return err
		}
	}
	total := int64(0)
	for _, p := range s.debs {
		total += p.Size
	}
	m := &meter{every: max(total/8, 4<<20), say: func(done int64) {
		s.progress(fmt.Sprintf("sent %d of %d MB", done/1e6, total/1e6))
	}}
	if len(s.debs) > 0 {
		s.progress(fmt.Sprintf("sending packages: %d, %.1f MB", len(s.debs), float64(total)/1e6))
	}
	for _, p := range s.debs {
		if err := s.addFile(t, m, p); err != nil {
			return err
		}
	}
	return t.Close()
}

func (s *stream) addFile(t *tar.Writer, m *meter, p Package) error {
	f, err := os.Open(filepath.Join(s.dir, p.File))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := t.WriteHeader(&tar.Header{Name: "debs/" + p.File, Mode: 0o644, Size: p.Size}); err != nil {
		return err
	}
	// A file that is longer than it was at Verify is cut and then found out
	// by its sum; a shorter one is an error of the archive.
	if _, err := io.CopyN(t, io.TeeReader(f, m), p.Size); err != nil {
		return fmt.Errorf("send %s: %w", p.File, err)
	}
	return nil
}

// meter counts bytes and says now and then how far it is.
type meter struct {
	done, said int64
	every      int64 // bytes between two words
	say        func(done int64)
}

func (m *meter) Write(p []byte) (int, error) {
	m.done += int64(len(p))
	if m.done-m.said >= m.every {
		m.said = m.done
		m.say(m.done)
	}
	return len(p), nil
}
