package provision

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/config"
	"labctl/internal/remote"
)

// freshNode is what probe.sh says of a node without Docker.
const freshNode = "distribution debian\nrelease bookworm\narch amd64\nroom sent 4000000 /\nroom programs 4000000 /\nroom data 4000000 /\npackage libc6 2.36\npackage kmod 2.0-1\npackage iproute2 0.9-1\n"

// node answers probe.sh with the text and lets install.sh end as given.
func node(probe string, install remote.Result, installErr error) *fake {
	return &fake{reply: func(c call) (remote.Result, error) {
		if strings.Contains(c.stdin, "Tells labctl what is on the node") {
			return remote.Result{Stdout: probe}, nil
		}
		return install, installErr
	}}
}

// untar returns the stream's files in their order.
func untar(t *testing.T, stream string) (names []string, text map[string]string) {
	t.Helper()
	text = map[string]string{}
	r := tar.NewReader(strings.NewReader(stream))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return names, text
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		text[h.Name] = string(b)
	}
}

func options(b *Bundle) Options {
	return Options{
		Node: "docker1", Source: config.SourceAuto, Bundle: b,
		Peers: map[string]netip.Addr{"docker2": netip.MustParseAddr("192.168.33.12"), "docker1": netip.MustParseAddr("192.168.33.11")},
	}
}

func TestInstallSendsWhatLacks(t *testing.T) {
	f := node(freshNode, remote.Result{Stdout: "noise\n::progress unpacking the packages\n::changed packages\n"}, nil)
	o := options(testBundle(t))
	var said []string
	o.Progress = func(s string) { said = append(said, s) }
	changed, err := Install(context.Background(), f, o)
	if err != nil || !changed {
		t.Fatalf("changed %v, %v", changed, err)
	}
	if len(f.calls) != 2 {
		t.Fatalf("commands %q", f.lines())
	}
	if diff := cmp.Diff([]string{"sudo", "-n", "sh", "-euc", bootstrap}, f.calls[1].Argv); diff != "" {
		t.Errorf("install (-want +got):\n%s", diff)
	}
	names, text := untar(t, f.calls[1].stdin)
	want := []string{"install.sh", "toolbox.sh", "daemon.json", "containerd.toml", "env", "debs/SHA256SUMS"}
	// Neither kmod, which the node has newer; but iproute2, which is older.
	for _, n := range []string{"apparmor", "busybox-static", "ca-certificates", "containerd", "docker.io", "iproute2", "iptables", "libdm", "runc", "tini"} {
		want = append(want, "debs/"+n+"_1.0-1_amd64.deb")
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("stream (-want +got):\n%s", diff)
	}
	if got := text["debs/tini_1.0-1_amd64.deb"]; got != "deb of tini" {
		t.Errorf("tini arrives as %q", got)
	}
	if got, want := text["debs/SHA256SUMS"], o.Bundle.pkg(t, "tini").SHA256+"  tini_1.0-1_amd64.deb\n"; !strings.Contains(got, want) {
		t.Errorf("SHA256SUMS lacks %q:\n%s", want, got)
	}
	mark := f.calls[0].Argv[len(f.calls[0].Argv)-1]
	wantEnv := "SOURCE='bundle'\nTHEIRS=''\nVERSION=''\nPROXY=''\nNO_PROXY='localhost,127.0.0.1,::1,docker1,192.168.33.11,docker2,192.168.33.12'\nMIRROR=''\nMARK='" + mark + "'\nLOCK_WAIT='180'\nSTART_WAIT='120'\n"
	if diff := cmp.Diff(wantEnv, text["env"]); diff != "" {
		t.Errorf("env (-want +got):\n%s", diff)
	}
	wantDaemon := `{
  "live-restore": false,
  "log-driver": "json-file",
  "log-opts": {
    "max-file": "3",
    "max-size": "10m"
  }
}
`
	if diff := cmp.Diff(wantDaemon, text["daemon.json"]); diff != "" {
		t.Errorf("daemon.json (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"sending packages: 10, 0.0 MB", "unpacking the packages"}, said); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}
}

func TestInstallTwice(t *testing.T) {
	f := node("done\n", remote.Result{}, errors.New("must not be called"))
	changed, err := Install(context.Background(), f, options(testBundle(t)))
	if err != nil || changed || len(f.calls) != 1 {
		t.Errorf("changed %v, %v, commands %q", changed, err, f.lines())
	}
}

// A node that has all packages gets the settings and the image all the same.
func TestInstallOnNodeWithPackages(t *testing.T) {
	probe := freshNode
	b := testBundle(t)
	for _, p := range b.Manifest.Packages {
		probe += "package " + p.Name + " " + p.Version + "\n"
	}
	f := node(probe, remote.Result{Stdout: "::progress dockerd answers\n"}, nil)
	changed, err := Install(context.Background(), f, options(b))
	if err != nil || changed {
		t.Errorf("changed %v, %v", changed, err)
	}
	names, _ := untar(t, f.calls[1].stdin)
	if diff := cmp.Diff([]string{"install.sh", "toolbox.sh", "daemon.json", "containerd.toml", "env"}, names); diff != "" {
		t.Errorf("stream (-want +got):\n%s", diff)
	}
}

func TestSecretsStayOffTheCommandLine(t *testing.T) {
	f := node(freshNode, remote.Result{}, nil)
	o := options(nil)
	o.Proxy = "http://user:it's-secret@proxy.example:3128"
	o.RegistryMirror = "http://mirror.example"
	if _, err := Install(context.Background(), f, o); err != nil {
		t.Fatal(err)
	}
	for _, c := range f.calls {
		if s := strings.Join(append(c.Argv, c.Env...), " "); strings.Contains(s, "secret") {
			t.Errorf("the proxy's password is on the command line: %s", s)
		}
	}
	_, text := untar(t, f.calls[1].stdin)
	if !strings.Contains(text["env"], `PROXY='http://user:it'\''s-secret@proxy.example:3128'`+"\n") {
		t.Errorf("env:\n%s", text["env"])
	}
	if !strings.Contains(text["env"], "SOURCE='apt'\n") {
		t.Errorf("without a bundle the source is not apt:\n%s", text["env"])
	}
	if !strings.Contains(text["daemon.json"], "\"registry-mirrors\": [\n    \"http://mirror.example\"\n  ]") {
		t.Errorf("daemon.json:\n%s", text["daemon.json"])
	}
}

// The mark must change with all that Install would do otherwise.
func TestMark(t *testing.T) {
	seen := map[string]string{}
	for name, change := range map[string]func(*Options){
		"plain":                 func(*Options) {},
		"version":               func(o *Options) { o.Version = "20.10" },
		"proxy":                 func(o *Options) { o.Proxy = "http://p" },
		"mirror":                func(o *Options) { o.RegistryMirror = "http://m" },
		"proxy for other peers": func(o *Options) { o.Proxy, o.Peers = "http://p", nil },
		"upstream":              func(o *Options) { o.Source = config.SourceUpstream },
	} {
		o := options(nil)
		change(&o)
		parts, err := o.parts()
		if err != nil {
			t.Fatal(err)
		}
		m := o.mark(parts)
		if other := seen[m]; other != "" {
			t.Errorf("%s and %s have the same mark", name, other)
		}
		seen[m] = name
	}
	// Without a proxy a lab that grows has nothing to install on the nodes that
	// it has, and a box none on those of other labs.
	o := options(nil)
	o.Peers = nil
	parts, err := o.parts()
	if err != nil {
		t.Fatal(err)
	}
	if seen[o.mark(parts)] != "plain" {
		t.Error("other peers change the mark")
	}
	script, err := o.BoxScript()
	if err != nil || !strings.HasPrefix(script, "set -- /var/lib/labctl "+o.mark(parts)+"\n") {
		t.Errorf("the box gets another mark (%v): %.120s", err, script)
	}
}

func TestInstallRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		probe  string
		change func(*Options)
		want   string
	}{
		{"no bundle", freshNode, func(o *Options) { o.Bundle = nil },
			`docker1: install Docker: docker.source is "bundle", but there is no bundle: run labctl bundle build`},
		{"other architecture", strings.Replace(freshNode, "amd64", "arm64", 1), func(*Options) {},
			`docker1: install Docker: the bundle is for debian bookworm (amd64), the node runs debian bookworm (arm64): build a bundle that fits, or set docker.source = "apt"`},
		{"other release", strings.Replace(freshNode, "bookworm", "trixie", 1), func(*Options) {},
			`docker1: install Docker: the bundle is for debian bookworm (amd64), the node runs debian trixie (amd64): build a bundle that fits, or set docker.source = "apt"`},
		{"other distribution", strings.Replace(freshNode, "debian\nrelease bookworm", "ubuntu\nrelease noble", 1), func(*Options) {},
			`docker1: install Docker: the bundle is for debian bookworm (amd64), the node runs ubuntu noble (amd64): build a bundle that fits, or set docker.source = "apt"`},
		{"other version", freshNode, func(o *Options) { o.Version = "20.10.2" },
			`docker1: install Docker: the bundle has docker.io 20.10.24+dfsg1-1, lab.toml asks for 20.10.2: build a bundle that fits, or set docker.source = "apt"`},
		{"disk short", strings.ReplaceAll(freshNode, "4000000 /", "40000 /"), func(*Options) {},
			`docker1: install Docker: 35 MiB are missing on the disk of /: 39 MiB free, 74 MiB needed`},
		{"disk full", strings.ReplaceAll(freshNode, "4000000 /", "0 /"), func(*Options) {},
			`docker1: install Docker: 74 MiB are missing on the disk of /: 0 MiB free, 74 MiB needed`},
		{"disk full, apt", strings.ReplaceAll(freshNode, "4000000 /", "0 /"), func(o *Options) { o.Source = config.SourceApt },
			`docker1: install Docker: 534 MiB are missing on the disk of /: 0 MiB free, 534 MiB needed`},
		{"one disk of several full", strings.Replace(freshNode, "room data 4000000 /", "room data 1000 /var", 1), func(*Options) {},
			`docker1: install Docker: 64 MiB are missing on the disk of /var: 0 MiB free, 64 MiB needed`},
		{"disk full afterwards", "room sent 0 /\nroom programs 0 /\nroom data 9000 /\ndone\n", func(*Options) {},
			`docker1: install Docker: 24 MiB are missing on the disk of /: 8 MiB free, 32 MiB needed`},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := node(c.probe, remote.Result{}, errors.New("must not be called"))
			o := options(testBundle(t))
			o.Source = config.SourceBundle
			c.change(&o)
			_, err := Install(context.Background(), f, o)
			if err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
			if len(f.calls) > 1 {
				t.Errorf("commands %q", f.lines())
			}
		})
	}
}

func TestAutoFallsBackToApt(t *testing.T) {
	f := node(strings.Replace(freshNode, "bookworm", "trixie", 1), remote.Result{}, nil)
	o := options(testBundle(t))
	var said []string
	o.Progress = func(s string) { said = append(said, s) }
	if _, err := Install(context.Background(), f, o); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"the bundle is for debian bookworm (amd64), the node runs debian trixie (amd64): installing with apt"}, said); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}
	names, text := untar(t, f.calls[1].stdin)
	if !strings.HasPrefix(text["env"], "SOURCE='apt'\n") || len(names) != 5 {
		t.Errorf("sent %q, env:\n%s", names, text["env"])
	}
}

func TestInstallErrors(t *testing.T) {
	lost := errors.New("the SSH connection was lost")
	for _, c := range []struct {
		name         string
		res          remote.Result
		err          error
		want, output string
	}{
		{"script's word", remote.Result{ExitCode: 1, Stderr: "dpkg: trouble\nlabctl: the package database is still locked by process 812 apt-get after 180 s; wait for it to end, then run the same command again\n"}, nil,
			"docker1: install Docker: the package database is still locked by process 812 apt-get after 180 s; wait for it to end, then run the same command again", "dpkg: trouble"},
		{"last line", remote.Result{ExitCode: 1, Stderr: "tar: one\nsudo: a password is required\n"}, nil,
			"docker1: install Docker: sudo: a password is required", "tar: one\nsudo: a password is required"},
		{"silent", remote.Result{ExitCode: 9}, nil,
			"docker1: install Docker: exit code 9 without a word", ""},
		{"connection", remote.Result{}, &remote.RunError{Node: "docker1", Argv: []string{"sudo"}, Err: lost},
			"docker1: install Docker: the SSH connection was lost", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Install(context.Background(), node(freshNode, c.res, c.err), options(nil))
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v", err)
			}
			if e.Error() != c.want || e.Output() != c.output {
				t.Errorf("got  %s\nwant %s\noutput %q, want %q", e, c.want, e.Output(), c.output)
			}
			var exit *remote.ExitError
			if c.err != nil && !errors.Is(err, lost) || c.err == nil && !errors.As(err, &exit) {
				t.Errorf("the cause is lost: %#v", e.Err)
			}
		})
	}
}

// A command that ends without reading its input must not leave the writer of
// the stream behind, nor hang.
func TestInstallUnreadStream(t *testing.T) {
	r := runnerFunc(func(c remote.Command) (remote.Result, error) {
		if c.Argv[3] == "-eu" {
			return remote.Result{Stdout: freshNode}, nil
		}
		return remote.Result{ExitCode: 1, Stderr: "tar: No space left on device\n"}, nil
	})
	_, err := Install(context.Background(), r, options(testBundle(t)))
	if want := "docker1: install Docker: tar: No space left on device"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

type runnerFunc func(remote.Command) (remote.Result, error)

func (f runnerFunc) Run(_ context.Context, c remote.Command) (remote.Result, error) { return f(c) }

func TestPrepare(t *testing.T) {
	for _, c := range []struct {
		out  string
		want bool
	}{{"", false}, {"::changed /etc/hosts\n", true}} {
		f := node("", remote.Result{Stdout: c.out}, nil)
		changed, err := Prepare(context.Background(), f, PrepareOptions{
			Hostname: "docker1", User: "vagrant", Peers: options(nil).Peers, Address: netip.MustParsePrefix("192.168.33.11/24"),
		})
		if err != nil || changed != c.want {
			t.Errorf("changed %v, %v", changed, err)
		}
		want := []string{"sudo -n sh -eu -s -- docker1 vagrant 192.168.33.11/24 192.168.33.0/24 docker1=192.168.33.11 docker2=192.168.33.12"}
		if diff := cmp.Diff(want, f.lines()); diff != "" {
			t.Errorf("commands (-want +got):\n%s", diff)
		}
	}
	f := node("", remote.Result{ExitCode: 1, Stderr: "labctl: the kernel 6.1 cannot load the module vxlan\n"}, nil)
	_, err := Prepare(context.Background(), f, PrepareOptions{Hostname: "docker1", User: "vagrant"})
	if want := "docker1: prepare: the kernel 6.1 cannot load the module vxlan"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// Output comes in pieces that know nothing of lines.
func TestNews(t *testing.T) {
	var said []string
	n := &news{progress: func(s string) { said = append(said, s) }}
	for _, s := range []string{"::prog", "ress a\n::progress b", "\nx ::changed no\n"} {
		if _, err := fmt.Fprint(n, s); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"a", "b"}, said); diff != "" || n.changed {
		t.Errorf("changed %v, progress (-want +got):\n%s", n.changed, diff)
	}
	_, _ = fmt.Fprint(n, "::changed x\n")
	if !n.changed {
		t.Error("a change went by unseen")
	}
}

func TestMeter(t *testing.T) {
	var said []int64
	m := &meter{every: 10, say: func(n int64) { said = append(said, n) }}
	for range 7 {
		if _, err := m.Write(make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]int64{12, 24}, said); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
