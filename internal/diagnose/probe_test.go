package diagnose

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"labctl/internal/remote"

	"github.com/google/go-cmp/cmp"
)

// fakePerl plays probe.pl: it says lines when the word to go comes, and ends
// when its input does, or, with gives up, at once.
type fakePerl struct {
	argv    []string
	early   []string // said before "ready"
	lines   []string
	mute    bool // never ready
	exit    int
	word    string // that it got to go
	stopped bool   // whether it waited for the end of its input
	giveUp  bool
	late    string // said after 1.3 s, unless the input ends before
}

func (p *fakePerl) Run(_ context.Context, c remote.Command) (remote.Result, error) {
	p.argv = c.Argv
	res := remote.Result{Argv: c.Argv, ExitCode: p.exit, Stderr: "sudo: a password is required\n"}
	if p.exit != 0 {
		return res, nil
	}
	in := bufio.NewReader(c.Stdin)
	say := func(lines ...string) {
		for _, l := range lines {
			// In pieces, as a network delivers.
			_, _ = io.WriteString(c.Stdout, l[:1])
			_, _ = io.WriteString(c.Stdout, l[1:]+"\n")
		}
	}
	say(p.early...)
	if !p.mute {
		say("ready")
	}
	word, err := in.ReadString('\n')
	if err != nil {
		return res, nil
	}
	p.word = word
	say(p.lines...)
	if !p.giveUp {
		stopped := make(chan bool, 1)
		go func() {
			_, err := in.ReadByte()
			stopped <- err == io.EOF
		}()
		if p.late != "" {
			select {
			case <-time.After(1300 * time.Millisecond):
				say(p.late)
			case p.stopped = <-stopped:
				stopped <- p.stopped
			}
		}
		p.stopped = <-stopped
	}
	say("end")
	return res, nil
}

func try(t *testing.T, one, two *fakePerl) (Facts, []string) {
	t.Helper()
	l := lab(t)
	tr := newTries([]Target{{Node: l.Nodes[0], Runner: one}, {Node: l.Nodes[1], Runner: two}}, 4790)
	tr.ready, tr.within, tr.bulk = 300*time.Millisecond, time.Second, time.Second
	f := Facts{Nodes: []Node{{Name: "docker1"}, {Name: "docker2"}}}
	tr.run(t.Context())
	tr.tell(&f)
	return f, []string{f.Nodes[0].ProbeError, f.Nodes[1].ProbeError}
}

const (
	ip1 = "192.168.33.11"
	ip2 = "192.168.33.12"
)

func soundPair() (one, two *fakePerl) {
	one = &fakePerl{early: []string{"listens 7946", "listens 2377", "listens 7946", "sandbox 10.0.0.2", "asks 192.168.121.1"},
		lines: []string{"tcp " + ip2 + " 7946 open", "echo " + ip2, "udp " + ip2 + " 7946", "udp " + ip2 + " 7947", "udp " + ip2 + " 4790",
			"mtu " + ip2 + " 1500", "large " + ip2 + " 100", "large " + ip2 + " 1500", "overmtu " + ip2 + " 1450", "over " + ip2 + " 1450", "bulk " + ip2, "dns 192.168.121.1"}}
	two = &fakePerl{early: []string{"listens 7946", "sandbox 10.0.0.3"},
		lines: []string{"tcp " + ip1 + " 7946 open", "tcp " + ip1 + " 2377 open", "echo " + ip1, "gossip " + ip1, "udp " + ip1 + " 7946", "udp " + ip1 + " 7947", "udp " + ip1 + " 4790",
			"mtu " + ip1 + " 1500", "large " + ip1 + " 1500", "overmtu " + ip1 + " 1450", "over " + ip1 + " 1450", "bulk " + ip1}}
	return one, two
}

func TestProbesOfASoundLab(t *testing.T) {
	one, two := soundPair()
	f, errs := try(t, one, two)
	if diff := cmp.Diff([]string{"", ""}, errs); diff != "" {
		t.Fatal(diff)
	}
	over := &OverlayProbe{MTU: 1450, Large: 1450, Bulk: true}
	want := []Probe{
		{From: "docker1", To: "docker2", Echo: true, Marked: true, Gossip: true, MTU: 1500, Large: 1500, Overlay: over,
			Ports: map[string]string{"7946/tcp": Open, "7946/udp": Arrived, "4790/udp": Arrived}},
		{From: "docker2", To: "docker1", Echo: true, Marked: true, MTU: 1500, Large: 1500, Overlay: over,
			Ports: map[string]string{"7946/tcp": Open, "2377/tcp": Open, "7946/udp": Arrived, "4790/udp": Arrived}},
	}
	if diff := cmp.Diff(want, f.Probes); diff != "" {
		t.Errorf("probes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([][]uint16{{2377, 7946}, {7946}}, [][]uint16{f.Nodes[0].Listens, f.Nodes[1].Listens}); diff != "" {
		t.Errorf("listens (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]bool{"192.168.121.1": true}, f.Nodes[0].DNS); diff != "" {
		t.Errorf("name servers (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"go " + ip2 + "=10.0.0.3\n", "go " + ip1 + "=10.0.0.2\n"}, []string{one.word, two.word}); diff != "" {
		t.Errorf("the word to go (-want +got):\n%s", diff)
	}
	// They were told that nothing is left to wait for.
	if !one.stopped || !two.stopped {
		t.Error("the nodes were not stopped")
	}
	mark := one.argv[6]
	if !strings.HasPrefix(mark, "labctl-probe-") {
		t.Errorf("mark %q", mark)
	}
	wantArgv := []string{"sudo", "-n", "perl", "-e", probeScript, "--", mark, "2", "4790", ip2 + ",7946"}
	if diff := cmp.Diff(wantArgv, one.argv); diff != "" {
		t.Errorf("argv (-want +got):\n%s", diff)
	}
	if got := two.argv[len(two.argv)-1]; got != ip1+",7946,2377" {
		t.Errorf("docker2 tries %q", got)
	}
}

// What does not come is known when the nodes have given up.
func TestProbesThatFail(t *testing.T) {
	one, two := soundPair()
	one.lines = []string{"tcp " + ip2 + " 7946 no route to host", "nonsense"}
	two.lines = []string{"tcp " + ip1 + " 7946 refused", "tcp " + ip1 + " 2377 unanswered"}
	one.giveUp, two.giveUp = true, true
	f, errs := try(t, one, two)
	if diff := cmp.Diff([]string{"", ""}, errs); diff != "" {
		t.Fatal(diff)
	}
	want := []Probe{
		{From: "docker1", To: "docker2", Overlay: &OverlayProbe{}, Ports: map[string]string{"7946/tcp": "no route to host", "7946/udp": Lost, "4790/udp": Lost}},
		{From: "docker2", To: "docker1", Overlay: &OverlayProbe{}, Ports: map[string]string{"7946/tcp": Refused, "2377/tcp": Unanswered, "7946/udp": Lost, "4790/udp": Lost}},
	}
	if diff := cmp.Diff(want, f.Probes); diff != "" {
		t.Errorf("probes (-want +got):\n%s", diff)
	}
}

// TCP is waited for longer than the rest, and the rest is not.
func TestBulkMayComeLate(t *testing.T) {
	for name, tt := range map[string]struct {
		lost string // what does not come at all
		want bool
	}{
		"nothing else is missing": {"", true},
		"more is missing":         {"udp " + ip1 + " 7946", false},
	} {
		t.Run(name, func(t *testing.T) {
			one, two := soundPair()
			late := "bulk " + ip1
			two.lines = slices.DeleteFunc(two.lines, func(l string) bool { return l == late || l == tt.lost })
			two.late = late
			f, _ := try(t, one, two)
			if got := f.Probes[0].Overlay.Bulk; got != tt.want || !one.stopped || !two.stopped {
				t.Errorf("bulk arrived: %v, want %v; stopped: %v, %v", got, tt.want, one.stopped, two.stopped)
			}
		})
	}
}

// A node that cannot try is no reason to wait for ever, and nothing is said
// of the ways from and to it.
func TestNodesThatCannotTry(t *testing.T) {
	for name, tt := range map[string]struct {
		two  *fakePerl
		want string
	}{
		"no sudo":   {&fakePerl{exit: 1}, "sudo perl: exit code 1: sudo: a password is required"},
		"too slow":  {&fakePerl{mute: true}, "docker2 was not ready within 300ms"},
		"too early": {&fakePerl{mute: true, giveUp: true}, "docker2 was not ready within 300ms"},
	} {
		t.Run(name, func(t *testing.T) {
			one, _ := soundPair()
			one.giveUp = true
			f, errs := try(t, one, tt.two)
			if diff := cmp.Diff([]string{"", tt.want}, errs); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
			if f.Probes != nil {
				t.Errorf("probes %+v", f.Probes)
			}
		})
	}
}

// probe.pl itself, with two addresses in a network namespace of its own.
func TestProbeScript(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"perl", "unshare", "ip", "iptables"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	run := func(t *testing.T, setup string) []string {
		t.Helper()
		script := "set -eu\nip link set lo up\nip addr add 192.168.33.11/24 dev lo\nip addr add 192.168.33.12/24 dev lo\n" + setup +
			"\n{ echo go; sleep 3; } | perl -e \"$PROBE\" -- mark-1 2 4789 192.168.33.12,7946,2377\n"
		cmd := exec.Command("unshare", "-n", "sh", "-c", script)
		cmd.Env = append(cmd.Environ(), "PROBE="+probeScript)
		out, err := cmd.CombinedOutput()
		if err != nil && strings.Contains(string(out), "unshare failed") {
			t.Skip(string(out))
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		var lines []string
		for line := range strings.Lines(string(out)) {
			// Of large packets and name servers another test tells.
			if f := strings.Fields(line); !slices.Contains([]string{"large", "mtu", "asks", "dns"}, f[0]) {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
		slices.Sort(lines)
		return lines
	}
	drop := func(rules ...string) (out string) {
		for _, r := range rules {
			out += fmt.Sprintf("iptables -A %s -j DROP\n", r)
		}
		return out
	}
	tests := []struct {
		name, setup string
		want        []string
	}{
		{"sound", "", []string{"echo 192.168.33.12", "end", "ready", "tcp 192.168.33.12 2377 refused", "tcp 192.168.33.12 7946 refused",
			"udp 192.168.33.11 4789", "udp 192.168.33.11 7946", "udp 192.168.33.11 7947"}},
		{"udp dropped at the target", drop("INPUT -p udp --dport 4789", "INPUT -p udp --dport 7946"),
			[]string{"echo 192.168.33.12", "end", "ready", "tcp 192.168.33.12 2377 refused", "tcp 192.168.33.12 7946 refused", "udp 192.168.33.11 7947"}},
		{"udp dropped at the source", drop("OUTPUT -p udp --dport 4789"),
			[]string{"echo 192.168.33.12", "end", "ready", "tcp 192.168.33.12 2377 refused", "tcp 192.168.33.12 7946 refused", "udp 192.168.33.11 7946", "udp 192.168.33.11 7947"}},
		{"tcp rejected", "iptables -A INPUT -p tcp --dport 2377 -j REJECT --reject-with icmp-host-prohibited\niptables -A INPUT -p tcp --dport 7946 -j REJECT --reject-with icmp-host-unreachable\n",
			[]string{"echo 192.168.33.12", "end", "ready", "tcp 192.168.33.12 2377 forbidden", "tcp 192.168.33.12 7946 no route to host",
				"udp 192.168.33.11 4789", "udp 192.168.33.11 7946", "udp 192.168.33.11 7947"}},
		{"tcp open, and nobody is called", `perl -MSocket -e 'socket(S,AF_INET,SOCK_STREAM,0);bind(S,sockaddr_in(2377,INADDR_ANY))||die;listen(S,5);alarm 5;
	accept(C,S);print "called\n"' &
until grep -q ':0949 00000000:0000 0A' /proc/net/tcp; do sleep 0.1; done
`, []string{"echo 192.168.33.12", "end", "listens 2377", "ready", "tcp 192.168.33.12 2377 open", "tcp 192.168.33.12 7946 refused",
			"udp 192.168.33.11 4789", "udp 192.168.33.11 7946", "udp 192.168.33.11 7947"}},
		{"the answer dropped", drop("INPUT -p tcp --sport 2377"),
			[]string{"echo 192.168.33.12", "end", "ready", "tcp 192.168.33.12 2377 unanswered", "tcp 192.168.33.12 7946 refused",
				"udp 192.168.33.11 4789", "udp 192.168.33.11 7946", "udp 192.168.33.11 7947"}},
		{"tcp dropped", drop("INPUT -p tcp --dport 2377", "INPUT -p icmp"),
			[]string{"end", "ready", "tcp 192.168.33.12 2377 unanswered", "tcp 192.168.33.12 7946 refused", "udp 192.168.33.11 4789", "udp 192.168.33.11 7946", "udp 192.168.33.11 7947"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, run(t, tt.setup)); diff != "" {
				t.Errorf("it says (-want +got):\n%s", diff)
			}
		})
	}
}

// probe.pl on two machines, each with a sandbox, in network namespaces: what
// is said of large packets and of the overlay.
func TestProbeScriptBetweenTwo(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"perl", "unshare", "nsenter", "ip", "mount"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	const script = `set -eu
mount -t tmpfs none /run
mkdir -p /run/docker/netns /run/netns
for n in a b sa sb; do ip netns add $n; done
ip link add e0 netns a type veth peer name e0 netns b
ip link add eth0 netns sa type veth peer name eth0 netns sb
ip -n a addr add 192.168.33.11/24 dev e0
ip -n b addr add 192.168.33.12/24 dev e0
ip -n sa addr add 10.0.0.2/24 dev eth0
ip -n sb addr add 10.0.0.3/24 dev eth0
for n in a b; do ip -n $n link set e0 up; done
for n in sa sb; do ip -n $n link set eth0 up mtu 1450; done
ROUNDS=3
eval "$SETUP"
probe() {
	unshare -m sh -c "touch /run/docker/netns/ingress_sbox; mount --bind /run/netns/$2 /run/docker/netns/ingress_sbox
		exec nsenter --net=/run/netns/$1 perl -e \"\$PROBE\" -- mark-1 $ROUNDS 4789 $3,7946"
}
{ sleep 1; echo "go 192.168.33.12=10.0.0.3"; sleep $((ROUNDS + 2)); } | probe a sa 192.168.33.12 >/run/a &
{ sleep 1; echo "go 192.168.33.11=10.0.0.2"; sleep $((ROUNDS + 2)); } | probe b sb 192.168.33.11 >/run/b &
wait
cat /run/b
`
	for name, tt := range map[string]struct {
		setup string
		want  []string
	}{
		"sound":          {"", []string{"sandbox 10.0.0.3", "mtu 192.168.33.11 1500", "overmtu 192.168.33.11 1450", "large 192.168.33.11 1500", "over 192.168.33.11 1450", "bulk 192.168.33.11"}},
		"service":        {"ip -n sa addr add 10.0.0.9/32 dev eth0; ip -n sb addr add 10.0.0.9/32 dev eth0", []string{"sandbox 10.0.0.3", "large 192.168.33.11 1500", "over 192.168.33.11 1450", "bulk 192.168.33.11"}},
		"narrow":         {"ip -n b link set e0 mtu 1300", []string{"mtu 192.168.33.11 1300", "large 192.168.33.11 1300", "over 192.168.33.11 1450", "bulk 192.168.33.11"}},
		"narrow overlay": {"ip -n sb link set eth0 mtu 1280", []string{"large 192.168.33.11 1500", "overmtu 192.168.33.11 1280", "over 192.168.33.11 1280"}},
		"late overlay":   {"ROUNDS=6\nip netns exec sa sysctl -qw net.ipv4.tcp_syn_linear_timeouts=0 2>/dev/null || :\nip -n sa neigh add 10.0.0.3 dev eth0 lladdr 02:00:00:00:00:01\n(sleep 4.5; ip -n sa neigh del 10.0.0.3 dev eth0) &", []string{"bulk 192.168.33.11"}},
		"dead overlay":   {"ip -n sa link set eth0 down", []string{"large 192.168.33.11 1500", "overmtu 192.168.33.11 1450"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command("unshare", "-n", "-m", "sh", "-c", script)
			cmd.Env = append(cmd.Environ(), "PROBE="+probeScript, "SETUP="+tt.setup)
			out, err := cmd.CombinedOutput()
			if err != nil && (strings.Contains(string(out), "unshare failed") || strings.Contains(string(out), "permission denied")) {
				t.Skip(string(out))
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			said := map[string]bool{}
			for line := range strings.Lines(string(out)) {
				said[strings.TrimSpace(line)] = true
			}
			for _, want := range tt.want {
				if !said[want] {
					t.Errorf("it does not say %q:\n%s", want, out)
				}
			}
			for _, never := range []string{"large 192.168.33.11 1500", "over 192.168.33.11 1450", "bulk 192.168.33.11"} {
				if said[never] && !slices.Contains(tt.want, never) && name != "late overlay" && !(name == "narrow overlay" && never == "bulk 192.168.33.11") {
					t.Errorf("it says %q:\n%s", never, out)
				}
			}
		})
	}
}
