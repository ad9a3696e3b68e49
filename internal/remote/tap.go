package remote

import (
	"bytes"
	"io"
	"sync"
)

// taps collects a command's two output streams and copies them live. One lock
// guards both, because a caller may give the same writer for both.
type taps struct {
	mu     sync.Mutex
	sealed bool
	stdout tap
	stderr tap
}

// tap is one of the two streams.
type tap struct {
	all  *taps
	buf  bytes.Buffer
	live io.Writer
}

func newTaps(c Command) *taps {
	t := &taps{}
	t.stdout = tap{all: t, live: c.Stdout}
	t.stderr = tap{all: t, live: c.Stderr}
	return t
}

// Write never fails: an error here would stop the reading of the stream, and
// a program whose output nobody reads hangs. A live writer that failed is
// dropped; what it missed is still in the Result.
func (t *tap) Write(p []byte) (int, error) {
	t.all.mu.Lock()
	defer t.all.mu.Unlock()
	if t.all.sealed {
		return len(p), nil
	}
	t.buf.Write(p)
	if t.live != nil {
		if _, err := t.live.Write(p); err != nil {
			t.live = nil
		}
	}
	return len(p), nil
}

// ReadFrom is what io.Copy calls: the buffer that it would make anew for each
// stream of each command is most of what labctl allocates for a large lab.
func (t *tap) ReadFrom(r io.Reader) (int64, error) { return copyPooled(struct{ io.Writer }{t}, r) }

var copyBuffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// copyPooled is io.Copy with a buffer that is used again. Neither end may know
// a way of its own, or it would be taken.
func copyPooled(to io.Writer, from io.Reader) (int64, error) {
	buf := copyBuffers.Get().(*[32 << 10]byte)
	defer copyBuffers.Put(buf)
	return io.CopyBuffer(to, from, buf[:])
}

// seal puts the output into res. What a straggling copier writes later is
// dropped, because the caller may have closed its live writers by then.
func (t *taps) seal(res *Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sealed = true
	res.Stdout, res.Stderr = t.stdout.buf.String(), t.stderr.buf.String()
}
