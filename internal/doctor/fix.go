package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"labctl/internal/remote"
)

// Fix is something safe that Apply can do: it removes nothing and can be
// undone by hand. Exactly one of the fields below Text is set.
type Fix struct {
	Text    string   `json:"text"`              // "set mode 0700 on …"
	Private string   `json:"private,omitempty"` // a folder to be kept from others
	Append  *Line    `json:"append,omitempty"`
	Run     []string `json:"run,omitempty"` // a program with its arguments
}

// Line is a line to be added to a file, which is made if it is missing.
type Line struct {
	File string `json:"file"`
	Text string `json:"text"`
}

// Apply does what the fix says. Doing it twice changes nothing more.
func (x *Fix) Apply(ctx context.Context, host remote.Runner) error {
	switch {
	case x.Private != "":
		return os.Chmod(x.Private, 0o700)
	case x.Append != nil:
		return x.Append.add()
	case x.Run != nil:
		_, err := remote.Check(ctx, host, "host", remote.Command{Argv: x.Run})
		return err
	}
	return errors.New("there is nothing to do")
}

// add writes the whole file anew through another name, so that a kill leaves
// the old one.
func (l *Line) add() error {
	old, err := os.ReadFile(l.File)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text := string(old)
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) == l.Text {
			return nil
		}
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	if err := os.MkdirAll(filepath.Dir(l.File), 0o755); err != nil {
		return fmt.Errorf("as root it would work: %w", err)
	}
	if err := os.WriteFile(l.File+".new", []byte(text+l.Text+"\n"), 0o644); err != nil {
		return fmt.Errorf("as root it would work: %w", err)
	}
	return os.Rename(l.File+".new", l.File)
}
