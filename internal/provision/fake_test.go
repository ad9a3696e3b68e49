package provision

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"labctl/internal/remote"
)

// call is one command that a fake was given.
type call struct {
	remote.Command
	stdin string
}

// fake is a Runner that answers from a function and remembers its calls.
type fake struct {
	mu    sync.Mutex
	calls []call
	reply func(c call) (remote.Result, error)
}

func (f *fake) Run(_ context.Context, c remote.Command) (remote.Result, error) {
	in := ""
	if c.Stdin != nil {
		text, err := io.ReadAll(c.Stdin)
		if err != nil {
			return remote.Result{Argv: c.Argv}, err
		}
		in = string(text)
	}
	f.mu.Lock()
	f.calls = append(f.calls, call{c, in})
	f.mu.Unlock()
	res, err := f.reply(call{c, in})
	res.Argv = c.Argv
	if c.Stdout != nil {
		_, _ = io.WriteString(c.Stdout, res.Stdout)
	}
	if c.Stderr != nil {
		_, _ = io.WriteString(c.Stderr, res.Stderr)
	}
	return res, err
}

// lines returns the commands as lines.
func (f *fake) lines() []string {
	var out []string
	for _, c := range f.calls {
		out = append(out, strings.Join(c.Argv, " "))
	}
	return out
}

// testBundle makes a good bundle of tiny files: all that is needed, and
// docker.io depends on tini, on libc6 and on what only a library provides.
func testBundle(t testing.TB) *Bundle {
	t.Helper()
	b := &Bundle{Dir: t.TempDir(), Manifest: Manifest{
		Schema: manifestSchema, Distribution: "debian", Release: "bookworm", Arch: "amd64", Base: []string{"dpkg", "libc6"},
	}}
	for _, name := range append([]string{"libdm"}, needed...) {
		p := Package{Name: name, Version: "1.0-1", Arch: "amd64", File: name + "_1.0-1_amd64.deb", InstalledKB: 1024}
		switch name {
		case "docker.io":
			p.Version = "20.10.24+dfsg1-1"
			p.Depends = []string{"tini (>= 0.1)", "libc6 (>= 2.34)", "libdevmapper | other"}
		case "libdm":
			p.Provides = []string{"libdevmapper"}
		case "containerd":
			p.Depends = []string{"runc", "tini"}
		case "ca-certificates":
			p.Arch = "all"
		}
		if err := os.WriteFile(filepath.Join(b.Dir, p.File), []byte("deb of "+name), 0o644); err != nil {
			t.Fatal(err)
		}
		var err error
		if p.SHA256, p.Size, err = hashFile(filepath.Join(b.Dir, p.File)); err != nil {
			t.Fatal(err)
		}
		b.Manifest.Packages = append(b.Manifest.Packages, p)
	}
	if err := b.write(); err != nil {
		t.Fatal(err)
	}
	return b
}

// pkg returns the bundle's own entry of that name.
func (b *Bundle) pkg(t *testing.T, name string) *Package {
	t.Helper()
	for i := range b.Manifest.Packages {
		if b.Manifest.Packages[i].Name == name {
			return &b.Manifest.Packages[i]
		}
	}
	t.Fatalf("no package %s in the bundle", name)
	return nil
}
