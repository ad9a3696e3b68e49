package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/term"

	"labctl/internal/scenario"
	"labctl/internal/ui"
)

// hostConsentError is a document from outside that would run on this machine.
type hostConsentError struct {
	file  string
	lines []string
}

func (e *hostConsentError) Error() string {
	return fmt.Sprintf("%s has blocks that run on this machine, not on a node: line %s", e.file, strings.Join(e.lines, ", "))
}

func (e *hostConsentError) Hint() string {
	return "read them; if you trust them, add --allow-host"
}

// asksFromHost says that blocks of the document run on this machine, from
// where they may ask the nodes.
func (d *document) asksFromHost() bool {
	return slices.ContainsFunc(d.d.Blocks, func(b *scenario.Block) bool { return b.Place == "host" && !b.RunsLabctl() })
}

// consent sees to it that a person has agreed to what a document from outside
// would run on this machine. They are asked once for each text.
func (a *app) consent(ctx context.Context, doc *document, allowed bool) error {
	if !doc.outside || allowed {
		return nil
	}
	refusal := &hostConsentError{file: doc.file}
	var list strings.Builder
	for _, b := range doc.d.Blocks {
		if b.Place == "host" && !b.RunsLabctl() {
			refusal.lines = append(refusal.lines, fmt.Sprint(b.Line))
			fmt.Fprintf(&list, "%s:\n    %s\n", doc.d.Name(b), strings.ReplaceAll(strings.TrimSpace(b.Script), "\n", "\n    "))
		}
	}
	if refusal.lines == nil {
		return nil
	}
	known, err := allowedFile()
	if err != nil {
		return err
	}
	hash := fmt.Sprintf("%x", sha256.Sum256(doc.source))
	data, err := os.ReadFile(known)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if bytes.Contains(data, []byte(hash)) {
		return nil
	}
	if !isTerminal(a.streams.In) {
		return &usageError{refusal}
	}
	_, _ = fmt.Fprintf(a.streams.Err, "%s would run this on your own machine, as you:\n\n%s\n", doc.file, scenario.Visible(list.String()))
	yes, err := ui.ConfirmContext(ctx, a.streams.In, a.streams.Err, "let it, now and whenever the document is the same?")
	if err != nil {
		return err
	}
	if !yes {
		return &usageError{refusal}
	}
	if err := os.MkdirAll(filepath.Dir(known), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(known, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s  %s\n", hash, filepath.Base(doc.file))
	return errors.Join(err, f.Close())
}

// allowedFile lists the hashes of the documents that a person has allowed.
func allowedFile() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("the user's configuration folder: %w", err)
	}
	return filepath.Join(dir, "labctl", "allowed-documents"), nil
}

func isTerminal(f any) bool {
	file, ok := f.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// lines hands over what is typed, line by line, and closes at its end. The
// last read is left behind when nobody listens any more: a terminal's cannot
// be interrupted.
func lines(ctx context.Context, in io.Reader) <-chan string {
	out := make(chan string)
	go func() {
		defer close(out)
		buf := make([]byte, 1)
		var line []byte
		for {
			n, err := in.Read(buf)
			if n == 1 && buf[0] != '\n' {
				line = append(line, buf[0])
			}
			if n == 1 && buf[0] == '\n' || err != nil && len(line) > 0 {
				select {
				case out <- string(line):
					line = nil
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	return out
}
