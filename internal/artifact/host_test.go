package artifact

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/remote"
)

func put(t *testing.T, name, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(name), 0o700))
	must(t, os.WriteFile(name, []byte(text), 0o600))
}

func TestCollectHost(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a [lab] here")
	state := filepath.Join(dir, ".labctl")
	put(t, filepath.Join(dir, "lab.toml"), "[docker]\nproxy = \"http://u:passw0rd@proxy:3128\"\n")
	put(t, filepath.Join(state, "Vagrantfile"), "# for "+token+"\n")
	put(t, filepath.Join(state, "console/docker1.log"), strings.Repeat("0123456789abcde\n", maxHostFile/16)+"login: \n")
	put(t, filepath.Join(state, "console/notes.txt"), "no console\n")
	put(t, filepath.Join(state, "engine/engine.log"), "libvirtd\n")
	put(t, filepath.Join(state, "engine/log/qemu/lab_docker1.log"), "qemu\n")
	put(t, filepath.Join(state, "scenario/lb.json"), "{}\n")
	put(t, filepath.Join(state, "keys/lab"), pem)
	if runtime.GOOS != "windows" {
		must(t, os.Symlink("/dev/zero", filepath.Join(state, "console/docker2.log")))
	}
	r := newRun(t, "collect")
	put(t, filepath.Join(dir, "cache", "box.log"), "debootstrap\n")
	CollectHost(r, Host{
		StateDir: state, LabFile: filepath.Join(dir, "lab.toml"), Default: []byte("# nothing\n"),
		More: map[string]string{"box-build.log": filepath.Join(dir, "cache", "box.log")},
	})
	files, missing := closed(t, r)
	want := []string{
		"host/Vagrantfile 17", "host/box-build.log 12", "host/console/docker1.log 1048568", "host/engine/engine.log 9", "host/engine/qemu/lab_docker1.log 5",
		"host/lab.toml 50", "host/scenario/lb.json 3",
	}
	if d := cmp.Diff(want, files); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	for i := range missing {
		missing[i] = strings.ReplaceAll(missing[i], state, "STATE")
	}
	want = []string{"host/console/docker1.log: only the last MiB of docker1.log is kept"}
	if runtime.GOOS != "windows" {
		want = append(want, "host/console/docker2.log: STATE/console/docker2.log is not a regular file")
	}
	want = append(want, "host/state.json: not there")
	if d := cmp.Diff(want, missing); d != "" {
		t.Errorf("missing (-want +got):\n%s", d)
	}
	if got := read(t, filepath.Join(r.Dir(), "host/lab.toml")); got != "[docker]\nproxy = \"http://u:[redacted]@proxy:3128\"\n" {
		t.Errorf("lab.toml is %q", got)
	}
	if got := read(t, filepath.Join(r.Dir(), "host/console/docker1.log")); !strings.HasPrefix(got, "0123456789abcde\n0") || !strings.HasSuffix(got, "\nlogin: \n") {
		t.Errorf("the console ends with %q", got[max(0, len(got)-40):])
	}
}

// Where there is no lab any more, the default lab.toml is still what it was.
func TestCollectHostWithoutALab(t *testing.T) {
	dir := t.TempDir()
	h := Host{StateDir: filepath.Join(dir, ".labctl"), LabFile: filepath.Join(dir, "lab.toml"), Default: []byte("# the default\n")}
	r := newRun(t, "collect")
	CollectHost(r, h)
	files, missing := closed(t, r)
	if d := cmp.Diff([]string{"host/lab.toml 14"}, files); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	want := []string{"host: there is no state of a lab: it was never made, or is destroyed"}
	if d := cmp.Diff(want, missing); d != "" {
		t.Errorf("missing (-want +got):\n%s", d)
	}
	r = newRun(t, "collect")
	h.Default = nil
	CollectHost(r, h)
	if _, missing := closed(t, r); len(missing) != 2 || missing[1] != "host/lab.toml: not there" {
		t.Errorf("missing: %q", missing)
	}
}

func TestVersions(t *testing.T) {
	status := filepath.Join(t.TempDir(), "status")
	put(t, status, "Package: vagrant\nStatus: install ok installed\nVersion: 2.3.4+dfsg-1+deb12u1\n\n"+
		"Package: vagrant-mutate\nStatus: install ok installed\nVersion: 9\n\n"+
		"Package: vagrant-libvirt\nStatus: install ok installed\nDepends: x\nVersion: 1:0.11.2-1\n\n")
	gone := filepath.Join(t.TempDir(), "gone")
	removed := filepath.Join(t.TempDir(), "removed")
	put(t, removed, "Package: vagrant\nStatus: deinstall ok config-files\nVersion: 2.2.0\n\n")
	says := map[string]string{
		"vagrant --version":                  "==> vagrant: A new version is there!\nVagrant 2.4.1\n",
		"VBoxManage --version":               "WARNING: no kernel module\n7.0.20r163906\n",
		"virsh -c qemu:///system version":    "Compiled against library: libvirt 9.0.0\nUsing library: libvirt 9.0.1\nUsing API: QEMU 9.0.1\nRunning hypervisor: QEMU 7.2.22\n",
		"qemu-system-x86_64 --version":       "QEMU emulator version 7.2.21 (Debian 1:7.2)\n",
		"virsh -c qemu:///system version -x": "",
	}
	for _, tt := range []struct {
		name, provider, dpkg, vagrant string
		silent                        string // a program that fails
		want                          map[string]string
		asked                         int
	}{
		{"Debian's", "embedded", status, "/usr/bin/vagrant", "", map[string]string{"vagrant": "2.3.4", "vagrant-libvirt": "0.11.2", "libvirt": "9.0.1", "qemu": "7.2.22"}, 1},
		{"another Vagrant", "libvirt", status, "/opt/vagrant/bin/vagrant", "", map[string]string{"vagrant": "2.4.1", "vagrant-libvirt": "0.11.2", "libvirt": "9.0.1", "qemu": "7.2.22"}, 2},
		{"no libvirtd", "embedded", gone, "/usr/bin/vagrant", "virsh", map[string]string{"vagrant": "2.4.1", "qemu": "7.2.21"}, 3},
		{"VirtualBox", "virtualbox", gone, "/usr/bin/vagrant", "", map[string]string{"vagrant": "2.4.1", "virtualbox": "7.0.20r163906"}, 2},
		{"removed", "virtualbox", removed, "/usr/bin/vagrant", "VBoxManage", map[string]string{"vagrant": "2.4.1"}, 2},
		{"nothing", "", gone, "", "vagrant", map[string]string{}, 0},
	} {
		asked := make(chan string, 10)
		host := runner(func(_ context.Context, c remote.Command) (remote.Result, error) {
			asked <- c.Argv[0]
			if c.Argv[0] == tt.silent {
				return remote.Result{Stdout: "libvirt 1.2.3", ExitCode: 1}, nil
			}
			return remote.Result{Stdout: says[strings.Join(c.Argv, " ")]}, nil
		})
		v := versions{host, tt.dpkg, func(string) (string, error) {
			if tt.vagrant == "" {
				return "", errors.New("not there")
			}
			return tt.vagrant, nil
		}}
		got := v.all(t.Context(), tt.provider)
		if got["host"] == "" || !strings.HasSuffix(got["host"], ", "+runtime.GOARCH) || runtime.GOOS == "linux" && got["host kernel"] == "" {
			t.Errorf("%s: host %q, kernel %q", tt.name, got["host"], got["host kernel"])
		}
		delete(got, "host")
		delete(got, "host kernel")
		if d := cmp.Diff(tt.want, got); d != "" || len(asked) != tt.asked {
			t.Errorf("%s: asked %d programs, want %d; versions (-want +got):\n%s", tt.name, len(asked), tt.asked, d)
		}
	}
}

// A program that hangs costs no more than the command's own end.
func TestVersionsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	host := runner(func(ctx context.Context, _ remote.Command) (remote.Result, error) {
		cancel()
		<-ctx.Done()
		return remote.Result{}, ctx.Err()
	})
	begin := time.Now()
	if got := Versions(ctx, host, "virtualbox"); got["virtualbox"] != "" || time.Since(begin) > 5*time.Second {
		t.Errorf("%q after %v", got, time.Since(begin))
	}
}
