package doctor

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/config"
	"labctl/internal/engine"
)

// good are the facts of a host on which nothing is wrong.
func good(p config.Provider) Facts {
	l := config.Default()
	return Facts{
		Lab: l, Provider: p, Reason: "it answers", New: l.Nodes, OS: "linux", Arch: "amd64", User: "user", CPUs: 4, CPUFlag: "vmx",
		Kernel: "6.1.0-28-amd64", KVM: KVM{Exists: true}, Accel: config.AccelKVM, MemTotal: 16 << 30, MemFree: 8 << 30,
		Disks:   []Disk{{Path: "/lab", Free: 100 << 30, Device: 1, Needs: 6 << 30}},
		Vagrant: Vagrant{Installed: true, Version: "2.3.4", Plugin: PluginThere}, VirtualBox: "7.0.20r163906", Hardware: "yes",
		NetworkConf: ParseNetworksConf("* 192.168.33.0/24\n"), Libvirt: Libvirt{Pool: "active"},
		State: StateFolder{Path: "/lab/.labctl", Exists: true, Mode: 0o700, Owner: 1000, Self: 1000},
		Now:   time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC),
	}
}

// hinted is an error as the lab room has it.
type hinted struct{ error }

func (hinted) Hint() string { return "choose another subnet" }

func lines(list []Finding) []string {
	var out []string
	for _, f := range list {
		out = append(out, string(f.Level)+" "+f.Check+": "+f.Line())
	}
	return out
}

// TestGood: what is examined for each provider, and that all is well.
func TestGood(t *testing.T) {
	tail := []string{
		"ok state: /lab/.labctl is yours alone", "ok clock: 2026-11-25 12:00 UTC", "ok scenarios: what they run on this host is installed",
	}
	head := func(p string) []string {
		return []string{"ok provider: " + p + ": it answers", "ok system: linux/amd64", "ok cpu: 4 with vmx",
			"ok memory: 2 nodes want 2048 MiB, 8192 MiB are free", "ok disk: /lab: 100 GiB are free, the lab takes about 6144 MiB", "ok vagrant: 2.3.4"}
	}
	free := "ok subnet: 192.168.33.0/24 is free on this host"
	for p, want := range map[config.Provider][]string{
		config.VirtualBox: append(append(head("virtualbox"), "ok virtualbox: 7.0.20r163906", "ok networks.conf: 192.168.33.0/24 is allowed", free), tail...),
		config.Libvirt: append(append(head("libvirt"), "ok plugin: vagrant-libvirt is installed", "ok kvm: it boots a test machine",
			"ok libvirt: the storage pool default is active", free), tail...),
		config.Embedded: append(append(head("embedded"), "ok plugin: vagrant-libvirt is installed", "ok kvm: it boots a test machine",
			"ok subnet: 192.168.33.0/24 is in the embedded engine's own network"), tail...),
	} {
		if diff := cmp.Diff(want, lines(Judge(good(p)))); diff != "" {
			t.Errorf("%s:\n%s", p, diff)
		}
	}
}

// A host on which no VM runs is asked for Vagrant alone, and one whose VMs come
// into the lab through a bridge may have the lab's subnet.
func TestOtherHypervisors(t *testing.T) {
	f := good(config.Libvirt)
	f.SubnetTaken = hinted{errors.New("it is taken")}
	for i := range f.Lab.Nodes {
		f.Lab.Nodes[i].Bridge = "br0"
	}
	all := strings.Join(lines(Judge(f)), "\n")
	if want := "ok subnet: 192.168.33.0/24 lies on bridges that are there already"; !strings.Contains(all, want) || strings.Contains(all, "taken") {
		t.Errorf("no %q in\n%s", want, all)
	}
	f.Lab.Nodes[1].URI, f.Lab.Nodes[1].CPUs = "qemu+ssh://two/system", 64
	if all := lines(Judge(f)); slices.ContainsFunc(all, func(s string) bool { return strings.Contains(s, "docker2") }) {
		t.Errorf("the other host's node is judged here: %q", all)
	}
	f.Lab.Nodes[0].URI = "qemu+ssh://two/system"
	want := []string{"ok provider: libvirt: it answers", "ok vagrant: 2.3.4", "ok plugin: vagrant-libvirt is installed",
		"ok state: /lab/.labctl is yours alone", "ok scenarios: what they run on this host is installed"}
	if diff := cmp.Diff(want, lines(Judge(f))); diff != "" {
		t.Error(diff)
	}
	var checks []string
	for _, p := range probesOf(&Options{Lab: f.Lab, Choice: &engine.Choice{Provider: config.Libvirt}}) {
		checks = append(checks, p.check)
	}
	if diff := cmp.Diff([]string{"vagrant", "proxy", "state", "scenarios"}, checks); diff != "" {
		t.Error(diff)
	}
}

// TestJudge: one thing is wrong, and that alone is found.
func TestJudge(t *testing.T) {
	at := netip.MustParsePrefix
	const slow = "the VMs run with software emulation, several times slower"
	for _, tt := range []struct {
		name     string
		provider config.Provider // "": VirtualBox
		change   func(*Facts)
		want     []string // all that is not ok
	}{
		{"no provider", config.Auto, func(f *Facts) {
			f.Unusable = []Unusable{{Provider: config.VirtualBox, Reason: "VBoxManage does not answer", Remedy: "install VirtualBox"}, {Provider: config.Embedded, Reason: "it needs Linux"}}
		}, []string{"problem provider: provider virtualbox cannot be used: VBoxManage does not answer; install VirtualBox", "problem provider: provider embedded cannot be used: it needs Linux"}},
		{"engine on ARM", config.Embedded, func(f *Facts) { f.Arch = "arm64" },
			[]string{"problem system: linux/arm64: the embedded engine's box is made for linux/amd64 alone; use VirtualBox or the system's libvirt"}},
		{"VirtualBox on ARM", "", func(f *Facts) { f.OS, f.Arch = "darwin", "arm64" },
			[]string{"warning system: darwin/arm64: the usual box is made for amd64; name a box for this processor with box.name in lab.toml"}},
		{"VirtualBox as root", "", func(f *Facts) { f.Root = true },
			[]string{"warning system: linux/amd64, as root: your own user will not see the VMs of VirtualBox; run labctl as the user who shall see the VMs"}},
		{"too many CPUs", "", func(f *Facts) { f.Lab.Nodes[1].CPUs = 6 }, []string{"warning cpu: node docker2 wants 6 CPUs, this host has 4; set cpus to 4 at most"}},
		{"no hardware", "", func(f *Facts) { f.Hardware = "no" },
			[]string{"problem cpu: VirtualBox finds no hardware virtualization, without which it starts no 64-bit VM; " + hardwareRemedy}},
		{"no flag", "", func(f *Facts) { f.CPUFlag, f.Hardware = "", "" },
			[]string{"warning cpu: the CPU shows neither vmx nor svm: VirtualBox starts no 64-bit VM without; " + hardwareRemedy}},
		{"no KVM, no flag", config.Embedded, func(f *Facts) { f.CPUFlag, f.KVM, f.Accel = "", KVM{}, config.AccelTCG },
			[]string{"warning kvm: there is no /dev/kvm: " + slow + "; " + hardwareRemedy}},
		{"no module", config.Embedded, func(f *Facts) { f.CPUFlag, f.KVM, f.Accel = "svm", KVM{}, config.AccelTCG },
			[]string{"warning kvm: there is no /dev/kvm, though the CPU has svm: " + slow + "; load the module: sudo modprobe kvm-amd"}},
		{"no right", config.Embedded, func(f *Facts) {
			f.KVM.Denied, f.Accel = "/dev/kvm cannot be opened: permission denied", config.AccelTCG
		}, []string{"warning kvm: /dev/kvm cannot be opened: permission denied: " + slow + "; sudo usermod -aG kvm user, then log in again"}},
		{"KVM that boots nothing", config.Libvirt, func(f *Facts) { f.Accel = config.AccelTCG },
			[]string{"warning kvm: /dev/kvm is there, but boots no test machine: " + slow + "; " + hardwareRemedy}},
		{"TCG wanted", config.Libvirt, func(f *Facts) { f.Lab.Acceleration, f.Accel = config.AccelTCG, config.AccelTCG }, nil},
		{"KVM took too long", config.Embedded, func(f *Facts) { f.Accel, f.Missed = "", []Missed{{"kvm", "no answer within 5s"}} },
			[]string{"warning kvm: could not be checked: no answer within 5s; `labctl create` tries longer, and takes software emulation if KVM does not work"}},
		{"one node too large", "", func(f *Facts) { f.Lab.Nodes[0].MemoryMB = 20480 },
			[]string{"problem memory: node docker1 wants 20 GiB, this host has 16 GiB in all; lower memory in lab.toml, or close other programs"}},
		{"all too large", "", func(f *Facts) { f.MemTotal = 2 << 30 },
			[]string{"warning memory: 2 nodes want 2048 MiB, this host has 2048 MiB in all; lower memory in lab.toml, or close other programs"}},
		{"too little free", "", func(f *Facts) { f.MemFree = 1 << 30 },
			[]string{"warning memory: 2 nodes want 2048 MiB, 1024 MiB are free at the moment; lower memory in lab.toml, or close other programs"}},
		{"memory not known", "", func(f *Facts) { f.MemTotal, f.New = 0, f.New[:1] },
			[]string{"warning memory: 1 node wants 1024 MiB; how much this host has is not known here"}},
		{"memory of a lab that stands", "", func(f *Facts) { f.MemFree, f.New = 1, nil }, nil},
		{"disk full", "", func(f *Facts) { f.Disks[0].Free = 500 * mib },
			[]string{"problem disk: /lab: 500 MiB are free, the lab takes about 6144 MiB; make room, or put the lab's folder on a larger disk"}},
		{"disk small, two folders of it", "", func(f *Facts) {
			f.Disks = []Disk{{Path: "/lab", Free: 4 << 30, Device: 1, Needs: 3 << 30}, {Path: "/data", Free: 50 << 30, Device: 2, Needs: 1}, {Path: "/cache", Free: 4 << 30, Device: 1, Needs: 2 << 30}}
		}, []string{"warning disk: /lab and /cache: 4096 MiB are free, the lab grows to about 5120 MiB; make room, or put the lab's folder on a larger disk"}},
		{"no Vagrant", config.Libvirt, func(f *Facts) { f.Vagrant = Vagrant{} },
			[]string{"problem vagrant: vagrant is not installed; on Debian or Ubuntu: make deps; elsewhere see README.md, Requirements"}},
		{"silent Vagrant", "", func(f *Facts) { f.Vagrant.Version, f.Vagrant.Silent = "", "no answer within 5s" },
			[]string{"warning vagrant: Vagrant does not tell its version: no answer within 5s; does `vagrant --version` end when you type it?"}},
		{"old Vagrant", config.Embedded, func(f *Facts) { f.Vagrant.Version = "2.2.19" },
			[]string{"warning vagrant: Vagrant 2.2.19 is older than 2.3, with which labctl was tried; install a newer one; see README.md, Requirements"}},
		{"no plugin", config.Libvirt, func(f *Facts) { f.Vagrant.Plugin = PluginLacks },
			[]string{"problem plugin: the Vagrant plugin vagrant-libvirt is not installed; on Debian or Ubuntu: make deps; elsewhere: vagrant plugin install vagrant-libvirt"}},
		{"plugin not seen", config.Embedded, func(f *Facts) { f.Vagrant.Plugin = PluginUnseen },
			[]string{"warning plugin: the Vagrant plugin vagrant-libvirt was not found where plugins usually lie; on Debian or Ubuntu: make deps; elsewhere: vagrant plugin install vagrant-libvirt"}},
		{"old plugin", config.Embedded, func(f *Facts) { f.Vagrant.PluginVersion = "0.7.0" },
			[]string{"warning plugin: vagrant-libvirt 0.7.0 is older than 0.11, with which labctl was tried; install a newer one: vagrant plugin update vagrant-libvirt"}},
		{"VirtualBox needs none", "", func(f *Facts) { f.Vagrant.Plugin = PluginLacks }, nil},
		{"old VirtualBox", "", func(f *Facts) { f.VirtualBox = "6.0.24r139119" }, []string{"warning virtualbox: VirtualBox 6.0.24r139119 is older than 6.1; install a newer one"}},
		{"VirtualBox too new for Vagrant", "", func(f *Facts) { f.VirtualBox = "7.1.4r165100" },
			[]string{"warning virtualbox: Vagrant 2.3.4 may refuse VirtualBox 7.1.4r165100, which Vagrant 2.4.2 was the first to know; install Vagrant 2.4.2 or newer, or an older VirtualBox"}},
		{"KVM beside VirtualBox", "", func(f *Facts) { f.KVMLoaded, f.Kernel = true, "6.12.1" },
			[]string{"warning virtualbox: KVM is loaded, which on Linux 6.12.1 can keep VirtualBox from starting VMs; if VMs fail to start with VERR_VMX_IN_VMX_ROOT_MODE or VERR_SVM_IN_USE: sudo modprobe -r kvm_intel kvm_amd kvm"}},
		{"KVM beside VirtualBox on an older kernel", "", func(f *Facts) { f.KVMLoaded = true }, nil},
		{"pool off", config.Libvirt, func(f *Facts) { f.Libvirt.Pool = "inactive" },
			[]string{"problem libvirt: the storage pool default is inactive, so no volume can be made; sudo virsh pool-start default"}},
		{"no pool yet", config.Libvirt, func(f *Facts) { f.Libvirt = Libvirt{Networks: map[string]string{"default": "inactive"}} }, nil},
		{"subnet taken", "", func(f *Facts) { f.SubnetTaken = hinted{errors.New("the lab's subnet is eth0's")} },
			[]string{"problem subnet: the lab's subnet is eth0's; choose another subnet"}},
		{"subnet taken, but not of the engine", config.Embedded, func(f *Facts) { f.SubnetTaken = hinted{errors.New("x")} }, nil},
		{"subnet taken by the lab itself", "", func(f *Facts) { f.SubnetTaken, f.Stands = hinted{errors.New("x")}, true }, nil},
		{"another lab", config.Libvirt, func(f *Facts) { f.OtherLab = &OtherLab{"class", "class-lab", f.Lab.Subnet} },
			[]string{`problem other labs: lab "class" has the subnet 192.168.33.0/24 on this host already (network class-lab); set another subnet in lab.toml, for example subnet = "192.168.56.0/24", or destroy the other lab`}},
		{"the same name elsewhere", config.Libvirt, func(f *Facts) { f.OtherLab = &OtherLab{"lab", "lab-lab", f.Lab.Subnet} },
			[]string{"problem other labs: a lab of the same name, lab, in another folder has the network lab-lab, 192.168.33.0/24; rename this lab in lab.toml, or destroy the other one, in its folder"}},
		{"a person's network", config.Libvirt, func(f *Facts) {
			f.OtherLab, f.Uses = &OtherLab{"", "work", at("192.168.32.0/23")}, []Use{{Interface: "eth0", Addr: at("192.168.56.7/24")}}
		}, []string{`warning other labs: the network work of libvirt has addresses of the lab's subnet, 192.168.32.0/23; set another subnet in lab.toml, for example subnet = "192.168.57.0/24", or destroy the other lab`}},
		{"VPN", "", func(f *Facts) {
			f.Uses = []Use{{Interface: "tun0", Addr: at("10.8.0.2/32"), Tunnel: true}, {Interface: "tun0", Addr: at("0.0.0.0/1"), Route: true, Tunnel: true}, {Interface: "tun0", Addr: at("192.168.0.0/16"), Route: true, Tunnel: true}}
		}, []string{`warning vpn: the route to 192.168.0.0/16 through the tunnel tun0 covers the lab's subnet 192.168.33.0/24, and a VPN client may insist on it; if the nodes do not answer while the VPN is up: subnet = "192.168.56.0/24" in lab.toml`}},
		{"no VPN", "", func(f *Facts) { f.Uses = []Use{{Interface: "eth0", Addr: at("192.168.0.0/16"), Route: true}} }, nil},
		{"nameserver", "", func(f *Facts) {
			f.Nameservers = []netip.Addr{netip.MustParseAddr("192.168.33.1"), netip.MustParseAddr("192.168.34.1")}
		}, []string{`problem nameserver: the host's nameserver 192.168.33.1 lies in the lab's subnet 192.168.33.0/24: the host would look for it among the nodes; set subnet = "192.168.56.0/24" in lab.toml`}},
		{"proxy", "", func(f *Facts) {
			f.Environment = map[string]string{"ALL_PROXY": "socks5://p", "NO_PROXY": "localhost,192.168.33.11"}
		}, []string{"warning proxy: ALL_PROXY is set and no_proxy does not name 192.168.33.12: what asks the nodes from this host would ask the proxy; export no_proxy=localhost,192.168.33.11,192.168.33.12"}},
		{"proxy that spares the lab", "", func(f *Facts) {
			f.Environment = map[string]string{"http_proxy": "http://p", "no_proxy": "localhost, 192.168.33.0/24"}
		}, nil},
		{"leftovers in VirtualBox", "", func(f *Facts) { f.VirtualBoxLeftovers = []string{"lab-docker1", "lab-docker2"} },
			[]string{"problem leftovers: these VMs have this lab's mark, but Vagrant does not know them and cannot make others of their name: lab-docker1, lab-docker2; was .labctl/.vagrant deleted? power them off, then VBoxManage unregistervm lab-docker1 --delete; VBoxManage unregistervm lab-docker2 --delete"}},
		{"leftovers, of the other provider", config.Libvirt, func(f *Facts) { f.VirtualBoxLeftovers = []string{"lab-docker1"} }, nil},
		{"leftovers", config.Libvirt, func(f *Facts) { f.Leftovers = []string{"VM lab_docker1", "volume lab_docker2.img"} },
			[]string{"warning leftovers: this lab's mark is on what Vagrant does not know: VM lab_docker1, volume lab_docker2.img; `labctl create --force` removes them and makes these VMs anew, `labctl destroy` takes them all down"}},
		{"open to others", "", func(f *Facts) { f.State.Mode = 0o755 },
			[]string{"warning state: /lab/.labctl has mode 0755: others can reach the keys in it; chmod 700 /lab/.labctl"}},
		{"root's", "", func(f *Facts) { f.State.Owner = 0 }, []string{"problem state: /lab/.labctl belongs to user 0, and you are user 1000; run labctl as root (sudo)"}},
		{"a user's, and we are root", "", func(f *Facts) { f.State.Self = 0 }, []string{"problem state: /lab/.labctl belongs to user 1000, and you are user 0; run labctl as that user, without sudo"}},
		{"read-only", "", func(f *Facts) {
			f.State = StateFolder{Path: "/lab", Unwritable: "read-only file system", Owner: -1, Self: -1}
		},
			[]string{"problem state: /lab cannot be written: read-only file system; put lab.toml into a folder of your own"}},
		{"no locks", "", func(f *Facts) { f.State.NoLocks, f.State.Kind = "no locks available", "NFS" }, []string{
			"problem state: files cannot be locked in /lab/.labctl: no locks available; put the lab's folder on a local disk",
			"warning state: /lab/.labctl lies on NFS, which keeps neither rights nor locks as a local disk does; put the lab's folder on a local disk"}},
		{"clock of 1970", "", func(f *Facts) { f.Now = time.Unix(3600, 0) },
			[]string{"problem clock: the clock of this host says 1970-01-01: certificates of swarm and registries will not be valid; set the clock, for instance with `sudo timedatectl set-ntp true`"}},
		{"clock gone back", "", func(f *Facts) {
			f.State.Newest, f.State.NewestFile = f.Now.Add(48*time.Hour), "/lab/.labctl/state.json"
		}, []string{"warning clock: /lab/.labctl/state.json was written 48h0m0s after what the clock of this host says now: has it gone back?; set the clock, for instance with `sudo timedatectl set-ntp true`"}},
		{"no curl", "", func(f *Facts) { f.Missing = []string{"curl"} },
			[]string{"warning scenarios: curl is not installed: scenarios that ask the nodes from this host need it; install curl"}},
		{"missed", "", func(f *Facts) { f.Missed = []Missed{{"disk", "no answer within 5s"}, {"libvirt", "not ours"}} },
			[]string{"warning disk: could not be checked: no answer within 5s"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.provider == "" {
				tt.provider = config.VirtualBox
			}
			f := good(tt.provider)
			tt.change(&f)
			got := lines(Judge(f))
			var bad []string
			for _, line := range got {
				if !strings.HasPrefix(line, "ok ") {
					bad = append(bad, line)
				}
			}
			if diff := cmp.Diff(tt.want, bad); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestNetworksConf reads the file as VirtualBox and Vagrant do.
func TestNetworksConf(t *testing.T) {
	const no = "VirtualBox does not allow 192.168.33.0/24: "
	remedy := "; add the line `* 192.168.33.0/24` to /etc/vbox/networks.conf, or set subnet = \"192.168.56.0/24\" in lab.toml"
	for _, tt := range []struct {
		name, text string // "-": there is no file
		want       string
		adds       string
	}{
		{"none", "-", no + "without /etc/vbox/networks.conf it allows 192.168.56.0/21 alone", "* 192.168.56.0/21 192.168.33.0/24"},
		{"right", "* 192.168.33.0/24\n", "", ""},
		{"comments and several ranges", "# ours\n\n  * 10.0.0.0/8 192.168.0.0/16\n* 2001::/64\n", "", ""},
		{"without a blank", "*192.168.33.0/24", "", ""},
		{"a netmask", "* 192.168.32.0/255.255.254.0", "", ""},
		{"just what is needed", "* 192.168.33.0/28\n", "", ""},
		{"all", "* 0.0.0.0/0 ::/0\r\n", "", ""},
		{"no asterisk", "192.168.33.0/24\n", no + "/etc/vbox/networks.conf, line 1: 192.168.33.0/24, begins with no asterisk and means nothing", "* 192.168.33.0/24"},
		{"commented out", "#* 192.168.33.0/24\n", no + "/etc/vbox/networks.conf is there, but allows nothing", "* 192.168.33.0/24"},
		{"empty", "", no + "/etc/vbox/networks.conf is there, but allows nothing", "* 192.168.33.0/24"},
		{"another", "* 192.168.56.0/21\n* 10.1.0.0/16\n", no + "/etc/vbox/networks.conf allows 192.168.56.0/21, 10.1.0.0/16", "* 192.168.33.0/24"},
		{"too narrow", "* 192.168.33.0/29\n", no + "/etc/vbox/networks.conf allows 192.168.33.0/29", "* 192.168.33.0/24"},
		{"a comma", "* 10.0.0.0/8, 192.168.33.0/24,\n", no + "/etc/vbox/networks.conf, line 1: 10.0.0.0/8,, is no range", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := good(config.VirtualBox)
			f.NetworkConf = NetworksConf{}
			if tt.text != "-" {
				f.NetworkConf = ParseNetworksConf(tt.text)
			}
			x := judgeNetworksConf(&f)[0]
			if tt.want == "" {
				if x.Level != OK {
					t.Errorf("%s", x.Line())
				}
				return
			}
			if tt.adds == "" {
				if diff := cmp.Diff(tt.want+strings.Replace(remedy, "add", "correct or remove it, and add", 1), x.Line()); diff != "" || x.Fix != nil {
					t.Error(diff, x.Fix)
				}
				return
			}
			if diff := cmp.Diff(tt.want+remedy, x.Line()); diff != "" {
				t.Error(diff)
			}
			if x.Level != Problem || x.Fix.Append.Text != tt.adds {
				t.Errorf("%s, adds %q", x.Level, x.Fix.Append.Text)
			}
			// What the fix adds, helps.
			if text := strings.TrimPrefix(tt.text, "-") + "\n" + tt.adds; !ParseNetworksConf(text).Allows(f.Lab) {
				t.Errorf("the fix does not help: %q", text)
			}
		})
	}
	for _, tt := range []struct {
		os, version string
		want        bool
	}{
		{"linux", "6.1.26r1", false}, {"linux", "6.1.28r1", true}, {"linux", "7.0.20r1", true}, {"windows", "7.0.20", false},
		{"darwin", "6.1.50", true}, {"darwin", "7.0.0", false},
	} {
		if got := ruled(tt.os, tt.version); got != tt.want {
			t.Errorf("%s %s: %v", tt.os, tt.version, got)
		}
	}
}

func FuzzNetworksConf(f *testing.F) {
	for _, s := range []string{"", "* 192.168.33.0/24\n", "192.168.33.0/24", "#x\n* 1.2.3.4 ::/0\n", "* 10.0.0.0/255.0.255.0", "*\x00/", "* 0.0.0.0/-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		facts := good(config.VirtualBox)
		facts.NetworkConf = ParseNetworksConf(text)
		for _, p := range facts.NetworkConf.Allowed {
			if !p.IsValid() {
				t.Errorf("%q: an invalid range", text)
			}
		}
		for _, x := range judgeNetworksConf(&facts) {
			if strings.ContainsAny(x.Line(), "\n\r") {
				t.Errorf("more than a line: %q", x.Line())
			}
		}
	})
}
