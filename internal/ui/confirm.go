package ui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Confirm asks question on out and reads a line from in: true for y or yes,
// false for anything else and at the end of input.
func Confirm(in io.Reader, out io.Writer, question string) (bool, error) {
	return ConfirmContext(context.Background(), in, out, question)
}

// ConfirmContext is Confirm, given up when ctx ends (Ctrl-C at the prompt); the
// error is then the context's. The read from in is left behind, since a
// terminal's cannot be interrupted: use it where the program ends after that.
func ConfirmContext(ctx context.Context, in io.Reader, out io.Writer, question string) (bool, error) {
	if _, err := fmt.Fprintf(out, "%s [y/N] ", question); err != nil {
		return false, fmt.Errorf("ask %q: %w", question, err)
	}
	type answer struct {
		line string
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		line, err := readLine(in)
		got <- answer{line, err}
	}()
	select {
	case <-ctx.Done():
		_, _ = fmt.Fprintln(out)
		return false, context.Cause(ctx)
	case a := <-got:
		if errors.Is(a.err, io.EOF) {
			_, _ = fmt.Fprintln(out) // no key was pressed to end the line
		} else if a.err != nil {
			return false, fmt.Errorf("read the answer to %q: %w", question, a.err)
		}
		switch strings.ToLower(strings.TrimSpace(a.line)) {
		case "y", "yes":
			return true, nil
		}
		return false, nil
	}
}

// readLine reads byte by byte, so that what follows stays for the next reader.
func readLine(in io.Reader) (string, error) {
	var line []byte
	one := make([]byte, 1)
	for {
		n, err := in.Read(one)
		if n == 1 {
			if one[0] == '\n' {
				return string(line), nil
			}
			line = append(line, one[0])
		}
		if err != nil {
			return string(line), err
		}
	}
}
