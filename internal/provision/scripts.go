package provision

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"labctl"
	"labctl/internal/remote"
)

// script returns lib.sh and the named script of provision/ as one text.
func script(name string) (string, error) {
	if whole, ok := scripts.Load(name); ok { // hundreds of nodes share it
		return whole.(string), nil
	}
	lib, err := asset("lib.sh")
	if err != nil {
		return "", err
	}
	text, err := asset(name)
	if err != nil {
		return "", err
	}
	scripts.Store(name, lib+text)
	return lib + text, nil
}

var scripts sync.Map // name ▸ text

// asset returns a file of provision/.
func asset(name string) (string, error) {
	text, err := labassets.Files.ReadFile("provision/" + name)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	return string(text), nil
}

// Error is a node that could not be made ready.
type Error struct {
	Node   string
	Step   string // "prepare" or "install Docker"
	Reason string // the script's own last word
	// Stderr is what the node printed on standard error before that.
	Stderr string
	Remedy string // what a person can do; "" for nothing that is known
	Err    error  // a *remote.ExitError, or what the Runner returned
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s: %s", e.Node, e.Step, e.Reason) }

// Output returns what the node said before the reason.
func (e *Error) Output() string { return e.Stderr }

// Hint returns the remedy.
func (e *Error) Hint() string { return e.Remedy }

// Unwrap returns the Runner's error.
func (e *Error) Unwrap() error { return e.Err }

// refuse is an Error that labctl itself decided upon.
func refuse(node, step, format string, args ...any) *Error {
	return &Error{Node: node, Step: step, Reason: fmt.Sprintf(format, args...)}
}

// failure makes an Error of what a Runner returned, nil if all went well.
func failure(node, step string, res remote.Result, err error) error {
	if err != nil {
		reason := err
		var re *remote.RunError
		if errors.As(err, &re) {
			reason = re.Err // its text would name the node and a page of shell
		}
		return &Error{Node: node, Step: step, Reason: reason.Error(), Stderr: strings.TrimSpace(res.Stderr), Err: err}
	}
	if res.ExitCode == 0 {
		return nil
	}
	e := &Error{Node: node, Step: step, Err: &remote.ExitError{Node: node, Result: res}}
	lines := strings.Split(strings.TrimSpace(res.Stderr), "\n")
	for i, line := range lines {
		if reason, ok := strings.CutPrefix(line, "labctl: "); ok {
			e.Reason = reason
			lines = append(lines[:i:i], lines[i+1:]...)
			break
		}
	}
	e.Stderr = strings.Join(lines, "\n")
	if e.Reason == "" {
		e.Reason = lines[len(lines)-1]
	}
	if e.Reason == "" {
		e.Reason = fmt.Sprintf("exit code %d without a word", res.ExitCode)
	}
	return e
}

// news reads the standard output of a script: its lines "::progress TEXT" are
// passed on at once, "::changed TEXT" is remembered.
type news struct {
	progress func(string)
	changed  bool
	partial  string
	clock    func(seconds string) // nil for none
}

// Write takes output in pieces of any size.
func (n *news) Write(p []byte) (int, error) {
	n.partial += string(p)
	for {
		line, rest, ok := strings.Cut(n.partial, "\n")
		if !ok {
			return len(p), nil
		}
		n.partial = rest
		if text, ok := strings.CutPrefix(line, "::progress "); ok && n.progress != nil {
			n.progress(text)
		}
		if text, ok := strings.CutPrefix(line, "::clock "); ok && n.clock != nil {
			n.clock(text)
		}
		if strings.HasPrefix(line, "::changed ") {
			n.changed = true
		}
	}
}
