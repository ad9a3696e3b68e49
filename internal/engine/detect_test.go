package engine

import (
	"context"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/config"
	"labctl/internal/remote"
)

// answers is a host whose programs answer from a list; what is not in it does
// not exist. It remembers the commands.
type answers struct {
	results map[string]remote.Result
	asked   []string
}

func (a *answers) Run(_ context.Context, c remote.Command) (remote.Result, error) {
	program := c.Argv[0]
	if program == "timeout" {
		program = "qemu " + after(c.Argv, "-cpu")
	}
	// Of another host's libvirt its URI is told, and what else it is asked.
	if program == "virsh" && c.Argv[2] != config.LocalHypervisor {
		program = "virsh " + c.Argv[2]
		if c.Argv[3] != "version" {
			program = "virsh " + c.Argv[3]
		}
	}
	a.asked = append(a.asked, program)
	res, ok := a.results[program]
	if _, same := a.results["virsh"]; !ok && same && strings.HasPrefix(program, "virsh qemu") {
		res, ok = a.results["virsh"], true
	}
	if !ok {
		return remote.Result{ExitCode: -1}, errors.New("not found")
	}
	return res, nil
}

func after(argv []string, flag string) string {
	for i, a := range argv {
		if a == flag {
			return argv[i+1]
		}
	}
	return ""
}

// tools puts programs of these names, and no others, on the PATH.
func tools(t *testing.T, names ...string) {
	t.Helper()
	dir := t.TempDir()
	for _, n := range names {
		if err := os.WriteFile(filepath.Join(dir, n), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
}

var embeddedTools = []string{"libvirtd", "virtlogd", "virsh", "qemu-system-x86_64", "qemu-img", "dnsmasq", "iptables", "ip", "nsenter"}

func TestDetect(t *testing.T) {
	vbox := remote.Result{Stdout: "7.0.20r163906\n"}
	noModule := remote.Result{Stdout: "WARNING: The vboxdrv kernel module is not loaded.\n7.0.20r163906\n"}
	libvirt := remote.Result{Stdout: "Compiled against library: libvirt 9.0.0\n"}
	refused := remote.Result{ExitCode: 1, Stderr: "error: failed to connect to the hypervisor\nerror: more\n"}
	works := remote.Result{ExitCode: probeExit}
	noKVM := remote.Result{ExitCode: 1, Stderr: "qemu-system-x86_64: warning: host doesn't support it\nCould not access KVM kernel module: No such file or directory\nqemu-system-x86_64: failed to initialize kvm: No such file or directory\n"}
	denied := remote.Result{ExitCode: 1, Stderr: "Could not access KVM kernel module: Permission denied\n"}
	hangs := remote.Result{ExitCode: 124}

	onTwo := []config.Node{{}, {Place: config.Place{URI: "qemu+ssh://two/system"}}}
	const (
		noVBox = "provider virtualbox cannot be used: VBoxManage does not answer"
		noVirt = "provider libvirt cannot be used: virsh cannot reach qemu:///system"
	)
	for _, tt := range []struct {
		name    string
		lab     config.Lab
		results map[string]remote.Result
		root    bool // it depends on being root on Linux
		want    Choice
		err     string
		asked   []string
	}{
		{name: "VirtualBox first", results: map[string]remote.Result{"VBoxManage": vbox, "virsh": libvirt},
			want: Choice{Provider: config.VirtualBox, Reason: "VirtualBox 7.0.20r163906 answers"}, asked: []string{"VBoxManage"}},
		{name: "without its module", results: map[string]remote.Result{"VBoxManage": noModule, "virsh": libvirt, "qemu host": works},
			want:  Choice{Provider: config.Libvirt, Accel: config.AccelKVM, CPU: "host", Reason: "the system's libvirt answers; it runs VMs with KVM"},
			asked: []string{"VBoxManage", "virsh", "qemu host"}},
		{name: "named, without its module", lab: config.Lab{Provider: config.VirtualBox}, results: map[string]remote.Result{"VBoxManage": noModule, "virsh": libvirt},
			err: "provider virtualbox cannot be used: WARNING: The vboxdrv kernel module is not loaded.", asked: []string{"VBoxManage"}},
		{name: "named", lab: config.Lab{Provider: config.Libvirt, Acceleration: config.AccelTCG}, results: map[string]remote.Result{"VBoxManage": vbox, "virsh": libvirt},
			want:  Choice{Provider: config.Libvirt, Accel: config.AccelTCG, CPU: "qemu64", Reason: "the system's libvirt answers; it runs VMs with software emulation, as lab.toml says"},
			asked: []string{"virsh"}},
		{name: "KVM is libvirtd's alone", lab: config.Lab{Provider: config.Libvirt}, results: map[string]remote.Result{"virsh": libvirt, "qemu host": denied, "qemu qemu64": denied},
			want:  Choice{Provider: config.Libvirt, Accel: config.AccelKVM, CPU: "host", Reason: "the system's libvirt answers; it runs VMs with KVM, which only libvirtd itself can try"},
			asked: []string{"virsh", "qemu host", "qemu qemu64"}},
		{name: "named, refused", lab: config.Lab{Provider: config.Libvirt}, results: map[string]remote.Result{"VBoxManage": vbox, "virsh": refused},
			err: noVirt + ": error: failed to connect to the hypervisor", asked: []string{"virsh"}},
		{name: "on two hosts, the other with KVM", lab: config.Lab{Provider: config.Libvirt, Nodes: onTwo}, results: map[string]remote.Result{"virsh": libvirt, "qemu host": works, "virsh domcapabilities": {}},
			want:  Choice{Provider: config.Libvirt, Accel: config.AccelKVM, CPU: "host", Reason: "the system's libvirt and qemu+ssh://two/system answer; they run VMs with KVM"},
			asked: []string{"virsh", "qemu host", "virsh qemu+ssh://two/system", "virsh domcapabilities"}},
		{name: "on two hosts, the other without KVM", lab: config.Lab{Provider: config.Libvirt, Nodes: onTwo}, results: map[string]remote.Result{"virsh": libvirt, "qemu host": works, "virsh domcapabilities": {ExitCode: 1}},
			want: Choice{Provider: config.Libvirt, Accel: config.AccelTCG, CPU: "qemu64",
				Reason: "the system's libvirt and qemu+ssh://two/system answer; they run VMs with software emulation, several times slower than KVM, which qemu+ssh://two/system has not"},
			asked: []string{"virsh", "qemu host", "virsh qemu+ssh://two/system", "virsh domcapabilities"}},
		{name: "on another host alone, KVM wanted", lab: config.Lab{Provider: config.Libvirt, Acceleration: config.AccelKVM, Nodes: onTwo[1:]}, results: map[string]remote.Result{"virsh": libvirt, "virsh domcapabilities": {ExitCode: 1, Stderr: "error: KVM is not supported\n"}},
			err:   "provider libvirt cannot be used: lab.toml asks for acceleration \"kvm\", but qemu+ssh://two/system has none: error: KVM is not supported",
			asked: []string{"virsh qemu+ssh://two/system", "virsh domcapabilities"}},
		{name: "another host that does not answer", lab: config.Lab{Provider: config.Libvirt, Nodes: onTwo[1:]}, results: map[string]remote.Result{"virsh": libvirt, "virsh qemu+ssh://two/system": refused},
			err:   "provider libvirt cannot be used: virsh cannot reach qemu+ssh://two/system: error: failed to connect to the hypervisor",
			asked: []string{"virsh qemu+ssh://two/system"}},
		{name: "embedded last, KVM", root: true, results: map[string]remote.Result{"qemu host": works},
			want:  Choice{Provider: config.Embedded, Reason: "private libvirtd with KVM", Accel: config.AccelKVM, CPU: "host"},
			asked: []string{"VBoxManage", "virsh", "qemu host"}},
		{name: "KVM with another CPU only", root: true, lab: config.Lab{Provider: config.Embedded}, results: map[string]remote.Result{"qemu host": hangs, "qemu qemu64": works},
			want:  Choice{Provider: config.Embedded, Reason: "private libvirtd with KVM", Accel: config.AccelKVM, CPU: "qemu64"},
			asked: []string{"qemu host", "qemu qemu64"}},
		{name: "no KVM", root: true, lab: config.Lab{Provider: config.Embedded}, results: map[string]remote.Result{"qemu host": noKVM, "qemu qemu64": noKVM},
			want: Choice{Provider: config.Embedded, Accel: config.AccelTCG, CPU: "qemu64",
				Reason: "private libvirtd with software emulation, several times slower than KVM: KVM does not work here (Could not access KVM kernel module: No such file or directory)"},
			asked: []string{"qemu host", "qemu qemu64"}},
		{name: "KVM that hangs", root: true, lab: config.Lab{Provider: config.Embedded, Acceleration: config.AccelKVM}, results: map[string]remote.Result{"qemu host": hangs, "qemu qemu64": hangs},
			err:   "provider embedded cannot be used: lab.toml asks for acceleration \"kvm\", but KVM does not work here (a test machine did not boot within 4 s)",
			asked: []string{"qemu host", "qemu qemu64"}},
		{name: "TCG asked for", root: true, lab: config.Lab{Provider: config.Embedded, Acceleration: config.AccelTCG}, results: map[string]remote.Result{"qemu host": works},
			want: Choice{Provider: config.Embedded, Accel: config.AccelTCG, CPU: "qemu64", Reason: "private libvirtd with software emulation, as lab.toml says"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.root && (runtime.GOOS != "linux" || os.Geteuid() != 0) {
				t.Skip("the embedded engine needs root on Linux")
			}
			tools(t, embeddedTools...)
			if tt.lab.Provider == "" {
				tt.lab.Provider = config.Auto
			}
			host := &answers{results: tt.results}
			got, err := Detect(t.Context(), &tt.lab, host, t.TempDir())
			message := ""
			if err != nil {
				message = err.Error()
			}
			if diff := cmp.Diff(tt.err, message); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tt.asked, host.asked); diff != "" {
				t.Error(diff)
			}
		})
	}

	t.Run("none", func(t *testing.T) {
		tools(t, "virsh", "ip")
		_, err := Detect(t.Context(), &config.Lab{Provider: config.Auto}, &answers{}, t.TempDir())
		last := "it needs root to make a network namespace"
		if runtime.GOOS != "linux" {
			last = "it needs Linux"
		} else if os.Geteuid() == 0 {
			last = "not installed: libvirtd, virtlogd, qemu-system-x86_64, qemu-img, dnsmasq, iptables, nsenter"
		}
		want := noVBox + "\n" + noVirt + "\nprovider embedded cannot be used: " + last
		if err == nil || err.Error() != want {
			t.Errorf("got %v\nwant %v", err, want)
		}
	})

	t.Run("interrupted", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := Detect(ctx, &config.Lab{Provider: config.Auto}, &answers{}, t.TempDir()); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
}

// TestHungIsRemembered: only what cost time is, and not for good.
func TestHungIsRemembered(t *testing.T) {
	if sinceWhen() == "" {
		t.Skip("there is no /dev/kvm")
	}
	scratch := t.TempDir()
	probe := func(code int) (asked int, err error) {
		host := &answers{results: map[string]remote.Result{"qemu host": {ExitCode: code, Stderr: "qemu: no\n"}}}
		err = probeKVM(t.Context(), host, scratch, "host")
		return len(host.asked), err
	}
	for _, step := range []struct {
		name  string
		code  int
		err   string
		asked int
		then  func()
	}{
		{name: "refused", code: 1, err: "KVM does not work here (qemu: no)", asked: 1},
		{name: "hangs", code: timedOut, err: errHung.Error(), asked: 1},
		{name: "remembered", code: probeExit, err: errHung.Error(), then: func() {
			old := time.Now().Add(-hungFor - time.Minute)
			if err := os.Chtimes(hungFile(scratch, "host"), old, old); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "an hour later", code: timedOut, err: errHung.Error(), asked: 1, then: func() {
			if err := os.WriteFile(hungFile(scratch, "host"), []byte("another boot"), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "after a boot", code: probeExit, asked: 1},
	} {
		asked, err := probe(step.code)
		message := ""
		if err != nil {
			message = err.Error()
		}
		if message != step.err || asked != step.asked {
			t.Errorf("%s: %q after %d questions, want %q after %d", step.name, message, asked, step.err, step.asked)
		}
		if step.then != nil {
			step.then()
		}
	}
}

// TestBootSector: the bytes in kvm.go are what the source in testdata makes.
func TestBootSector(t *testing.T) {
	for _, tool := range []string{"as", "ld"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skip("as makes code of another processor here")
	}
	dir := t.TempDir()
	object, binary := filepath.Join(dir, "probe.o"), filepath.Join(dir, "probe.bin")
	for _, argv := range [][]string{
		{"as", "--64", "-o", object, "testdata/probe.S"},
		{"ld", "-Ttext=0x7c00", "--oformat", "binary", "-o", binary, object},
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", argv, err, out)
		}
	}
	made, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	code, err := hex.DecodeString(bootSector)
	if err != nil {
		t.Fatal(err)
	}
	if len(code) > 510 {
		t.Errorf("%d bytes: no room for a boot sector's mark", len(code))
	}
	code = append(code, make([]byte, 512)...)[:512]
	code[510], code[511] = 0x55, 0xaa
	if diff := cmp.Diff(hex.Dump(code), hex.Dump(made)); diff != "" {
		t.Errorf("kvm.go (-) is not what probe.S makes (+):\n%s", diff)
	}
}

func TestFirstError(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "\n qemu-system-x86_64: warning: old\n": "",
		"qemu-system-x86_64: warning: old\nqemu-system-x86_64: no way\nmore\n": "no way",
	} {
		if got := firstError(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if got := firstLine("\n one \ntwo"); strings.TrimSpace(got) != "one" {
		t.Errorf("%q", got)
	}
}
