package ui

import (
	"bytes"
	"cmp"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/vbauerster/cupwriter"
)

// console is what mpb draws on. It tells a size one column and one row smaller
// than the terminal's: a full last row would scroll and leave a copy of the
// board's first line behind at each drawing. And it erases row by row, since
// tmux keeps a copy of the screen in its history when all of it is erased at
// once, which is what mpb's own writer does to a board at the top.
type console struct {
	out           io.Writer
	cup           *cupwriter.Writer // knows the size, and draws on Windows
	width, height int               // of a terminal that does not tell

	mu    sync.Mutex
	text  bytes.Buffer // to be printed above the board
	rows  bytes.Buffer // the board
	lines int          // of the board as it is on the screen
	held  bool
}

func newConsole(w io.Writer, width, height int) *console {
	return &console{
		out:    w,
		cup:    cupwriter.New(w, true),
		width:  cmp.Or(width, 80),
		height: cmp.Or(height, 24),
	}
}

// IsTerminal is always true, for a board that was forced draws as well.
func (c *console) IsTerminal() bool { return true }

// GetTermSize returns the room for drawing, and a usual size for a terminal
// that does not know its own (a serial line, some pseudo-terminals of CI).
func (c *console) GetTermSize() (width, height int, err error) {
	if c.cup.IsTerminal() {
		width, height, err = c.cup.GetTermSize()
	}
	if err != nil || width < 2 || height < 2 {
		width, height = c.width, c.height
	}
	return width - 1, height - 1, nil
}

// Write takes text for above the board.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(p)
}

// ReadFrom takes a row of the board: mpb gives its rows this way and no other.
func (c *console) ReadFrom(r io.Reader) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rows.ReadFrom(r)
}

// Flush draws what has been taken, a board of so many lines.
func (c *console) Flush(lines int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held {
		c.rows.Reset()
		return nil
	}
	return c.draw(lines)
}

// hold keeps what is on the screen until finish.
func (c *console) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = true
}

// finish puts last in the board's place and leaves it standing.
func (c *console) finish(last string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rows.Reset()
	c.rows.WriteString(last)
	_ = c.draw(0) // nothing can be told on a terminal that has gone away
}

func (c *console) draw(lines int) error {
	frame := slices.Concat(c.text.Bytes(), c.rows.Bytes())
	defer func() {
		c.text.Reset()
		c.rows.Reset()
		c.lines = lines
	}()
	if _, file := c.out.(*os.File); file && runtime.GOOS == "windows" {
		_, _ = c.cup.Write(frame)
		return c.cup.Flush(lines)
	}
	erase := ""
	if c.lines > 0 {
		up := "\x1b[" + strconv.Itoa(c.lines) + "A"
		erase = up + strings.Repeat("\x1b[2K\n", c.lines) + up
	}
	if erase == "" && len(frame) == 0 {
		return nil
	}
	_, err := c.out.Write(append([]byte(erase), frame...))
	return err
}
