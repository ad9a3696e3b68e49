package doctor

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/config"
	"labctl/internal/engine"
	"labctl/internal/remote"
)

// host answers command lines from a list; what is not in it does not exist.
// "hang" hangs, deaf to its context.
type host struct {
	answers map[string]string
	release chan struct{} // ends what hangs

	mu    sync.Mutex
	asked []string
}

func (h *host) Run(_ context.Context, c remote.Command) (remote.Result, error) {
	line := strings.TrimPrefix(strings.Join(c.Argv, " "), "virsh -c qemu:///system ")
	h.mu.Lock()
	h.asked = append(h.asked, line)
	h.mu.Unlock()
	out, ok := h.answers[line]
	switch {
	case out == "hang":
		<-h.release
		return remote.Result{}, errors.New("ended")
	case !ok:
		return remote.Result{ExitCode: -1}, errors.New("executable file not found in $PATH")
	}
	return remote.Result{Argv: c.Argv, Stdout: out}, nil
}

func options(t *testing.T, p config.Provider, answers map[string]string) (Options, *host) {
	t.Helper()
	h := &host{answers: answers, release: make(chan struct{})}
	t.Cleanup(func() { close(h.release) })
	l := config.Default()
	l.Provider = p
	return Options{
		Lab: l, StateDir: filepath.Join(t.TempDir(), ".labctl"), Cache: t.TempDir(), Mark: "labctl lab lab 0123abcd",
		Choice: &engine.Choice{Provider: p, Reason: "it answers", Accel: config.AccelKVM},
		Host:   h, Root: fstest.MapFS{
			"proc/cpuinfo": {Data: []byte("processor\t: 0\nflags\t\t: fpu vmx sse\n")},
			"proc/meminfo": {Data: []byte("MemTotal:       16384000 kB\nMemFree: 1 kB\nMemAvailable:    8192000 kB\n")},
		},
		Env: func(string) string { return "" }, Look: func(string) (string, error) { return "/bin/x", nil },
		Ifaces: func() ([]net.Interface, error) {
			return []net.Interface{{Name: "eth0"}, {Name: "tun0", Flags: net.FlagPointToPoint}}, nil
		},
		Uses: func() ([]Use, error) {
			at := netip.MustParsePrefix
			return []Use{{Interface: "lo", Addr: at("127.0.0.1/8")}, {Interface: "eth0", Addr: at("10.1.2.3/24")}, {Interface: "tun0", Addr: at("10.8.0.0/16"), Route: true}}, nil
		},
		Now: func() time.Time { return time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC) },
	}, h
}

func TestGather(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("it is Linux that is asked")
	}
	o, h := options(t, config.Libvirt, map[string]string{
		"vagrant --version":          "Vagrant 2.3.4\n",
		"pool-list --all":            " Name      State      Autostart\n---------------------------------\n default   inactive   yes\n",
		"net-list --all":             " Name      State    Autostart   Persistent\n-------\n default   active   yes         yes\n",
		"net-list --all --name":      "default\nclass-lab\n",
		"net-dumpxml default":        "<network><ip address='192.168.122.1' netmask='255.255.255.0'/></network>",
		"net-dumpxml class-lab":      "<network><ip family='ipv6' address='fd00::1' prefix='64'/><ip address='192.168.33.1' netmask='255.255.255.0'/></network>",
		"list --all --name":          "class_docker1\nlab_docker1\n",
		"desc class_docker1 --title": "labctl lab class 00000000\n",
		"desc lab_docker1 --title":   "labctl lab lab 0123abcd\n",
		"vol-list default":           " Name   Path\n------\n lab_docker2.img   /x\n other.img   /y\n",
	})
	o.Root.(fstest.MapFS)["usr/share/vagrant-plugins/plugins.d/vagrant-libvirt.json"] = &fstest.MapFile{}
	o.Root.(fstest.MapFS)["usr/share/rubygems-integration/all/gems/vagrant-libvirt-0.11.2/LICENSE"] = &fstest.MapFile{}
	o.SubnetTaken = func() error { return hinted{errors.New("taken")} }
	f := Gather(t.Context(), o)
	if f.Missed != nil {
		t.Errorf("missed: %+v", f.Missed)
	}
	if f.CPUFlag != "vmx" || f.MemTotal != 16384000<<10 || f.MemFree != 8192000<<10 || f.Vagrant != (Vagrant{Installed: true, Version: "2.3.4", Plugin: PluginThere, PluginVersion: "0.11.2"}) {
		t.Errorf("%+v", f)
	}
	if diff := cmp.Diff(&OtherLab{Name: "class", Net: "class-lab", Subnet: o.Lab.Subnet}, f.OtherLab, samePrefix); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"VM lab_docker1", "volume lab_docker2.img"}, f.Leftovers); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Libvirt{Pool: "inactive", Networks: map[string]string{"default": "active"}}, f.Libvirt); diff != "" {
		t.Error(diff)
	}
	if f.SubnetTaken == nil || len(f.Uses) != 2 || f.Uses[0].Tunnel || !f.Uses[1].Tunnel {
		t.Errorf("taken %v, uses %+v", f.SubnetTaken, f.Uses)
	}
	if len(f.New) != 2 || len(f.Disks) == 0 || f.Disks[0].Free == 0 {
		t.Errorf("new %v, disks %+v", f.New, f.Disks)
	}
	for _, line := range h.asked {
		if strings.HasPrefix(line, "VBoxManage") || strings.HasPrefix(line, "qemu") {
			t.Errorf("asked for another provider: %s", line)
		}
	}
	// What the folder was tried with is gone.
	if left, _ := os.ReadDir(filepath.Dir(o.StateDir)); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

var samePrefix = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

// TestDeadline: whatever hangs, and be it deaf, the others' answers come, and
// what is missing says so.
func TestDeadline(t *testing.T) {
	o, _ := options(t, config.Libvirt, map[string]string{
		"vagrant --version": "hang", "vagrant plugin list": "hang", "pool-list --all": "hang", "net-list --all --name": "hang", "list --all --name": "hang",
	})
	o.Within = time.Second
	begin := time.Now()
	f := Gather(t.Context(), o)
	if took := time.Since(begin); took > o.Within {
		t.Errorf("it took %v", took)
	}
	want := []Missed{{"leftovers", "no answer within 1s"}, {"libvirt", "no answer within 1s"}, {"other labs", "no answer within 1s"}, {"vagrant", "no answer within 1s"}}
	if diff := cmp.Diff(want, f.Missed); diff != "" {
		t.Error(diff)
	}
	if runtime.GOOS == "linux" && f.MemTotal == 0 {
		t.Error("the quick ones' answers are lost")
	}
	for _, x := range Judge(f) {
		if x.Level == Problem {
			t.Errorf("what could not be asked is no problem: %s: %s", x.Check, x.Line())
		}
	}
}

// TestEmbeddedLeftovers: where the embedded engine runs its libvirt is asked,
// and only there.
func TestEmbeddedLeftovers(t *testing.T) {
	const in = "nsenter -t 42 -m -n virsh -c qemu:///system "
	o, h := options(t, config.Embedded, map[string]string{
		in + "list --all --name":        "lab_docker1\n",
		in + "desc lab_docker1 --title": "labctl lab lab 0123abcd\n",
		in + "vol-list default":         " Name   Path\n------\n lab_docker2.img   /x\n",
	})
	o.Quick = true
	if f := Gather(t.Context(), o); f.Leftovers != nil || h.asked != nil {
		t.Errorf("no engine runs: %q, asked %q", f.Leftovers, h.asked)
	}
	o.Inside = []string{"nsenter", "-t", "42", "-m", "-n"}
	f := Gather(t.Context(), o)
	if diff := cmp.Diff([]string{"VM lab_docker1", "volume lab_docker2.img"}, f.Leftovers); diff != "" {
		t.Errorf("%s, missed %+v", diff, f.Missed)
	}
}

// TestOneRuby: Vagrant is started once at most, and not at all if quick.
func TestOneRuby(t *testing.T) {
	for _, tt := range []struct {
		name  string
		quick bool
		list  string
		seen  bool
		want  []string
		have  Plugin
		at    string // its version
	}{
		{"quick", true, "", false, nil, PluginUnseen, ""},
		{"not seen, there", false, "vagrant-libvirt (0.11.2, global)\n", false, []string{"vagrant plugin list"}, PluginThere, "0.11.2"},
		{"not seen, not there", false, "No plugins installed.\n", false, []string{"vagrant plugin list"}, PluginLacks, ""},
		{"seen", false, "", true, []string{"vagrant --version"}, PluginThere, "0.12.2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, h := options(t, config.Embedded, map[string]string{"vagrant --version": "Vagrant 2.4.1\n", "vagrant plugin list": tt.list})
			o.Quick = tt.quick
			o.Env = func(name string) string { return map[string]string{"HOME": "/home/user"}[name] }
			if tt.seen {
				o.Root.(fstest.MapFS)["home/user/.vagrant.d/plugins.json"] = &fstest.MapFile{Data: []byte(`{"installed":{"vagrant-libvirt":{"installed_gem_version":"0.12.2"}}}`)}
			}
			f := Gather(t.Context(), o)
			if diff := cmp.Diff(tt.want, h.asked); diff != "" || f.Vagrant.Plugin != tt.have || f.Vagrant.PluginVersion != tt.at {
				t.Errorf("%s, plugin %s %s", diff, f.Vagrant.Plugin, f.Vagrant.PluginVersion)
			}
		})
	}
}

// TestDetected: without a choice the engine room is asked, once for each
// question.
func TestDetected(t *testing.T) {
	o, _ := options(t, config.VirtualBox, map[string]string{"VBoxManage --version": "7.0.20r163906\n", "vagrant --version": "Vagrant 2.4.1"})
	o.Choice = nil
	if f := Gather(t.Context(), o); f.Provider != config.VirtualBox || f.Reason != "VirtualBox 7.0.20r163906 answers" || f.VirtualBox != "7.0.20r163906" {
		t.Errorf("%s: %s, %s", f.Provider, f.Reason, f.VirtualBox)
	}
	o, _ = options(t, config.VirtualBox, nil)
	o.Choice = nil
	f := Gather(t.Context(), o)
	if f.Provider != config.Auto || len(f.Unusable) != 1 || f.Unusable[0].Reason != "VBoxManage does not answer" {
		t.Errorf("%s, %+v", f.Provider, f.Unusable)
	}
	o, _ = options(t, config.Libvirt, map[string]string{"version --daemon": "Compiled against library: libvirt 9.0.0\n"})
	o.Choice, o.Lab.Acceleration = nil, config.AccelTCG
	if f := Gather(t.Context(), o); f.Provider != config.Libvirt || f.Reason != "the system's libvirt answers" {
		t.Errorf("%s: %s", f.Provider, f.Reason)
	}
}

func TestReadNetworksConf(t *testing.T) {
	for _, tt := range []struct {
		name string
		root fstest.MapFS
		want NetworksConf
	}{
		{"nothing", fstest.MapFS{}, NetworksConf{}},
		{"misnamed", fstest.MapFS{"etc/vbox/network.conf": {}, "etc/vbox/networks.conf.bak": {}, "etc/vbox/vbox.cfg": {}, "etc/networks.conf": {}},
			NetworksConf{Lookalikes: []string{"/etc/vbox/network.conf", "/etc/vbox/networks.conf.bak", "/etc/networks.conf"}}},
		{"there", fstest.MapFS{"etc/vbox/networks.conf": {Data: []byte("* 10.0.0.0/8\n")}},
			NetworksConf{Exists: true, Allowed: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}},
		{"a folder", fstest.MapFS{"etc/vbox/networks.conf": {Mode: fs.ModeDir}}, NetworksConf{Exists: true, Unreadable: "read etc/vbox/networks.conf: invalid argument"}},
	} {
		got, err := readNetworksConf(tt.root)
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(tt.want, got, samePrefix); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
	f := good(config.VirtualBox)
	f.NetworkConf = NetworksConf{Lookalikes: []string{"/etc/vbox/network.conf"}}
	if got := judgeNetworksConf(&f)[0].Text; got != "VirtualBox does not allow 192.168.33.0/24: it reads /etc/vbox/networks.conf, not /etc/vbox/network.conf" {
		t.Error(got)
	}
}

// What VirtualBox 7.0 prints.
const hostOnlyIfs = `Name:            vboxnet0
IPAddress:       192.168.56.1
NetworkMask:     255.255.255.0

Name:            vboxnet1
IPAddress:       192.168.33.1
NetworkMask:     255.255.255.0
IPV6Address:
`

const vmsLong = `Name:                        mine
NIC 2:                       MAC: 080027, Attachment: Host-only Interface 'vboxnet1', Cable connected: on
Shared folders:
Name: 'vagrant', Host path: '/x' (machine mapping), writable

Name:                        class-docker1
NIC 1:                       MAC: 080027, Attachment: NAT
NIC 2:                       MAC: 080027, Attachment: Host-only Interface 'vboxnet1', Cable connected: on
Name: 'share', Host path: '/y' (machine mapping), writable

Description:
labctl lab class 00000000: docker1, manager

`

func TestOtherVirtualBox(t *testing.T) {
	subnet := netip.MustParsePrefix("192.168.33.0/24")
	name, has := hostOnly(hostOnlyIfs, subnet)
	if name != "vboxnet1" || has != subnet {
		t.Errorf("%s, %s", name, has)
	}
	if got := vmOn(vmsLong, "vboxnet1", "labctl lab lab 0123abcd"); got != "labctl lab class 00000000: docker1, manager" || labMark(got) != "class" {
		t.Errorf("%q", got)
	}
	for _, own := range []struct{ adapter, mark string }{{"vboxnet0", "x"}, {"vboxnet1", "labctl lab class 00000000"}} {
		if got := vmOn(vmsLong, own.adapter, own.mark); got != "" {
			t.Errorf("%+v: %q", own, got)
		}
	}
	if name, _ := hostOnly("Name: vboxnet0\nIPAddress: nonsense\nNetworkMask: 255.0.255.0\n", subnet); name != "" {
		t.Error(name)
	}
}

// TestVirtualBoxLeftovers: only what has this lab's mark, whatever its name.
func TestVirtualBoxLeftovers(t *testing.T) {
	o, _ := options(t, config.VirtualBox, map[string]string{
		"VBoxManage list vms":               "\"mine\" {1}\n\"lab-docker1\" {2}\n\"lab-docker2\" {3}\n",
		"VBoxManage showvminfo lab-docker1": "Name:    lab-docker1\n\nDescription:\nlabctl lab lab 0123abcd, node docker1\n",
		"VBoxManage showvminfo lab-docker2": "Name:    lab-docker2\n\nDescription:\nlabctl lab lab 99999999, node docker2\n",
	})
	o.Quick = true
	if f := Gather(t.Context(), o); !slices.Equal(f.VirtualBoxLeftovers, []string{"lab-docker1"}) {
		t.Errorf("%q, missed %+v", f.VirtualBoxLeftovers, f.Missed)
	}
	o.Known = []string{"docker1", "docker2"}
	if f := Gather(t.Context(), o); f.VirtualBoxLeftovers != nil {
		t.Errorf("%q", f.VirtualBoxLeftovers)
	}
}

func TestApply(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "vbox", "networks.conf")
	x := &Fix{Text: "x", Append: &Line{File: file, Text: "* 192.168.33.0/24"}}
	for range 2 {
		if err := x.Apply(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if data, _ := os.ReadFile(file); string(data) != "* 192.168.33.0/24\n" {
		t.Errorf("%q", data)
	}
	if err := os.WriteFile(file, []byte("# mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := x.Apply(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if data, _ := os.ReadFile(file); string(data) != "# mine\n* 192.168.33.0/24\n" {
		t.Errorf("%q", data)
	}
	h := &host{answers: map[string]string{"pool-start default": "Pool default started\n"}}
	if err := (&Fix{Run: []string{"virsh", "-c", "qemu:///system", "pool-start", "default"}}).Apply(t.Context(), h); err != nil || len(h.asked) != 1 {
		t.Errorf("%v, %q", err, h.asked)
	}
	if err := (&Fix{}).Apply(t.Context(), h); err == nil {
		t.Error("nothing to do is no success")
	}
}

func TestState(t *testing.T) {
	dir := filepath.Join(t.TempDir(), ".labctl")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	newest := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, at := range map[string]time.Time{"state.json": newest, "lock": newest.Add(-time.Hour)} {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Chtimes(file, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	note, err := askState(t.Context(), &Options{StateDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	var f Facts
	note(&f)
	s := f.State
	if !s.Exists || s.Mode != 0o700 || s.Unwritable != "" || s.NoLocks != "" || s.Owner != s.Self || !s.Newest.Equal(newest) || filepath.Base(s.NewestFile) != "state.json" {
		t.Errorf("%+v", s)
	}
}

func TestNameservers(t *testing.T) {
	got := nameservers("# x\nnameserver 127.0.0.53\nnameserver 192.168.33.1 # y\nnameserver fe80::1\nsearch lan\nnameserver\n")
	if len(got) != 1 || got[0].String() != "192.168.33.1" {
		t.Errorf("%v", got)
	}
}
