package ui

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mattn/go-runewidth"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

type boardOptions struct {
	ascii, color bool
	now          func() time.Time
	width        int        // of a terminal that does not tell; 0 means 80
	height       int        // likewise; 0 means 24
	refresh      <-chan any // draws on demand, for tests; nil draws by time
}

// board keeps one line a node at the bottom of a terminal.
type board struct {
	w     io.Writer
	opt   boardOptions
	term  *console
	p     *mpb.Progress
	lines *lineWriter // for Write

	// add guards bars and closed, and is held while mpb is called. mu guards
	// what the bars draw from, and never is: mpb calls the drawing, so one
	// lock for both would wait for itself.
	add    sync.Mutex
	bars   []*mpb.Bar
	closed bool
	texts  []*lineWriter // all that print above the board

	mu     sync.Mutex
	tracks []*track
	hidden []*track // those of tracks for which the terminal has no row
	names  int
}

func newBoard(w io.Writer, nodes []string, opt boardOptions) *board {
	b := &board{w: w, opt: opt, term: newConsole(w, opt.width, opt.height)}
	b.lines = b.lineWriter()
	options := []mpb.ContainerOption{mpb.WithConsoleWriter(b.term)}
	if opt.refresh != nil {
		options = append(options, mpb.WithManualRefresh(opt.refresh))
	}
	b.p = mpb.New(options...)
	for _, n := range nodes {
		b.track(n)
	}
	return b
}

func (b *board) Event(e Event) {
	if e.Time.IsZero() {
		e.Time = b.opt.now()
	}
	t := b.track(label(e.Node))
	b.mu.Lock()
	defer b.mu.Unlock()
	t.take(e)
}

// track finds the node's line or makes it. The lab's own line comes first.
func (b *board) track(name string) *track {
	b.add.Lock()
	defer b.add.Unlock()
	b.mu.Lock()
	for _, t := range b.tracks {
		if t.name == name {
			b.mu.Unlock()
			return t
		}
	}
	t := &track{name: name}
	lab := name == label("")
	if lab {
		b.tracks = slices.Insert(b.tracks, 0, t)
	} else {
		b.tracks = append(b.tracks, t)
	}
	b.names = max(b.names, runewidth.StringWidth(name))
	// Two rows are kept free, for the lab's line and that of the hidden nodes.
	_, height, _ := b.term.GetTermSize()
	hide := !lab && len(b.bars) >= height-2
	if hide {
		b.hidden = append(b.hidden, t)
	}
	more := len(b.hidden) == 1
	b.mu.Unlock()

	switch {
	case b.closed:
	case !hide && lab:
		b.bar(-1, t.line)
	case !hide:
		b.bar(len(b.bars), t.line)
	case more:
		b.bar(math.MaxInt, b.hiddenLine)
	}
	return t
}

// bar adds a row to mpb. draw is called under mu.
func (b *board) bar(priority int, draw func(time.Time, look, bool) string) {
	fill := mpb.BarFillerFunc(func(w io.Writer, s decor.Statistics) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		_, err := io.WriteString(w, draw(b.opt.now(), b.look(s.AvailableWidth), false))
		return err
	})
	// A terminal that has gone away ends mpb; the work must go on without it.
	if bar, err := b.p.Add(0, fill, mpb.BarFillerTrim(), mpb.BarPriority(priority)); err == nil {
		b.bars = append(b.bars, bar)
	}
}

// hiddenLine sums up the nodes that have no row of their own: mpb itself
// miscounts when there are more bars than rows, and would draw them again and
// again below each other.
func (b *board) hiddenLine(_ time.Time, l look, _ bool) string {
	failed := 0
	for _, t := range b.hidden {
		if t.failed != nil {
			failed++
		}
	}
	text := fmt.Sprintf("and %d more, %d failed", len(b.hidden), failed)
	return l.row(symIdle, "", -1, text)
}

func (b *board) look(width int) look {
	return look{width: width, names: b.names, ascii: b.opt.ascii, color: b.opt.color}
}

func (b *board) Write(p []byte) (int, error) { return b.lines.Write(p) }

// lineWriter returns a writer for whole lines above the board. Close prints
// what is left in it.
func (b *board) lineWriter() *lineWriter {
	b.add.Lock()
	defer b.add.Unlock()
	l := &lineWriter{emit: b.printAbove}
	b.texts = append(b.texts, l)
	return l
}

func (b *board) printAbove(line string) {
	text := []byte(terminalLine(line) + "\n")
	b.add.Lock()
	defer b.add.Unlock()
	if b.closed || len(b.bars) == 0 {
		_, _ = b.w.Write(text)
		return
	}
	if _, err := b.p.Write(text); err != nil { // drawing has ended by an error
		_, _ = b.w.Write(text)
	}
}

// Close puts the board's last state in the place of the moving one, all lines of
// it even if the terminal is too low for them.
func (b *board) Close() {
	b.add.Lock()
	texts := slices.Clone(b.texts)
	b.add.Unlock()
	for _, l := range texts {
		l.finish()
	}
	b.add.Lock()
	defer b.add.Unlock()
	if b.closed {
		return
	}
	b.closed = true
	b.term.hold()
	for _, bar := range b.bars {
		bar.Abort(true)
	}
	b.p.Wait()
	width, _, _ := b.term.GetTermSize()
	b.mu.Lock()
	defer b.mu.Unlock()
	var s strings.Builder
	for _, t := range b.tracks {
		s.WriteString(t.line(b.opt.now(), b.look(width), true) + "\n")
	}
	b.term.finish(s.String())
}
