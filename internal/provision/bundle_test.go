package provision

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/config"
)

func TestVerify(t *testing.T) {
	remove := func(b *Bundle, name string) {
		b.Manifest.Packages = slices.DeleteFunc(b.Manifest.Packages, func(p Package) bool { return p.Name == name })
	}
	for _, c := range []struct {
		name   string
		change func(t *testing.T, b *Bundle)
		want   []string
	}{
		{"good", func(*testing.T, *Bundle) {}, nil},
		{"file missing", func(t *testing.T, b *Bundle) {
			if err := os.Remove(filepath.Join(b.Dir, "tini_1.0-1_amd64.deb")); err != nil {
				t.Fatal(err)
			}
		}, []string{"lacks tini: no file tini_1.0-1_amd64.deb, needed by containerd, docker.io"}},
		{"needed package missing", func(t *testing.T, b *Bundle) {
			remove(b, "tini")
		}, []string{
			"lacks tini: needed by containerd, docker.io",
			"holds tini_1.0-1_amd64.deb, which manifest.json does not list",
		}},
		{"nobody's package missing", func(t *testing.T, b *Bundle) {
			remove(b, "apparmor")
		}, []string{
			"lacks apparmor: needed by labctl",
			"holds apparmor_1.0-1_amd64.deb, which manifest.json does not list",
		}},
		{"dependency missing", func(t *testing.T, b *Bundle) {
			remove(b, "libdm")
		}, []string{
			"lacks libdevmapper or other: needed by docker.io",
			"holds libdm_1.0-1_amd64.deb, which manifest.json does not list",
		}},
		{"other architecture", func(t *testing.T, b *Bundle) {
			b.pkg(t, "runc").Arch = "arm64"
		}, []string{"runc is for arm64, not for amd64"}},
		{"damaged", func(t *testing.T, b *Bundle) {
			if err := os.WriteFile(filepath.Join(b.Dir, "runc_1.0-1_amd64.deb"), []byte("other"), 0o644); err != nil {
				t.Fatal(err)
			}
			b.pkg(t, "runc").SHA256 = "1234"
		}, []string{"runc is damaged: runc_1.0-1_amd64.deb has SHA-256 d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa and 5 bytes, not 1234 and 11"}},
		{"wrong size", func(t *testing.T, b *Bundle) {
			b.pkg(t, "runc").Size = 12
		}, []string{"runc is damaged: runc_1.0-1_amd64.deb has SHA-256 " + hashOf(t, testBundle(t), "runc_1.0-1_amd64.deb") + " and 11 bytes, not " + hashOf(t, testBundle(t), "runc_1.0-1_amd64.deb") + " and 12"}},
		{"impossible room", func(t *testing.T, b *Bundle) {
			b.pkg(t, "runc").InstalledKB = -5
		}, []string{"runc takes -5 KiB, says manifest.json"}},
		{"name leads out", func(t *testing.T, b *Bundle) {
			b.pkg(t, "runc").File = "../runc.deb"
		}, []string{
			`runc has the unusable file name "../runc.deb"`,
			"holds runc_1.0-1_amd64.deb, which manifest.json does not list",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := testBundle(t)
			c.change(t, b)
			err := b.Verify()
			var got []string
			var be *BundleError
			if errors.As(err, &be) {
				got = be.Problems
			} else if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBundleErrorText(t *testing.T) {
	err := &BundleError{Dir: "/cache/b", Problems: []string{"lacks tini: needed by docker.io", "runc is for arm64, not for amd64"}}
	want := "bundle /cache/b: lacks tini: needed by docker.io; runc is for arm64, not for amd64; run labctl bundle build"
	if got := err.Error(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestFindBundle(t *testing.T) {
	cache := t.TempDir()
	add := func(dir, release, arch string, created time.Time) {
		t.Helper()
		b := &Bundle{Dir: filepath.Join(cache, dir), Manifest: Manifest{Schema: manifestSchema, Release: release, Arch: arch, Created: created}}
		if err := os.Mkdir(b.Dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := b.write(); err != nil {
			t.Fatal(err)
		}
	}
	day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	add("bundle-1", "bookworm", "amd64", day.AddDate(0, 0, 1))
	add("bundle-2", "bookworm", "amd64", day)
	add("bundle-3", "trixie", "amd64", day.AddDate(0, 0, 2))
	add(".bundle-4.tmp", "bookworm", "amd64", day.AddDate(0, 0, 9))
	for _, c := range []struct{ release, arch, want string }{
		{"bookworm", "amd64", "bundle-1"},
		{"", "", "bundle-3"},
		{"bookworm", "arm64", ""},
	} {
		b, err := FindBundle(cache, c.release, c.arch)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if b != nil {
			got = filepath.Base(b.Dir)
		}
		if got != c.want {
			t.Errorf("FindBundle(%q, %q) = %q, want %q", c.release, c.arch, got, c.want)
		}
	}
	if b, err := FindBundle(filepath.Join(cache, "none"), "", ""); b != nil || err != nil {
		t.Errorf("without a cache: %v, %v", b, err)
	}

	dir := filepath.Join(cache, "bundle-5")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, manifestFile), []byte(`{"schema": 2}`), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := FindBundle(cache, "", "")
	want := "bundle " + dir + ": manifest.json has schema 2, this labctl knows 1; run labctl bundle build"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func hashOf(t *testing.T, b *Bundle, file string) string {
	t.Helper()
	sum, _, err := hashFile(filepath.Join(b.Dir, file))
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// Whatever a manifest says, one that passes names files of its own folder
// alone, and asks for a room that can be.
func FuzzManifest(f *testing.F) {
	dir := testBundle(f).Dir
	file := filepath.Join(dir, manifestFile)
	good, err := os.ReadFile(file)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(bytes.Replace(good, []byte("runc_1.0"), []byte("../runc_1.0"), 1))
	f.Add([]byte(`{"schema":1,"packages":[{"name":"a","file":"-a.deb","installed_kb":-9223372036854775808,"size":-1,"depends":["b (>= 1) | c:any",""]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := readBundle(dir)
		if err == nil {
			err = b.Verify()
		}
		var be *BundleError
		if err != nil {
			if !errors.As(err, &be) || len(be.Problems) == 0 {
				t.Fatalf("error of type %T: %v", err, err)
			}
			return
		}
		for _, p := range b.Manifest.Packages {
			if info, err := os.Lstat(filepath.Join(dir, p.File)); err != nil || info.Size() != p.Size || filepath.Dir(filepath.Join(dir, p.File)) != dir {
				t.Errorf("%+v: %v", p, err)
			}
		}
		for what, kb := range wants(config.SourceBundle, facts{}, b.lackedBy(nil)) {
			if kb < 0 {
				t.Errorf("%s: %d", what, kb)
			}
		}
	})
}
