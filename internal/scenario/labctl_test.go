package scenario

import (
	"context"
	"strings"
	"testing"

	"labctl/internal/config"
	"labctl/internal/remote"
)

const labctlPage = "# A\n\n```toml scenario\nformat = 1\nid = \"a\"\ntitle = \"A\"\nnodes = { managers = 1, workers = 1 }\n[params]\nport = 7946\n```\n\n" +
	"On the host:\n\n```sh @host fault id=x\nFAULT\n```\n\nOn the host:\n\n```sh @host check\nfalse\n```\n\nOn the host:\n\n```sh @host undo for=x\nUNDO\n```\n"

func labctlDoc(fault, undo string) (*Document, error) {
	text := strings.Replace(strings.Replace(labctlPage, "FAULT", fault, 1), "UNDO", undo, 1)
	d, _, err := Load("a.md", []byte(text))
	return d, err
}

func TestLabctlBlockIsChecked(t *testing.T) {
	for _, c := range []struct{ fault, undo, want string }{
		{"labctl fault inject port --port \"$PORT\" --node @worker", "labctl fault clear", ""},
		{"labctl fault inject random --seed 7 --for 60s", "labctl fault clear", ""},
		{"labctl fault inject port --prot 7946", "labctl fault clear", "a.md:15: a fault port takes no --prot"},
		{"labctl fault inject port --port $(echo 22)", "labctl fault clear", "a.md:15: labctl reads words and variables here, and nothing that a shell would have to work out"},
		{"labctl fault inject port --port ${PORT:-22}", "labctl fault clear", "a.md:15: labctl reads words and variables here, and nothing that a shell would have to work out"},
		{"labctl fault inject port --port \"$PROT\"", "labctl fault clear", "a.md:15: $PROT is not set: it is no parameter, not saved before, and not assigned in the block; did you mean \"$PORT\"?"},
		{"labctl fault inject port | cat", "labctl fault clear", ""}, // a shell's block, which fails where there is no labctl
		{"labctl fault inject port > /tmp/x", "labctl fault clear", "a.md:15: a block that begins with labctl holds one command and nothing else; to run labctl in a shell, write \"$LABCTL\" --config \"$LAB_FILE\""},
		{"labctl destroy --force", "labctl fault clear", "a.md:15: a fault cannot run `labctl destroy --force`; did you mean \"labctl fault inject\"?"},
		{"labctl fault inject dns", "labctl fault inject dns", "a.md:27: an undo cannot run `labctl fault inject dns`; did you mean \"labctl fault clear\"?"},
		{"labctl fault inject dns", "labctl fault clear --force", "a.md:27: `labctl fault clear` takes nothing else"},
	} {
		_, err := labctlDoc(c.fault, c.undo)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s / %s:\n%s\nwant\n%s", c.fault, c.undo, got, c.want)
		}
	}
}

// TestLabctlBlockRunsLabctl wants the very program that runs, with the values
// of the variables as words, and no shell.
func TestLabctlBlockRunsLabctl(t *testing.T) {
	d, err := labctlDoc("labctl fault inject port --port \"$PORT\" --node @worker", "labctl fault clear")
	if err != nil {
		t.Fatal(err)
	}
	if !d.Blocks[0].RunsLabctl() || d.Blocks[1].RunsLabctl() || !d.Blocks[2].RunsLabctl() {
		t.Error("the wrong blocks run labctl")
	}
	var argvs []string
	host := runnerFunc(func(_ context.Context, c remote.Command) (remote.Result, error) {
		argvs = append(argvs, strings.Join(c.Argv, " "))
		code := 0
		if c.Argv[0] == "sh" {
			code = hopeless
		} else if c.Stdin != nil {
			t.Errorf("%q gets something to read", c.Argv)
		}
		return remote.Result{ExitCode: code}, nil
	})
	r, err := Run(t.Context(), d, Options{Nodes: labctlNodes(host), Host: host, Labctl: "/bin/labctl", LabFile: "lab.toml", Set: map[string]string{"port": "2377"}})
	if err != nil || r.Failure == nil || r.Failure.Line != 20 {
		t.Fatalf("%v, failure %+v", err, r.Failure)
	}
	want := "/bin/labctl --config lab.toml --progress plain fault inject port --port 2377 --node @worker\nsh -eu\n/bin/labctl --config lab.toml --progress plain fault clear"
	if got := strings.Join(argvs, "\n"); got != want {
		t.Errorf("ran\n%s\nwant\n%s", got, want)
	}
}

type runnerFunc func(context.Context, remote.Command) (remote.Result, error)

func (f runnerFunc) Run(ctx context.Context, c remote.Command) (remote.Result, error) {
	return f(ctx, c)
}

func labctlNodes(r remote.Runner) []Node {
	return []Node{{Name: "docker1", Role: config.Manager, Runner: r}, {Name: "docker2", Role: config.Worker, Runner: r}}
}
