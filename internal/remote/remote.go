// Package remote runs commands: on the host, on a node over SSH, or in a
// test's fake. All three are a Runner, so that the code above does not care.
package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"
)

// Command is one program to run.
type Command struct {
	// Argv is the program and its arguments. Over SSH each word is quoted,
	// so no word is ever read by a shell; for a script use
	// []string{"sh", "-eu"} and Stdin.
	Argv []string
	// Env is added to the environment, each "KEY=VALUE".
	Env []string
	// Stdin is what the program reads; nil means end of file at once.
	Stdin io.Reader
	// Stdout and Stderr receive a live copy of the output; nil for none.
	Stdout, Stderr io.Writer
	// Dir is the working folder; "" for the default. Host only.
	Dir string
}

// Result is what a finished program left. A non-zero ExitCode is data, not
// an error: see Check.
type Result struct {
	Argv     []string
	Stdout   string
	Stderr   string
	ExitCode int
	Duration time.Duration
}

// Runner runs a command to its end. The error means that the command could
// not be run or its end could not be learned (no connection, a deadline, a
// program that does not exist), never that it exited with another code than 0.
// When ctx ends, the program is interrupted, given a short grace, and killed.
type Runner interface {
	Run(ctx context.Context, c Command) (Result, error)
}

// Endpoint is how a node is reached. Nothing behind the vagrant room knows
// more about where a node came from than this.
type Endpoint struct {
	Name    string
	Role    string     // "manager" or "worker"
	LabIP   netip.Addr // the address in the lab's own network
	Host    string     // SSH host name or address
	Port    int        // SSH port
	User    string
	KeyFile string // private key, OpenSSH format
	// Proxy is a shell's command line that connects with it, what OpenSSH
	// calls a ProxyCommand; "": TCP.
	Proxy string `json:",omitempty"`
	// OpenSSH is set for a machine that labctl did not make: keys and host
	// keys are then the user's, and KeyFile is not looked at.
	OpenSSH *OpenSSH `json:",omitempty"`
}

// ExitError is a command that ran and exited with a code other than 0.
type ExitError struct {
	Node   string // node name, or "host"
	Result Result
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("%s: %s: exit code %d", e.Node, strings.Join(e.Result.Argv, " "), e.Result.ExitCode)
}

// Output returns what the failed command said, standard error first choice.
func (e *ExitError) Output() string {
	if s := strings.TrimSpace(e.Result.Stderr); s != "" {
		return s
	}
	return strings.TrimSpace(e.Result.Stdout)
}

// Check runs c and makes an ExitError of a non-zero exit code. node names
// where it ran.
func Check(ctx context.Context, r Runner, node string, c Command) (Result, error) {
	res, err := r.Run(ctx, c)
	var re *RunError
	if errors.As(err, &re) {
		return res, err // it names node and command already
	}
	if err != nil {
		return res, fmt.Errorf("%s: %s: %w", node, strings.Join(c.Argv, " "), err)
	}
	if res.ExitCode != 0 {
		return res, &ExitError{Node: node, Result: res}
	}
	return res, nil
}

// Script is a Command that feeds text to `sh -eu`, with args as $1, $2, ….
func Script(text string, args ...string) Command {
	argv := []string{"sh", "-eu"}
	if len(args) > 0 {
		argv = append(argv, "-s", "--")
		argv = append(argv, args...)
	}
	return Command{Argv: argv, Stdin: strings.NewReader(text)}
}
