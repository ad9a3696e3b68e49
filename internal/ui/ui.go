package ui

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/term"
)

// Mode is how progress is shown.
type Mode string

// The modes. Auto takes Board where a person looks at a terminal, else Plain.
const (
	Auto  Mode = "auto"
	Board Mode = "board"
	Plain Mode = "plain"
	JSON  Mode = "json"
)

// ParseMode reads a mode's name; "" is Auto.
func ParseMode(s string) (Mode, error) {
	switch m := Mode(s); m {
	case "":
		return Auto, nil
	case Auto, Board, Plain, JSON:
		return m, nil
	}
	return "", fmt.Errorf("unknown progress mode %q: must be auto, board, plain or json", s)
}

// UI shows events. All methods may be called from several goroutines at once.
type UI interface {
	Sink
	// Write prints text of another kind without disturbing what is shown: on
	// a board, whole lines appear above it; JSON makes an object of each line.
	// An unfinished line is held back until its end comes, or Close.
	io.Writer
	// Close ends the display and leaves its last state standing. Events that
	// come later are dropped, later text is printed as it is.
	Close()
}

// New returns a UI that writes to w. nodes are the lines of the board in their
// order; an event of a node that is not among them gets a line when it comes.
// A board that is forced on something else than a terminal is 80 columns wide.
func New(w io.Writer, mode Mode, nodes []string) UI {
	switch choose(mode, isTerminal(w), os.Getenv) {
	case Board:
		return newBoard(w, nodes, boardOptions{
			ascii: !speaksUTF8(runtime.GOOS, os.Getenv),
			color: runtime.GOOS != "windows" && os.Getenv("NO_COLOR") == "",
			now:   time.Now,
		})
	case JSON:
		return newJSON(w, time.Now)
	default:
		p := newPlain(w, time.Now)
		p.watch()
		return p
	}
}

// Above returns a writer for out, say standard output, that cannot garble the
// board of u: if both are the same person's terminal, whole lines go above the
// board, else straight to out.
func Above(u UI, out io.Writer) io.Writer {
	if b, ok := u.(*board); ok && isTerminal(out) {
		return b.lineWriter()
	}
	return out
}

func choose(mode Mode, terminal bool, getenv func(string) string) Mode {
	if mode != Auto && mode != "" {
		return mode
	}
	if !terminal || getenv("TERM") == "dumb" || getenv("CI") != "" || getenv("NO_COLOR") != "" {
		return Plain
	}
	return Board
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// speaksUTF8 tells whether the terminal can be trusted with ✓ and ⠋.
func speaksUTF8(goos string, getenv func(string) string) bool {
	if goos == "windows" || goos == "darwin" {
		return true
	}
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(getenv(name)); v != "" {
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return false
}
