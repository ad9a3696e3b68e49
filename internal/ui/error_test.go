package ui

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"labctl/internal/remote"

	"github.com/google/go-cmp/cmp"
)

type hinted struct {
	msg, hint string
	cause     error
}

func (h *hinted) Error() string { return h.msg }
func (h *hinted) Hint() string  { return h.hint }
func (h *hinted) Unwrap() error { return h.cause }

func exit(node, stdout, stderr string) *remote.ExitError {
	return &remote.ExitError{Node: node, Result: remote.Result{
		Argv: []string{"docker", "info"}, Stdout: stdout, Stderr: stderr, ExitCode: 1,
	}}
}

func TestError(t *testing.T) {
	var many []string
	for i := range 23 {
		many = append(many, fmt.Sprintf("line %d", i))
	}
	long := exit("docker1", strings.Join(many, "\n"), "")
	tests := []struct {
		name    string
		err     error
		verbose bool
		want    string
	}{
		{"none", nil, false, ""},
		{"simple", errors.New("no such node"), false, "error: no such node\n"},
		{"output", fmt.Errorf("install: %w", exit("docker1", "out", "\x1b[31mE: broken\x1b[0m\n\n  depends\n")), false,
			"error: install: docker1: docker info: exit code 1\n  | E: broken\n  |\n  |   depends\n"},
		{"silent", exit("host", "", " \n"), false, "error: host: docker info: exit code 1\n"},
		{"long", long, false, "error: docker1: docker info: exit code 1\n  ... (3 earlier lines; -v shows them)\n  | " +
			strings.Join(many[3:], "\n  | ") + "\n"},
		{"verbose", long, true, "error: docker1: docker info: exit code 1\n  | " + strings.Join(many, "\n  | ") + "\n"},
		{"joined", fmt.Errorf("boot: %w", errors.Join(
			&hinted{"docker1: down", "run labctl create", exit("docker1", "", "one")},
			fmt.Errorf("x: %w", &hinted{"docker2: down", "run labctl create", exit("docker2", "", "two")}),
			&hinted{"docker3: down", "look at\nthe log ", nil},
			&hinted{"docker4: down", "", nil},
		)), false, `error: boot: docker1: down
       x: docker2: down
       docker3: down
       docker4: down
  docker1:
  | one
  docker2:
  | two
hint: run labctl create
hint: look at
      the log
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			Error(&out, tt.err, tt.verbose)
			if d := cmp.Diff(tt.want, out.String()); d != "" {
				t.Errorf("output (-want +got):\n%s", d)
			}
		})
	}
}

func TestConfirm(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want bool
	}{
		{"y\n", true}, {"Yes\r\n", true}, {" YES \n", true}, {"yes", true},
		{"n\n", false}, {"\n", false}, {"", false}, {"yellow\n", false},
	} {
		var out bytes.Buffer
		got, err := Confirm(strings.NewReader(tt.in), &out, "destroy lab \"lab\" with 2 nodes?")
		if err != nil || got != tt.want {
			t.Errorf("Confirm with %q = %v, %v, want %v", tt.in, got, err, tt.want)
		}
		if want := `destroy lab "lab" with 2 nodes? [y/N] `; strings.TrimSuffix(out.String(), "\n") != want {
			t.Errorf("asked %q, want %q", out.String(), want)
		}
	}
}

func TestConfirmLeavesTheRest(t *testing.T) {
	in := strings.NewReader("y\nrest")
	if ok, err := Confirm(in, io.Discard, "sure?"); !ok || err != nil {
		t.Fatalf("Confirm = %v, %v", ok, err)
	}
	if rest, _ := io.ReadAll(in); string(rest) != "rest" {
		t.Errorf("left %q, want rest", rest)
	}
}

func TestConfirmFails(t *testing.T) {
	r, w := io.Pipe()
	_ = w.CloseWithError(errors.New("input/output error"))
	_, err := Confirm(r, io.Discard, "sure?")
	if want := `read the answer to "sure?": input/output error`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if _, err := Confirm(r, brokenTerminal{}, "sure?"); err == nil || err.Error() != `ask "sure?": input/output error` {
		t.Errorf("error %v", err)
	}

	silent, w := io.Pipe()
	defer func() { _ = w.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if ok, err := ConfirmContext(ctx, silent, io.Discard, "sure?"); ok || !errors.Is(err, context.Canceled) {
		t.Errorf("ConfirmContext = %v, %v, want context canceled", ok, err)
	}
}
