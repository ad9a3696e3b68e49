package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"labctl/internal/config"
	"labctl/internal/remote"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// loadLB reads the shipped document, which must be free of warnings, too.
func loadLB(t *testing.T) *Document {
	t.Helper()
	src, err := os.ReadFile("../../scenarios/lb.md")
	if err != nil {
		t.Fatal(err)
	}
	d, warnings, err := Load("lb.md", src)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range warnings {
		t.Error(w)
	}
	return d
}

func TestLBParsedForm(t *testing.T) {
	j, err := json.MarshalIndent(loadLB(t), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "lb.json", append(j, '\n'))
}

// shell runs commands on this machine, with the fakes first on the PATH.
type shell struct{ env []string }

func (s shell) Run(ctx context.Context, c remote.Command) (remote.Result, error) {
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Env = append(append(os.Environ(), s.env...), c.Env...)
	cmd.Stdin = c.Stdin
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		err = nil
	}
	res := remote.Result{Argv: c.Argv, Stdout: out.String(), Stderr: errs.String(), ExitCode: cmd.ProcessState.ExitCode()}
	return res, err
}

func fakeLab(t *testing.T, variant string) (o Options, calls string) {
	t.Helper()
	base, err := filepath.Abs("testdata/lb")
	if err != nil {
		t.Fatal(err)
	}
	calls = filepath.Join(t.TempDir(), "calls")
	s := shell{env: []string{
		"PATH=" + filepath.Join(base, "fake") + string(os.PathListSeparator) + os.Getenv("PATH"),
		"FAKE=" + filepath.Join(base, variant), "HEALTHY=" + filepath.Join(base, "healthy"), "CALLS=" + calls,
	}}
	return Options{Lab: "lab", Host: s, Nodes: []Node{
		{Name: "docker1", Role: config.Manager, LabIP: netip.MustParseAddr("192.168.33.11"), Runner: s},
		{Name: "docker2", Role: config.Worker, LabIP: netip.MustParseAddr("192.168.33.12"), Runner: s},
	}}, calls
}

func runLB(t *testing.T, variant string, set map[string]string) (*Result, string) {
	t.Helper()
	d := loadLB(t)
	for _, b := range d.Blocks {
		if b.Kind == Check {
			b.Within, b.Every = Span(DefaultTimeout), Span(DefaultTimeout) // one try
		}
	}
	o, calls := fakeLab(t, variant)
	o.Set = set
	res, err := Run(context.Background(), d, o)
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(log)
}

const evenTable = `ASKED            REPLICA          NODE             ANSWERS
192.168.33.11    test01.1         docker2          2
192.168.33.11    test01.2         docker1          2
192.168.33.11    test01.3         docker2          2
192.168.33.11    test01.4         docker1          2
192.168.33.12    test01.1         docker2          2
192.168.33.12    test01.2         docker1          2
192.168.33.12    test01.3         docker2          2
192.168.33.12    test01.4         docker1          2
`

// Both servers' logs, as recorded, lead to the same table.
func TestLBPasses(t *testing.T) {
	for _, variant := range []string{"healthy", "thttpd"} {
		t.Run(variant, func(t *testing.T) {
			res, calls := runLB(t, variant, nil)
			if !res.Passed {
				t.Fatal(res.Failure.Answers())
			}
			judged := res.Blocks[len(res.Blocks)-3]
			if diff := cmp.Diff(evenTable, judged.Nodes[0].Stdout); diff != "" {
				t.Errorf("table (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff("docker1 192.168.33.11 10.0.0.2\ndocker2 192.168.33.12 10.0.0.3", res.Saved["DOORS"]); diff != "" {
				t.Errorf("DOORS (-want +got):\n%s", diff)
			}
			for _, want := range []struct {
				line string
				n    int
			}{
				{"host: curl http://192.168.33.11:8080/\n", 8}, {"host: curl http://192.168.33.12:8080/\n", 8},
				{"docker1: docker network create -d overlay --subnet 172.100.0.0/24 mynet01\n", 1},
				{"docker1: docker service create --detach --no-resolve-image --name test01 --network mynet01 -p 8080:80 --replicas 4 labctl/toolbox\n", 1},
				{"docker1: docker service rm test01\ndocker1: docker network rm mynet01\n", 1},
			} {
				if got := strings.Count(calls, want.line); got != want.n {
					t.Errorf("%d calls, want %d: %q in\n%s", got, want.n, want.line, calls)
				}
			}
		})
	}
}

// Every block of the document can fail, and says what a trainee needs.
func TestLBCanFail(t *testing.T) {
	tests := []struct {
		variant string
		set     map[string]string
		chapter string
		node    string
		output  string // its end
		cleaned bool
	}{
		{"one-node", nil, "The cluster", "docker1",
			"1 node(s) ready for work, 2 are needed: is Docker running on the others, and did they join?", false},
		{"name-taken", nil, "The cluster", "docker1",
			"a network or service called test01 is already there: remove it, or choose another name with --set", false},
		{"healthy", map[string]string{"replicas": "9"}, "The cluster", "docker1",
			"8 requests cannot reach 9 replicas: use --set requests=9 or more", false},
		{"replica-missing", nil, "The service", "docker1",
			"an error was seen:  \\_ test01.4 on docker1: No such image: labctl/toolbox:latest\n3/4 replicas run", true},
		{"no-node", nil, "The service", "docker1", "test01.4  New 40 seconds ago\n0/4 replicas run", true},
		{"uneven", nil, "The service", "docker1",
			"docker1 192.168.33.11 3\ndocker2 192.168.33.12 1\nthe replicas are not spread evenly: is a node drained, or was it away when they started?", true},
		{"all-on-one", nil, "The service", "docker1",
			"docker1 192.168.33.11 4\ndocker2 192.168.33.12 0\nthe replicas are not spread evenly: is a node drained, or was it away when they started?", true},
		{"peer-missing", nil, "The nodes know each other", "docker2",
			"peers: 192.168.33.12 \n192.168.33.11 is missing from the peers that docker2 sees: did that node join with --advertise-addr 192.168.33.11?", true},
		{"peer-nat", nil, "The nodes know each other", "docker1",
			"peers: 192.168.33.11 10.0.2.15 \n192.168.33.12 is missing from the peers that docker1 sees: did that node join with --advertise-addr 192.168.33.12?", true},
		{"not-known", nil, "The nodes know each other", "docker2",
			"docker2 knows of 2 replicas, there are 4: can it reach the others by port 7946?", true},
		{"no-door", nil, "The nodes know each other", "docker2",
			"docker2 has no address in the ingress network: it does not take part in load balancing", true},
		{"one-answers", nil, "The requests", "docker1",
			"192.168.33.12: test01.1 on docker2 answered none of 8 requests\n" +
				"192.168.33.12: test01.2 on docker1 answered 8 of 8 requests, its share is 2\n" +
				"192.168.33.12: test01.3 on docker2 answered none of 8 requests\n" +
				"192.168.33.12: test01.4 on docker1 answered none of 8 requests", true},
		{"one-silent", nil, "The requests", "docker1",
			"192.168.33.11: test01.1 on docker2 answered 4 of 8 requests, its share is 2\n" +
				"192.168.33.11: test01.4 on docker1 answered none of 8 requests\n" +
				"192.168.33.12: test01.1 on docker2 answered 4 of 8 requests, its share is 2\n" +
				"192.168.33.12: test01.4 on docker1 answered none of 8 requests", true},
		{"greedy", nil, "The requests", "docker1",
			"192.168.33.12    test01.4         docker1          1\n" +
				"192.168.33.12: test01.1 on docker2 answered 4 of 8 requests, its share is 2", true},
		{"log-late", nil, "The requests", "docker1", "192.168.33.12: 5 of 8 requests are in the logs", true},
		{"logs-fail", nil, "The requests", "docker1",
			"Error response from daemon: rpc error: code = Unknown desc = warning: incomplete log stream", true},
	}
	for _, tt := range tests {
		t.Run(tt.variant, func(t *testing.T) {
			t.Parallel()
			res, calls := runLB(t, tt.variant, tt.set)
			if res.Failure == nil {
				t.Fatal("it passed")
			}
			f := res.Failure
			if f.Chapter != tt.chapter || f.Node != tt.node {
				t.Errorf("failed in %q on %s, want %q on %s", f.Chapter, f.Node, tt.chapter, tt.node)
			}
			if !strings.HasSuffix(f.Output, tt.output) {
				t.Errorf("output:\n%s\nwant it to end with:\n%s", f.Output, tt.output)
			}
			if got := strings.Contains(calls, "docker service rm"); got != tt.cleaned {
				t.Errorf("service removed: %t, want %t", got, tt.cleaned)
			}
			if len(res.CleanupFailures) > 0 {
				t.Error(res.CleanupFailures[0].Answers())
			}
		})
	}
}

// A network that is already gone is no failure of the cleanup.
func TestLBCleansUpWhatIsGone(t *testing.T) {
	res, _ := runLB(t, "network-gone", nil)
	if !res.Passed {
		t.Fatal(res.Failure.Answers())
	}
}
