package provision

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/apt"
	"labctl/internal/remote"
)

// aptHost answers like a Debian machine whose mirror has tiny packages.
type aptHost struct {
	id      string            // of /etc/os-release; "" for a machine without dpkg
	damaged string            // package that arrives damaged
	update  remote.Result     // of apt-get update
	version map[string]string // other than 1.0
}

func (h aptHost) content(name string) string { return "deb of " + name + h.version[name] }

func (h aptHost) answer(c call) (remote.Result, error) {
	words := c.Argv[1:]
	switch {
	case c.Argv[0] == "dpkg" && h.id == "":
		return remote.Result{}, &remote.RunError{Node: "host", Argv: c.Argv, Err: exec.ErrNotFound}
	case c.Argv[0] == "dpkg":
		return remote.Result{Stdout: "amd64\n"}, nil
	case words[0] == "indextargets":
		return remote.Result{Stdout: "http://m.example/debian/|bookworm|bookworm|Debian|main\n"}, nil
	case words[0] == "dump":
		return remote.Result{Stdout: "Acquire::Check-Date \"false\";\n"}, nil
	case words[len(words)-1] == "update":
		return h.update, nil
	case words[0] == "pkgnames":
		return remote.Result{Stdout: "docker-cli-extra\n"}, nil
	case words[1] == "--simulate":
		out := ""
		names := words[3:]
		if names[0] == "?essential" {
			names = []string{"libc6"}
		} else {
			names = append([]string{"libc6", "libdm"}, names...)
		}
		for _, n := range names {
			n, _, _ = strings.Cut(n, "=")
			out += fmt.Sprintf("Inst %s (%s Debian:12 [amd64])\n", n, h.ver(n))
		}
		return remote.Result{Stdout: out}, nil
	case words[0] == "show":
		out := ""
		for _, w := range words[1:] {
			n, _, _ := strings.Cut(w, "=")
			f, err := os.CreateTemp("", "deb")
			if err != nil {
				return remote.Result{}, err
			}
			_, _ = f.WriteString(h.content(n))
			_ = f.Close()
			sum, size, err := hashFile(f.Name())
			if err != nil {
				return remote.Result{}, err
			}
			_ = os.Remove(f.Name())
			out += fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: amd64\nDepends: libc6\nSize: %d\nSHA256: %s\n\n", n, h.ver(n), size, sum)
		}
		return remote.Result{Stdout: out}, nil
	case words[1] == "download":
		for _, w := range words[2:] {
			n, v, _ := strings.Cut(w, "=")
			text := h.content(n)
			if n == h.damaged {
				text = "junk"
			}
			if err := os.WriteFile(filepath.Join(c.Dir, n+"_"+v+"_amd64.deb"), []byte(text), 0o644); err != nil {
				return remote.Result{}, err
			}
		}
		return remote.Result{}, nil
	}
	return remote.Result{}, fmt.Errorf("unexpected command %q", c.Argv)
}

func (h aptHost) ver(name string) string {
	if v := h.version[name]; v != "" {
		return v
	}
	return "1.0"
}

// osRelease is the machine's file of that name.
func (h aptHost) osRelease(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "os-release")
	text := ""
	if h.id != "" {
		text = "ID=" + h.id + "\nVERSION_CODENAME=bookworm\n"
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func build(t *testing.T, h aptHost, o BundleOptions) (*Bundle, []string, []string, error) {
	t.Helper()
	var said []string
	f := &fake{reply: h.answer}
	o.osRelease = h.osRelease(t)
	o.Host, o.Progress = f, func(s string) { said = append(said, s) }
	b, err := BuildBundle(context.Background(), o)
	return b, f.lines(), said, err
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestBuildBundle(t *testing.T) {
	cache := filepath.Join(t.TempDir(), "cache")
	if err := os.MkdirAll(filepath.Join(cache, ".bundle-killed.tmp"), 0o755); err != nil {
		t.Fatal(err)
	}
	debian := aptHost{id: "debian"}
	b, cmds, said, err := build(t, debian, BundleOptions{CacheDir: cache})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"dpkg --print-architecture",
		"apt-get indextargets --format $(REPO_URI)|$(RELEASE)|$(CODENAME)|$(ORIGIN)|$(COMPONENT) Created-By: Packages",
		"apt-config dump",
		"apt-get -q update",
		"apt-cache pkgnames docker-cli",
		"apt-get -q --simulate install " + strings.Join(needed, " "),
		"apt-get -q --simulate install ?essential ?priority(^required$)",
		"apt-cache show apparmor=1.0 busybox-static=1.0 ca-certificates=1.0 containerd=1.0 docker.io=1.0 iproute2=1.0 iptables=1.0 kmod=1.0 libc6=1.0 libdm=1.0 runc=1.0 tini=1.0 libc6=1.0",
		"apt-get -q download apparmor=1.0 busybox-static=1.0 ca-certificates=1.0 containerd=1.0 docker.io=1.0 iproute2=1.0 iptables=1.0 kmod=1.0 libdm=1.0 runc=1.0 tini=1.0",
	}
	if diff := cmp.Diff(want, cmds); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"reading the package lists", "working out what Docker needs", "downloading 11 packages, 0 MB", "checking the packages", "repacking the large packages"}, said); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}
	if !b.Built || b.Manifest.Release != "bookworm" || b.Manifest.Arch != "amd64" {
		t.Errorf("built %v for %s %s", b.Built, b.Manifest.Release, b.Manifest.Arch)
	}
	if diff := cmp.Diff([]string{filepath.Base(b.Dir), "bundle.lock"}, names(t, cache)); diff != "" {
		t.Errorf("left in the cache (-want +got):\n%s", diff)
	}

	again, cmds, _, err := build(t, debian, BundleOptions{CacheDir: cache})
	if err != nil {
		t.Fatal(err)
	}
	if again.Built || again.Dir != b.Dir || len(cmds) != 1 {
		t.Errorf("the second build: built %v in %s with %q", again.Built, again.Dir, cmds)
	}

	forced, cmds, _, err := build(t, debian, BundleOptions{CacheDir: cache, Force: true})
	if err != nil {
		t.Fatal(err)
	}
	if forced.Built || forced.Dir != b.Dir || len(cmds) != 8 {
		t.Errorf("forced, with the same versions: built %v in %s with %d commands", forced.Built, forced.Dir, len(cmds))
	}

	newer := aptHost{id: "debian", version: map[string]string{"tini": "1.1"}}
	other, _, _, err := build(t, newer, BundleOptions{CacheDir: cache, Force: true})
	if err != nil {
		t.Fatal(err)
	}
	if !other.Built || other.Dir == b.Dir {
		t.Errorf("forced, with another version: built %v in %s", other.Built, other.Dir)
	}
}

func TestBuildBundleMendsTheCache(t *testing.T) {
	cache := t.TempDir()
	debian := aptHost{id: "debian"}
	b, _, _, err := build(t, debian, BundleOptions{CacheDir: cache})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(b.Dir, "tini_1.0_amd64.deb")); err != nil {
		t.Fatal(err)
	}
	b, _, _, err = build(t, debian, BundleOptions{CacheDir: cache})
	if err != nil || !b.Built {
		t.Errorf("a file was missing: built %v, %v", b != nil && b.Built, err)
	}
	if err := os.WriteFile(filepath.Join(b.Dir, manifestFile), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	b, _, _, err = build(t, debian, BundleOptions{CacheDir: cache})
	if err != nil || !b.Built {
		t.Errorf("the manifest was cut: built %v, %v", b != nil && b.Built, err)
	}
}

func TestBuildBundleErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		host aptHost
		o    BundleOptions
		want string
	}{
		{"not Debian", aptHost{id: "ubuntu"}, BundleOptions{},
			`build bundle: this host is not Debian, so its apt settings say nothing about Debian`},
		{"no system", aptHost{}, BundleOptions{},
			`build bundle: this machine runs an unknown system: a bundle is made of Debian's packages with Debian's apt; docker.source = "apt" needs no bundle`},
		{"mirror down", aptHost{id: "debian", update: remote.Result{ExitCode: 100, Stderr: "W: odd\nE: Could not connect to m.example\nE: more\n"}}, BundleOptions{},
			`build bundle: host: apt: Could not connect to m.example`},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.CacheDir = t.TempDir()
			_, _, _, err := build(t, c.host, c.o)
			if err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
			if diff := cmp.Diff([]string{"bundle.lock"}, names(t, c.o.CacheDir)); diff != "" {
				t.Errorf("left in the cache (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBuildBundleRefusesDamage(t *testing.T) {
	cache := t.TempDir()
	_, _, _, err := build(t, aptHost{id: "debian", damaged: "tini"}, BundleOptions{CacheDir: cache})
	var be *BundleError
	if !errors.As(err, &be) || len(be.Problems) != 1 || !strings.HasPrefix(be.Problems[0], "tini is damaged: tini_1.0_amd64.deb has SHA-256 ") {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff([]string{"bundle.lock"}, names(t, cache)); diff != "" {
		t.Errorf("left in the cache (-want +got):\n%s", diff)
	}
}

// An Ubuntu machine can build for Debian if it is told a mirror. The private
// apt gets that, and of the host's settings those for fetching.
func TestBuildBundleFromMirror(t *testing.T) {
	sources, conf, private := "", "", ""
	h := aptHost{id: "ubuntu"}
	f := &fake{reply: func(c call) (remote.Result, error) {
		for _, e := range c.Env {
			if file, ok := strings.CutPrefix(e, "APT_CONFIG="); ok {
				private = filepath.Dir(file)
				for name, text := range map[string]*string{"sources.list": &sources, "apt.conf": &conf} {
					data, err := os.ReadFile(filepath.Join(private, name))
					if err != nil {
						return remote.Result{}, err
					}
					*text = string(data)
				}
			}
		}
		return h.answer(c)
	}}
	b, err := BuildBundle(context.Background(), BundleOptions{CacheDir: t.TempDir(), Release: "trixie", Mirror: "http://other.example/debian", Host: f, Version: "1.0", osRelease: h.osRelease(t)})
	if err != nil {
		t.Fatal(err)
	}
	want := "deb [signed-by=" + apt.Keyring + "] http://other.example/debian trixie main\n" +
		"deb [signed-by=" + apt.Keyring + "] http://other.example/debian trixie-updates main\n"
	if diff := cmp.Diff(want, sources); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
	want = `Dir::State "D/state";
Dir::State::status "D/status";
Dir::Cache "D/cache";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "D/none";
Dir::Etc::sourcelist "D/sources.list";
Dir::Etc::sourceparts "D/none";
Dir::Etc::preferences "D/preferences";
Dir::Etc::preferencesparts "D/none";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::Etc::netrc "/etc/apt/auth.conf";
Dir::Etc::netrcparts "/etc/apt/auth.conf.d";
APT::Update::Error-Mode "any";
Acquire::Check-Date "false";
`
	conf = strings.ReplaceAll(conf, private, "D")
	conf = strings.Replace(conf, "APT::Sandbox::User \"root\";\n", "", 1) // root's only
	if diff := cmp.Diff(want, conf); diff != "" {
		t.Errorf("apt.conf (-want +got):\n%s", diff)
	}
	if b.Manifest.Release != "trixie" {
		t.Errorf("release %s", b.Manifest.Release)
	}
	if got := f.lines()[4]; !strings.Contains(got, " docker.io=1.0* ") {
		t.Errorf("the version is not asked for: %s", got)
	}
}
