package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/config"
	"labctl/internal/remote"
)

// TestReport: every kind of end has its exit code and its words.
func TestReport(t *testing.T) {
	_, _, problems := config.Parse("lab.toml", []byte("wokers = 3\n"))
	failed := &remote.ExitError{Node: "docker1", Result: remote.Result{Argv: []string{"sh", "-c", "x"}, ExitCode: 4, Stderr: "no room\n"}}
	for _, tt := range []struct {
		name string
		err  error
		code int
		text string
	}{
		{"well", nil, 0, ""},
		{"lab failed", errors.New("it broke"), 1, "error: it broke\n"},
		{"hint", fmt.Errorf("status: %w", &errNoLab{"/lab"}), 1, "error: status: there is no lab in /lab\nhint: make it with `labctl create`\n"},
		{"program failed", fmt.Errorf("boot: %w", failed), 1, "error: boot: docker1: sh -c x: exit code 4\n  | no room\n"},
		{"usage", &usageError{errors.New("no such thing")}, 2, "error: no such thing\n"},
		{"usage below", fmt.Errorf("scenario: %w", &usageError{errors.New("no such thing")}), 2, "error: scenario: no such thing\n"},
		{"joined usage", errors.Join(errors.New("first"), &usageError{errors.New("second")}), 2, "error: first\n       second\n"},
		{"lab.toml", problems, 2, "error: lab.toml:1: wokers: unknown key; did you mean \"workers\"?\n"},
		{"check", exitError(exitCheck), 3, ""},
		{"a node's own code", exitError(42), 42, ""},
		{"interrupted", errInterrupted, 130, "interrupted: what stands is kept; the same command goes on from here, `labctl destroy` removes it\n"},
		{"interrupted below", fmt.Errorf("docker1: %w", errInterrupted), 130, "interrupted: what stands is kept; the same command goes on from here, `labctl destroy` removes it\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out, errOut strings.Builder
			a := &app{streams: Streams{In: strings.NewReader(""), Out: &out, Err: &errOut}}
			if code := a.report(tt.err); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if diff := cmp.Diff(tt.text, errOut.String()); diff != "" {
				t.Error(diff)
			}
			if out.String() != "" {
				t.Errorf("standard output: %q", out.String())
			}
		})
	}
}

func TestRunUsage(t *testing.T) {
	for line, want := range map[string]string{
		"crate":           "error: labctl: unknown command \"crate\", did you mean create?; see `labctl --help`\n",
		"xyzzy":           "error: labctl: unknown command \"xyzzy\"; see `labctl --help`\n",
		"create --frce":   "error: labctl create: unknown flag: --frce; see `labctl create --help`\n",
		"box bild":        "error: labctl box: unknown command \"bild\", did you mean build?; see `labctl box --help`\n",
		"ssh":             "error: labctl ssh: requires at least 1 arg(s), only received 0; see `labctl ssh --help`\n",
		"engine serve":    "error: labctl engine serve: accepts 1 arg(s), received 0; see `labctl engine serve --help`\n",
		"status --config": "error: labctl status: flag needs an argument: --config; see `labctl status --help`\n",
	} {
		var out, errOut strings.Builder
		code := Run(context.Background(), append([]string{"labctl"}, strings.Fields(line)...), Streams{In: strings.NewReader(""), Out: &out, Err: &errOut})
		if code != exitUsage || errOut.String() != want || out.String() != "" {
			t.Errorf("labctl %s: exit code %d\ngot  %q\nwant %q\nstdout %q", line, code, errOut.String(), want, out.String())
		}
	}
}

func TestSelectNodes(t *testing.T) {
	l := config.Default()
	for line, want := range map[string]string{
		"": "docker1 docker2", "@all": "docker1 docker2", "@managers": "docker1", "@workers": "docker2", "docker2": "docker2", "docker2 docker1": "docker2 docker1",
	} {
		nodes, err := selectNodes(l, strings.Fields(line))
		var names []string
		for _, n := range nodes {
			names = append(names, n.Name)
		}
		if err != nil || strings.Join(names, " ") != want {
			t.Errorf("%q: %v, %v", line, names, err)
		}
	}
	_, err := selectNodes(l, []string{"docker1", "@manager"})
	var usage *usageError
	if !errors.As(err, &usage) || err.Error() != `no node "@manager" in this lab: it has docker1, docker2` {
		t.Errorf("error %v", err)
	}
}
