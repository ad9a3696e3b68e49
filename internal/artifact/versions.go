package artifact

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"time"

	"labctl/internal/remote"
)

// versionWithin bounds each question for a program's version. Vagrant takes a
// second or two for the answer, a hypervisor no time.
const versionWithin = 10 * time.Second

// dpkgStatus is where Debian's package manager notes what is installed.
const dpkgStatus = "/var/lib/dpkg/status"

// Versions tells the versions of the host's programs that make a lab, by name:
// vagrant, vagrant-libvirt, virtualbox or qemu and libvirt, the host's system
// and kernel. They are asked side by side, where the package database does not
// know them; what does not answer is left out. provider is "virtualbox",
// "libvirt", "embedded", "existing", or "" for one that is not chosen yet.
func Versions(ctx context.Context, host remote.Runner, provider string) map[string]string {
	return versions{host, dpkgStatus, exec.LookPath}.all(ctx, provider)
}

type versions struct {
	host     remote.Runner
	dpkg     string
	lookPath func(string) (string, error)
}

func (v versions) all(ctx context.Context, provider string) map[string]string {
	out := map[string]string{}
	var mu sync.Mutex
	put := func(name, version string) {
		if version != "" {
			mu.Lock()
			out[name] = version
			mu.Unlock()
		}
	}
	put("host", hostSystem())
	put("host kernel", hostKernel())
	if provider == "existing" {
		return out // this host makes nothing
	}
	packages := v.packages("vagrant", "vagrant-libvirt")
	var wg sync.WaitGroup
	wg.Go(func() { put("vagrant", v.vagrant(ctx, packages["vagrant"])) })
	if provider == "virtualbox" {
		wg.Go(func() { put("virtualbox", find(v.ask(ctx, "VBoxManage", "--version"), `(?m)^(\d\S*)`)) })
	} else if provider != "" {
		put("vagrant-libvirt", upstream(packages["vagrant-libvirt"]))
		wg.Go(func() {
			said := v.ask(ctx, "virsh", "-c", "qemu:///system", "version")
			put("libvirt", find(said, `(?m)^Using library: libvirt (\S+)`))
			qemu := find(said, `(?m)^Running hypervisor: QEMU (\S+)`)
			if qemu == "" { // there is no libvirtd
				qemu = find(v.ask(ctx, "qemu-system-x86_64", "--version"), `version (\S+)`)
			}
			put("qemu", qemu)
		})
	}
	wg.Wait()
	return out
}

// vagrant is asked itself only if it is not the package's, for it is the only
// program that takes long to answer.
func (v versions) vagrant(ctx context.Context, packaged string) string {
	if path, err := v.lookPath("vagrant"); err != nil {
		return ""
	} else if packaged != "" && filepath.Clean(path) == "/usr/bin/vagrant" {
		return upstream(packaged)
	}
	return find(v.ask(ctx, "vagrant", "--version"), `Vagrant (\S+)`)
}

// ask returns what a program prints, "" if it fails.
func (v versions) ask(ctx context.Context, argv ...string) string {
	ctx, cancel := context.WithTimeoutCause(ctx, versionWithin, fmt.Errorf("no answer within %v", versionWithin))
	defer cancel()
	res, err := v.host.Run(ctx, remote.Command{Argv: argv, Env: []string{"LC_ALL=C", "VAGRANT_CHECKPOINT_DISABLE=1"}})
	if err != nil || res.ExitCode != 0 {
		return ""
	}
	return res.Stdout
}

func find(text, expr string) string {
	if m := regexp.MustCompile(expr).FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

// packages returns the versions of those packages that are installed.
func (v versions) packages(names ...string) map[string]string {
	out := map[string]string{}
	data, err := os.ReadFile(v.dpkg)
	if err != nil {
		return out
	}
	for _, name := range names {
		head := []byte("Package: " + name + "\n")
		i := 0
		if !bytes.HasPrefix(data, head) {
			if i = bytes.Index(data, append([]byte("\n"), head...)) + 1; i == 0 {
				continue
			}
		}
		text, _, _ := strings.Cut(string(data[i:]), "\n\n")
		if strings.Contains(text, "\nStatus: install ok installed\n") {
			out[name] = find(text, `(?m)^Version: (\S+)`)
		}
	}
	return out
}

// upstream is the program's own version in that of its package, such as 2.3.4
// in 2.3.4+dfsg-1.
func upstream(version string) string {
	return find(version, `^(?:\d+:)?([0-9][0-9.]*)`)
}

func hostSystem() string {
	name := runtime.GOOS
	if data, err := os.ReadFile("/etc/os-release"); err == nil && quoted(string(data), "PRETTY_NAME=") != "" {
		name = quoted(string(data), "PRETTY_NAME=")
	}
	return name + ", " + runtime.GOARCH
}

func hostKernel() string {
	data, _ := os.ReadFile("/proc/sys/kernel/osrelease") // Linux alone has it
	return strings.TrimSpace(string(data))
}
