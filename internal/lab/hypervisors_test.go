package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/config"
	"labctl/internal/engine"
	"labctl/internal/remote"
)

const two = "qemu+ssh://two/system"

// twoHosts is a lab with docker1 here and docker2 on another host.
func twoHosts() *config.Lab {
	l := testLab(1, 1)
	l.Provider = config.Libvirt
	l.Nodes[0].Bridge, l.Nodes[1].Bridge, l.Nodes[1].URI = "br0", "br0", two
	return l
}

// byHost answers virsh for each hypervisor and notes what changes something.
type byHost struct {
	domains map[string]string
	removed []string
}

func (b *byHost) Run(_ context.Context, c remote.Command) (remote.Result, error) {
	uri, line := c.Argv[2], strings.Join(c.Argv[3:], " ")
	switch c.Argv[3] {
	case "list":
		return remote.Result{Stdout: b.domains[uri]}, nil
	case "net-list":
		return remote.Result{Stdout: "lab-mgmt\n"}, nil
	case "vol-list":
		return remote.Result{Stdout: "lab_docker2.img /x\n"}, nil
	case "desc":
		return remote.Result{Stdout: "labctl lab lab 0\n"}, nil
	}
	b.removed = append(b.removed, uri+" "+line)
	return remote.Result{}, nil
}

// Both hosts are cleared of what is the lab's there, and of no more: what has
// the name of a node on the host where that node is not stays.
func TestTwoHypervisors(t *testing.T) {
	host := &byHost{domains: map[string]string{config.LocalHypervisor: "lab_docker2\n"}}
	e := &Env{Lab: twoHosts(), Dir: t.TempDir(), Host: host, State: &State{Booting: []string{"docker1", "docker2"}}, Choice: engine.Choice{Provider: config.Libvirt}}
	if err := e.clearLeftovers(t.Context(), []string{"docker1", "docker2"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{two + " vol-delete lab_docker2.img default"}, host.removed); diff != "" {
		t.Error(diff)
	}
	host.domains, host.removed = nil, nil
	if _, err := removeNetworks(t.Context(), e, func(string) {}); err != nil {
		t.Fatal(err)
	}
	want := []string{"qemu:///system net-destroy lab-mgmt", "qemu:///system net-undefine lab-mgmt", two + " net-destroy lab-mgmt", two + " net-undefine lab-mgmt"}
	if diff := cmp.Diff(want, host.removed); diff != "" {
		t.Error(diff)
	}
	d, err := e.Doom(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := ""
	for _, i := range d.Items {
		all += i.String() + "\n"
	}
	for _, want := range []string{"volume lab_docker2.img: on " + two + "\n", "network lab-mgmt\n", "network lab-mgmt: on " + two + "\n"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in\n%s", want, all)
		}
	}
	if strings.Count(all, "volume") != 1 {
		t.Errorf("a volume with the name of another host's node would go:\n%s", all)
	}
}

// A VM is looked for where it was made, whatever lab.toml says by now.
func TestHypervisorAsMade(t *testing.T) {
	l := twoHosts()
	e := &Env{Lab: l, Dir: t.TempDir(), State: &State{Nodes: madeLab(l)}}
	text, err := json.Marshal(e.State)
	if err != nil {
		t.Fatal(err)
	}
	e.State = &State{}
	if err := json.Unmarshal(text, e.State); err != nil {
		t.Fatal(err)
	}
	now := testLab(1, 1)
	e.Lab = now
	if got := e.hypervisor("docker2"); got != two {
		t.Errorf("docker2 is looked for on %s", got)
	}
	if got := e.hypervisor("docker1"); got != config.LocalHypervisor {
		t.Errorf("docker1 is looked for on %s", got)
	}
	e.State = &State{}
	e.Lab = twoHosts()
	if got := e.hypervisor("docker2"); got != two {
		t.Errorf("a new docker2 goes to %s", got)
	}
}

func TestOutside(t *testing.T) {
	subnets := []netip.Prefix{netip.MustParsePrefix("192.168.33.0/24"), netip.MustParsePrefix("192.168.34.0/24")}
	for from, want := range map[string]string{
		"10.99.0.1": "[10.99.0.1/32]", "192.168.34.1": "[]", "192.168.33.1": "[]", "127.0.0.1": "[]",
	} {
		if got := fmt.Sprint(outside(netip.MustParseAddr(from), subnets)); got != want {
			t.Errorf("asked from %s, the nodes get %s, want %s", from, got, want)
		}
	}
	if got := outside(netip.Addr{}, subnets); got != nil {
		t.Errorf("without a way they get %v", got)
	}
	if got := sourceToward(netip.MustParseAddr("127.66.0.2")); !got.IsLoopback() {
		t.Errorf("loopback is asked from %v", got)
	}
}

func TestCheckReach(t *testing.T) {
	l := twoHosts()
	e := &Env{Lab: l, State: &State{}, Choice: engine.Choice{Provider: config.Libvirt}}
	// Of this machine's own VMs nothing is asked: the address is nobody's.
	l.Nodes[0].IP = netip.MustParseAddr("127.66.0.1")
	l.Nodes[1].IP = netip.MustParseAddr("127.66.0.2")
	err := e.CheckReach(t.Context())
	var out *OutOfReachError
	if !errors.As(err, &out) || out.Node != "docker2" {
		t.Fatalf("error %v", err)
	}
	const want = "docker2: 127.66.0.2 cannot be reached from this machine, and what runs on the host here would ask the nodes: "
	const hint = "its VM runs on qemu+ssh://two/system: give this machine a route or a card in the lab's network (bridge in lab.toml), or run labctl on that host"
	if !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "docker1") || out.Hint() != hint {
		t.Errorf("error %v, hint %s", err, out.Hint())
	}
	if listener, err := net.Listen("tcp", "127.66.0.2:22"); err == nil { // root may
		defer func() { _ = listener.Close() }()
		if err := e.CheckReach(t.Context()); err != nil {
			t.Error(err)
		}
	}
	e.Choice.Provider = config.VirtualBox
	if err := e.CheckReach(t.Context()); err != nil {
		t.Errorf("VirtualBox: %v", err)
	}
}
