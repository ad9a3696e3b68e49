package lab

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/config"
	"labctl/internal/engine"
	"labctl/internal/remote"
)

// virsh is a host on which virsh knows these domains, with their titles, and
// volumes. It remembers what it was told to remove.
type virsh struct {
	domains map[string]string
	volumes []string
	cards   map[string]int // of a domain, 2 if it is not named
	noPool  bool
	removed []string
}

func (v *virsh) Run(_ context.Context, c remote.Command) (remote.Result, error) {
	line := strings.TrimPrefix(strings.Join(c.Argv, " "), "virsh -c qemu:///system ")
	ok := func(out string) (remote.Result, error) { return remote.Result{Argv: c.Argv, Stdout: out}, nil }
	words := strings.Fields(line)
	switch words[0] {
	case "list":
		var names []string
		for name := range v.domains {
			names = append(names, name)
		}
		slices.Sort(names)
		return ok(strings.Join(names, "\n") + "\n\n")
	case "desc":
		return ok(v.domains[words[1]] + "\n")
	case "domiflist":
		n, ok := v.cards[words[1]]
		if !ok {
			n = 2
		}
		out := " Interface   Type      Source     Model    MAC\n-----------------------------------------------------------\n"
		for range n {
			out += " vnet0       network   lab-mgmt   virtio   52:54:00:0a:0b:0c\n"
		}
		return remote.Result{Argv: c.Argv, Stdout: out + "\n"}, nil
	case "vol-list":
		if v.noPool {
			return remote.Result{Argv: c.Argv, ExitCode: 1, Stderr: "error: failed to get pool 'default'\n"}, nil
		}
		out := " Name                 Path\n---------------------------------------------------------\n"
		for _, name := range v.volumes {
			out += " " + name + "   /var/lib/libvirt/images/" + name + "\n"
		}
		return ok(out + "\n")
	}
	v.removed = append(v.removed, line)
	if words[0] == "destroy" { // it is off
		return remote.Result{Argv: c.Argv, ExitCode: 1, Stderr: "error: Requested operation is not valid: domain is not running\n"}, nil
	}
	return ok("")
}

func TestClearLeftovers(t *testing.T) {
	const mark = "labctl lab lab"
	gone := func(name string) []string {
		return []string{"destroy " + name, "undefine " + name + " --remove-all-storage --nvram"}
	}
	for _, tt := range []struct {
		name     string
		provider config.Provider // "": libvirt
		host     virsh
		known    []string // by Vagrant
		booting  []string
		force    bool
		want     []string
		err      string
		hint     string
	}{
		{name: "nothing", host: virsh{noPool: true}},
		{name: "half made", host: virsh{domains: map[string]string{"lab_docker1": mark, "lab_docker2": mark}, noPool: true},
			booting: []string{"docker1", "docker2"}, want: slices.Concat(gone("lab_docker1"), gone("lab_docker2"))},
		{name: "Vagrant knows it", host: virsh{domains: map[string]string{"lab_docker1": mark}, volumes: []string{"lab_docker1.img"}},
			known: []string{"docker1"}, booting: []string{"docker1"}, force: true},
		{name: "without its cards", host: virsh{domains: map[string]string{"lab_docker1": mark, "lab_docker2": mark}, cards: map[string]int{"lab_docker1": 0, "lab_docker2": 1}, noPool: true},
			known: []string{"docker1", "docker2"}, booting: []string{"docker1", "docker2"}, want: slices.Concat(gone("lab_docker1"), gone("lab_docker2"))},
		{name: "a person's, with one card", host: virsh{domains: map[string]string{"lab_docker1": mark}, cards: map[string]int{"lab_docker1": 1}},
			known: []string{"docker1"}},
		{name: "a person's", host: virsh{domains: map[string]string{"lab_docker1": mark, "lab_docker2": mark}},
			booting: []string{"docker2"}, want: gone("lab_docker2"),
			err:  "Vagrant does not know these VMs of this lab: lab_docker1",
			hint: "was .labctl/.vagrant deleted? `labctl create --force` removes these VMs with their disks and makes them anew"},
		{name: "with consent", host: virsh{domains: map[string]string{"lab_docker1": mark}, noPool: true}, force: true, want: gone("lab_docker1")},
		{name: "another's title", host: virsh{domains: map[string]string{"lab_docker1": "my own VM"}}, force: true, booting: []string{"docker1"},
			err: `VM lab_docker1 is not this lab's: its title is "my own VM", not "labctl lab lab"; rename the lab in lab.toml, or remove that VM by hand`},
		{name: "the same name in another folder", host: virsh{domains: map[string]string{"lab_docker1": mark + " 00000000"}}, force: true,
			err: `VM lab_docker1 is not this lab's: its title is "labctl lab lab 00000000", not "labctl lab lab"; rename the lab in lab.toml, or remove that VM by hand`},
		{name: "no title", host: virsh{domains: map[string]string{"lab_docker1": ""}}, force: true,
			err: `VM lab_docker1 is not this lab's: its title is "", not "labctl lab lab"; rename the lab in lab.toml, or remove that VM by hand`},
		{name: "another lab's", host: virsh{domains: map[string]string{"lab2_docker1": "labctl lab lab2", "docker1": "x"}, noPool: true}, force: true},
		{name: "half a volume", host: virsh{volumes: []string{"lab_docker2.img", "base.img"}}, booting: []string{"docker2"},
			want: []string{"vol-delete lab_docker2.img default"}},
		{name: "a person's volume", host: virsh{volumes: []string{"lab_docker1.img"}},
			err: "volume lab_docker1.img is left from an earlier lab of this name; `labctl create --force` removes it"},
		{name: "a volume with consent", host: virsh{volumes: []string{"lab_docker1.img"}}, force: true, want: []string{"vol-delete lab_docker1.img default"}},
		{name: "VirtualBox", provider: config.VirtualBox, host: virsh{domains: map[string]string{"lab_docker1": mark}}, force: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.provider == "" {
				tt.provider = config.Libvirt
			}
			e := &Env{Lab: testLab(1, 1), Dir: t.TempDir(), Host: &tt.host, Force: tt.force, State: &State{Booting: tt.booting}, Choice: engine.Choice{Provider: tt.provider}}
			for domain, title := range tt.host.domains {
				if title == mark {
					tt.host.domains[domain] = e.mark()
				}
			}
			tt.err = strings.ReplaceAll(tt.err, strconv.Quote(mark), strconv.Quote(e.mark()))
			for _, n := range tt.known {
				id := filepath.Join(e.StateDir(), ".vagrant", "machines", n, "libvirt", "id")
				if err := os.MkdirAll(filepath.Dir(id), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(id, []byte("x"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			err := e.clearLeftovers(t.Context(), []string{"docker1", "docker2"})
			message, hint := "", ""
			if err != nil {
				message = err.Error()
			}
			var h interface{ Hint() string }
			if errors.As(err, &h) {
				hint = h.Hint()
			}
			if diff := cmp.Diff([]string{tt.err, tt.hint}, []string{message, hint}); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tt.want, tt.host.removed); diff != "" {
				t.Errorf("removed: %s", diff)
			}
			for _, n := range tt.known { // a VM that is gone is no longer known
				if removed := slices.Contains(tt.host.removed, gone("lab_" + n)[1]); removed == e.vagrantKnows(n) {
					t.Errorf("%s: removed %v, known %v", n, removed, e.vagrantKnows(n))
				}
			}
		})
	}
}

// Destroy ends in a folder whose VMs could never be made, since another
// folder's lab has their name: that one's VM and disk stay, ours go.
func TestDestroySparesAnotherFolder(t *testing.T) {
	dir := t.TempDir()
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "vagrant"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	e := &Env{Lab: testLab(1, 1), Dir: dir, State: &State{}, Choice: engine.Choice{Provider: config.Libvirt}}
	host := &virsh{
		domains: map[string]string{"lab_docker1": "labctl lab lab 00000000", "lab_docker2": e.mark()},
		volumes: []string{"lab_docker1.img"},
	}
	e.Host = host
	if err := os.MkdirAll(e.StateDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(e.StateDir(), "Vagrantfile"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	changed, err := destroyVMs(t.Context(), e, func(string) {})
	if err != nil || !changed {
		t.Errorf("changed %v, error %v", changed, err)
	}
	if diff := cmp.Diff([]string{"destroy lab_docker2", "undefine lab_docker2 --remove-all-storage --nvram"}, host.removed); diff != "" {
		t.Errorf("removed: %s", diff)
	}
}

func TestSubnetFree(t *testing.T) {
	at := func(name, addr string) use { return use{Interface: name, Addr: netip.MustParsePrefix(addr)} }
	route := func(name, to string) use {
		return use{Interface: name, Addr: netip.MustParsePrefix(to), Route: true}
	}
	for _, tt := range []struct {
		use  use
		want string
	}{
		{at("lo", "127.0.0.1/8"), ""},
		{at("eth0", "192.168.34.7/24"), ""},
		{at("eth0", "fe80::1/64"), ""},
		{at("eth0", "192.168.33.7/24"), "the lab's subnet 192.168.33.0/24 overlaps 192.168.33.7/24 of the host's interface eth0"},
		{at("eth0", "192.168.33.200/32"), "the lab's subnet 192.168.33.0/24 overlaps 192.168.33.200/32 of the host's interface eth0"},
		{at("wlan0", "192.168.1.7/16"), "the lab's subnet 192.168.33.0/24 overlaps 192.168.1.7/16 of the host's interface wlan0"},
		// The lab's own, perhaps left from an earlier one, and what only looks so.
		{at("vboxnet0", "192.168.33.1/24"), ""},
		{at("virbr1", "192.168.33.1/24"), ""},
		{at("vboxnet0", "192.168.33.1/16"), "the lab's subnet 192.168.33.0/24 overlaps 192.168.33.1/16 of the host's interface vboxnet0"},
		{at("virbr0", "192.168.33.129/25"), "the lab's subnet 192.168.33.0/24 overlaps 192.168.33.129/25 of the host's interface virbr0"},
		{route("tun0", "192.168.33.0/24"), "the lab's subnet 192.168.33.0/24 overlaps the host's route to 192.168.33.0/24 through the interface tun0"},
		{route("tun0", "192.168.33.64/26"), "the lab's subnet 192.168.33.0/24 overlaps the host's route to 192.168.33.64/26 through the interface tun0"},
		{route("tun0", "192.168.0.0/16"), ""},
		{route("virbr1", "192.168.33.0/24"), ""},
	} {
		err := subnetFree(netip.MustParsePrefix("192.168.33.0/24"), []use{at("lo", "127.0.0.1/8"), tt.use})
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%+v:\ngot  %q\nwant %q", tt.use, got, tt.want)
		}
	}
}

func TestRoutes(t *testing.T) {
	table := "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n" +
		"eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n" +
		"tun0\t0021A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n" +
		"garbage\n"
	want := []use{{Interface: "tun0", Addr: netip.MustParsePrefix("192.168.33.0/24"), Route: true}}
	if diff := cmp.Diff(want, routes(table), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

// Once VMs are made, the subnet is on the host because of them, on whatever
// interface the provider has put it (bridge100 on macOS).
func TestBooted(t *testing.T) {
	e := &Env{Dir: t.TempDir(), State: &State{}}
	if e.booted() {
		t.Error("an empty folder")
	}
	e.State.Booting = []string{"docker1"}
	if !e.booted() {
		t.Error("while booting")
	}
	e.State.Booting = nil
	if err := os.MkdirAll(filepath.Join(e.StateDir(), ".vagrant", "machines", "docker1", "virtualbox", "id"), 0o755); err != nil {
		t.Fatal(err)
	}
	if !e.booted() {
		t.Error("with a machine")
	}
}

func TestRemoveNetworks(t *testing.T) {
	host := &networks{all: "default\nlab-lab\nlab-mgmt\nlab2-lab\n", active: "default\nlab-lab\n"}
	e := &Env{Lab: testLab(1, 1), Host: host}
	changed, err := removeNetworks(t.Context(), e, func(string) {})
	if err != nil || !changed {
		t.Errorf("%v, %v", changed, err)
	}
	if diff := cmp.Diff([]string{"net-destroy lab-lab", "net-undefine lab-lab", "net-undefine lab-mgmt"}, host.removed); diff != "" {
		t.Error(diff)
	}
	host = &networks{all: "default\n"}
	if changed, err := removeNetworks(t.Context(), &Env{Lab: testLab(1, 1), Host: host}, func(string) {}); err != nil || changed || host.removed != nil {
		t.Errorf("%v, %v, %v", changed, err, host.removed)
	}
}

// A lab of the same name in another folder still uses them.
func TestRemoveNetworksInUse(t *testing.T) {
	host := &networks{domains: "lab_docker1\n", all: "lab-lab\nlab-mgmt\n", active: "lab-lab\n"}
	said := ""
	changed, err := removeNetworks(t.Context(), &Env{Lab: testLab(1, 1), Host: host}, func(s string) { said = s })
	if err != nil || changed || host.removed != nil || said != "kept: a lab of the same name in another folder uses them" {
		t.Errorf("%v, %v, removed %q, said %q", changed, err, host.removed, said)
	}
}

type networks struct {
	domains     string
	all, active string
	removed     []string
}

func (n *networks) Run(_ context.Context, c remote.Command) (remote.Result, error) {
	line := strings.TrimPrefix(strings.Join(c.Argv, " "), "virsh -c qemu:///system ")
	switch line {
	case "list --all --name":
		return remote.Result{Stdout: n.domains + "\n"}, nil
	case "net-list --all --name":
		return remote.Result{Stdout: n.all + "\n"}, nil
	case "net-list --name":
		return remote.Result{Stdout: n.active + "\n"}, nil
	}
	n.removed = append(n.removed, line)
	return remote.Result{}, nil
}
