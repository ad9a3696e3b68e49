package diagnose

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/config"
	"labctl/internal/remote"
)

// containersRoom plays three containers: a name server that knows the name, one
// that knows none, and none at all. Its output names the first processes.
const containersRoom = `set -eu
server='my ($code, $count) = @ARGV; use Socket;
	socket(S, AF_INET, SOCK_DGRAM, 17) && bind(S, sockaddr_in(53, inet_aton("127.0.0.11"))) or die; alarm 20;
	while (my $from = recv(S, my $p, 512, 0)) {
		die unless substr($p, 12) eq "\5tasks\3web\0\0\1\0\1";
		send(S, substr($p, 0, 2) . pack("nnnnn", 0x8180 | $code, 1, $count, 0, 0) . substr($p, 12), 0, $from) }'
room() { unshare -n sh -c 'ip link set lo up; exec "$@"' - "$@" & }
room perl -e "$server" 0 3; knows=$!
room perl -e "$server" 3 0; unknown=$!
room sleep 20; silent=$!
trap 'kill $knows $unknown $silent' EXIT
echo "knows $knows"; echo "unknown $unknown"; echo "silent $silent"
sleep 1
perl -e "$SCRIPT" -- $knows,tasks.web $unknown,tasks.web $silent,tasks.web $$,tasks.web 999999999,tasks.web`

func TestContainersScript(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"perl", "unshare", "ip"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(tool + " is not installed")
		}
	}
	cmd := exec.Command("unshare", "-n", "sh", "-c", containersRoom)
	cmd.Env = append(os.Environ(), "SCRIPT="+containersScript)
	out, err := cmd.CombinedOutput()
	if err != nil {
		if strings.Contains(string(out), "unshare failed") {
			t.Skip("no network namespaces: ", strings.TrimSpace(string(out)))
		}
		t.Fatalf("%v\n%s", err, out)
	}
	var who []string // "PID" to what it plays
	var got []string
	for line := range strings.Lines(string(out)) {
		w := strings.Fields(line)
		if len(who) < 6 {
			who = append(who, w[1], w[0])
			continue
		}
		got = append(got, strings.NewReplacer(who...).Replace(strings.TrimSpace(line)))
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{"knows 0 3", "silent silent", "unknown 3 0"}, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
}

// answers plays a node that says how the look-ups went.
type answers struct{ argv, out string }

func (a *answers) Run(_ context.Context, c remote.Command) (remote.Result, error) {
	a.argv = strings.Join(c.Argv[6:], " ")
	return remote.Result{Argv: c.Argv, Stdout: a.out}, nil
}

// One container of each service of a node is asked, if its task has been
// running for some time.
func TestLookup(t *testing.T) {
	f := recorded(t, "healthy-service")
	for i := range f.Swarm.Tasks {
		f.Swarm.Tasks[i].PID, f.Swarm.Tasks[i].Container = 4000+i, "0123456789ab"
	}
	l := lab(t)
	one, two := &answers{}, &answers{}
	var targets []Target
	for i, a := range []*answers{one, two} {
		targets = append(targets, Target{Node: config.Node{Name: l.Nodes[i].Name}, Runner: a})
	}
	mine := func(node int) int {
		return 4000 + slices.IndexFunc(f.Swarm.Tasks, func(k Task) bool { return k.Node == f.Nodes[node].Member.NodeID })
	}
	one.out, two.out = "4000 0 2\n4001 0 2\nnonsense\n7 silent\n", "4000 silent\n4001 silent\n4002 silent\n"
	lookup(t.Context(), &f, targets)
	for i, a := range []*answers{one, two} {
		if want := strconv.Itoa(mine(i)) + ",tasks.test01"; a.argv != want {
			t.Errorf("%s is asked %q, want %q", f.Nodes[i].Name, a.argv, want)
		}
	}
	if len(f.Nodes[0].Lookups) != 1 || f.Nodes[0].Lookups[0].Addrs != 2 || len(f.Nodes[1].Lookups) != 1 || !f.Nodes[1].Lookups[0].Silent {
		t.Errorf("%+v, %+v", f.Nodes[0].Lookups, f.Nodes[1].Lookups)
	}
	f.Swarm.Now = f.Swarm.Tasks[0].Since.Add(calm - time.Second)
	if got := f.Swarm.inside(&f.Nodes[0]); len(got) != 0 {
		t.Errorf("just begun, and asked: %+v", got)
	}
}

func TestJudgeLookups(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Facts)
		want   string // the cause; "" for no finding
		remedy string
		fix    bool
	}{
		{"all is known", func(f *Facts) { f.Nodes[1].Lookups = []Lookup{{Addrs: len(f.Swarm.Tasks)}} }, "", "", false},
		{"silent", func(f *Facts) { f.Nodes[1].Lookups = []Lookup{{Silent: true}} },
			"Docker's own name server, 127.0.0.11, cannot be reached from inside: the firewall rules in the container that lead to it are gone, or others are in the way",
			"labctl exec docker2 -- docker rm -f 0123456789ab", false},
		{"silent in all", func(f *Facts) { f.Nodes[1].Lookups = []Lookup{{Silent: true}, {Silent: true}} },
			"Docker's own name server, 127.0.0.11, does not answer in the containers of docker2", "labctl exec docker2 -- sudo systemctl restart docker", true},
		{"not known", func(f *Facts) { f.Nodes[1].Lookups = []Lookup{{Code: 3}} },
			"the engine of docker2 has lost the names of the swarm's tasks", "labctl exec docker2 -- sudo systemctl restart docker", true},
		{"not all are known", func(f *Facts) { f.Nodes[1].Lookups = []Lookup{{Addrs: 1}} },
			"the engine of docker2 has not heard of all tasks, though the ports between the nodes are open", "labctl exec docker2 -- sudo systemctl restart docker", true},
		{"not all have run for long", func(f *Facts) {
			f.Nodes[1].Lookups = []Lookup{{Addrs: 1}}
			for i := range f.Swarm.Tasks[1:] {
				f.Swarm.Tasks[1+i].Since = f.Swarm.Now
			}
		}, "", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := recorded(t, "healthy-service")
			tt.change(&f)
			for i := range f.Nodes[1].Lookups {
				l := &f.Nodes[1].Lookups[i]
				l.Service, l.Container, l.Name = f.Swarm.Services[0].ID, "0123456789ab", "tasks.test01"
			}
			found := Judge(f)
			if tt.want == "" {
				if found != nil {
					t.Errorf("%+v", found)
				}
				return
			}
			if len(found) != 1 || found[0].ID != ContainerDNS || found[0].Cause != tt.want || found[0].Remedy != tt.remedy || found[0].Fix != nil != tt.fix {
				t.Errorf("%+v", found)
			}
		})
	}
}
