package scenario

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRefusedBeforeAnythingRuns(t *testing.T) {
	ports := page(t, `@manager|docker service create -p "$PORT:80" x`, "@manager check|true", "@docker9|true", `@manager|echo "$LAB_IP_DOCKER9"`)
	for _, tt := range []struct {
		name   string
		change func(*Options)
		doc    *Document
		want   string
	}{
		{"parameters", func(o *Options) {
			o.Set = map[string]string{"prot": "1", "port": "http"}
			o.Config = map[string]string{"texd": "1"}
		}, page(t, "@manager check|true"), `lab.toml [scenario]: x.md has no parameter "texd": it must be port or text; did you mean "text"?
--set: port must be a whole number, not "http"
--set: x.md has no parameter "prot": it must be port or text; did you mean "port"?`},
		{"nodes and ports", func(o *Options) { o.Set = map[string]string{"port": "2377"} }, ports,
			`x.md:16: publishing port 2377 would cut the lab off: the managers speak by it
x.md:27: the lab has no node for @docker9; did you mean "@docker1"?
x.md:34: the lab has no node for $LAB_IP_DOCKER9`},
		{"too small", func(o *Options) { o.Nodes = o.Nodes[:1] }, page(t, "@manager check|true"),
			"x.md needs 1 manager(s) and 1 worker(s), but the lab has 1 and 0"},
		{"no host", func(o *Options) { o.Host = nil }, page(t, "@host check|true"), "x.md:15: no runner for @host"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &fakes{}
			o := f.options()
			tt.change(&o)
			res, err := Run(context.Background(), tt.doc, o)
			if err == nil || res != nil {
				t.Fatalf("result %v, error %v", res, err)
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if len(f.calls) > 0 {
				t.Errorf("calls %q", f.calls)
			}
		})
	}
}

func TestTooSmall(t *testing.T) {
	for _, tt := range []struct {
		e    TooSmallError
		want string
	}{
		{TooSmallError{"x.md", Needs{Managers: 3}, 1, 1}, "x.md needs 3 manager(s) and 0 worker(s), but the lab has 1 and 1\na lab.toml with these lines would do:\nmanagers = 3\nworkers = 1"},
		{TooSmallError{"x.md", Needs{Managers: 1, Total: 3}, 1, 1}, "x.md needs 1 manager(s) and 0 worker(s), 3 nodes in all, but the lab has 1 and 1\na lab.toml with these lines would do:\nmanagers = 1\nworkers = 2"},
	} {
		if got := tt.e.Error() + "\n" + tt.e.Hint(); got != tt.want {
			t.Errorf("got %s\nwant %s", got, tt.want)
		}
	}
	d, _, err := Load("x.md", []byte("# X\n\n```toml scenario\nformat = 1\nid = \"x\"\ntitle = \"X\"\nnodes = { managers = 1, total = 3 }\n```\n\nOn the manager:\n\n```sh @manager check\ntrue\n```\n"))
	if err != nil {
		t.Fatal(err)
	}
	nodes := []Node{{Name: "docker1", Role: "manager"}, {Name: "docker2", Role: "manager"}, {Name: "docker3", Role: "worker"}}
	var small *TooSmallError
	if _, err := newRun(d, Options{Nodes: nodes[:2]}); !errors.As(err, &small) {
		t.Errorf("two nodes: %v", err)
	}
	if _, err := newRun(d, Options{Nodes: nodes}); errors.As(err, &small) {
		t.Errorf("three nodes: %v", err)
	}
}
