package ui

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
)

// screen is a terminal of a given size: what is written to it becomes rows of
// text, as a person would see them, with what has scrolled away above.
type screen struct {
	width, height int

	mu       sync.Mutex
	rows     []string
	row, col int
	errs     []string
}

func newScreen(width, height int) *screen {
	return &screen{width: width, height: height, rows: []string{""}}
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for rest := string(p); rest != ""; {
		if strings.HasPrefix(rest, "\x1b[") {
			end := strings.IndexFunc(rest[2:], func(r rune) bool { return r >= '@' }) + 2
			s.control(rest[2:end], rest[end])
			rest = rest[end+1:]
			continue
		}
		r, n := utf8.DecodeRuneInString(rest)
		rest = rest[n:]
		switch {
		case r == '\n': // the terminal driver makes \r\n of it
			s.down()
		case r < ' ':
			s.errs = append(s.errs, fmt.Sprintf("control character %q", r))
		default:
			s.put(r)
		}
	}
	return len(p), nil
}

func (s *screen) put(r rune) {
	if s.col+runewidth.RuneWidth(r) > s.width {
		s.down()
	}
	line := []rune(s.rows[s.row])
	for len(line) <= s.col {
		line = append(line, ' ')
	}
	line[s.col] = r
	s.rows[s.row] = string(line)
	s.col++
}

func (s *screen) down() {
	s.row, s.col = s.row+1, 0
	if s.row == len(s.rows) {
		s.rows = append(s.rows, "")
	}
}

func (s *screen) control(arg string, kind byte) {
	switch kind {
	case 'A':
		n, _ := strconv.Atoi(arg)
		top := max(0, len(s.rows)-s.height)
		if s.row-n < top {
			s.errs = append(s.errs, fmt.Sprintf("cursor up %d leaves the screen", n))
		}
		s.row = max(top, s.row-n)
	case 'K':
		if arg != "2" {
			s.errs = append(s.errs, "erase in line "+arg)
		}
		s.rows[s.row] = ""
	case 'm':
	default:
		s.errs = append(s.errs, "control sequence "+arg+string(kind))
	}
}

// String is all rows, without spaces at their ends and empty ones at the end.
func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, r := range s.rows {
		out = append(out, strings.TrimRight(r, " "))
	}
	return strings.TrimRight(strings.Join(append(out, s.errs...), "\n"), "\n")
}

// say writes text; what a display does with it, its screen shows.
func say(w io.Writer, text string) { _, _ = io.WriteString(w, text) }

// clock is moved by hand.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock {
	return &clock{t: time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)}
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}
