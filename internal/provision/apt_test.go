package provision

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseInst(t *testing.T) {
	got := parseInst(`Reading package lists...
Inst tini (0.19.0-1+b3 Debian:12.15/oldstable [amd64])
Inst libc6 (2.36-9+deb12u14 Debian:12.15/oldstable, Debian-Security:12/oldstable-security [amd64]) []
Conf libc6 (2.36-9+deb12u14 Debian:12.15/oldstable [amd64])
`)
	if diff := cmp.Diff([]string{"libc6=2.36-9+deb12u14", "tini=0.19.0-1+b3"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParsePackages(t *testing.T) {
	got, err := parsePackages(`Package: busybox-static
Version: 1:1.35.0-4
Installed-Size: 2024
Architecture: amd64
Provides: busybox (= 1:1.35.0-4), other
Pre-Depends: dpkg (>= 1.17)
Depends: libc6 (>= 2.34),
 debconf (>= 0.5) | debconf-2.0
Description: a box
 with a long: description
Size: 928188
SHA256: 3d3f

`)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]Package{"busybox-static=1:1.35.0-4": {
		Name: "busybox-static", Version: "1:1.35.0-4", Arch: "amd64", File: "busybox-static_1%3a1.35.0-4_amd64.deb",
		Size: 928188, SHA256: "3d3f", InstalledKB: 2024,
		Depends:  []string{"dpkg (>= 1.17)", "libc6 (>= 2.34)", "debconf (>= 0.5) | debconf-2.0"},
		Provides: []string{"busybox", "other"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := parsePackages("Package: x\nSize: big\n"); err == nil || err.Error() != `size of package x: strconv.ParseInt: parsing "big": invalid syntax` {
		t.Errorf("a wrong size: %v", err)
	}
}

// What apt shows of packages is their .deb files' control data.
func FuzzParsePackages(f *testing.F) {
	f.Add("A: b\n c\n\nD: e\n")
	f.Add(" x\n:\n\n\r\n")
	f.Add("Package: busybox\nVersion: 1:1.35.0-4\nArchitecture: amd64\nSize: 9\nInstalled-Size: 4\nDepends: a (>= 1) | b,\n c\nProvides: d\n\nPackage: ../x\nSize: 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range parseStanzas(text) {
			if len(s) == 0 {
				t.Errorf("%q has a paragraph without fields", text)
			}
		}
		all, err := parsePackages(text)
		if err != nil && all != nil {
			t.Error("packages beside an error")
		}
		for key, p := range all {
			if key != p.Name+"="+p.Version || filepath.Dir(filepath.Join("/bundle", p.File)) != "/bundle" || p.Size < 0 || p.InstalledKB < 0 {
				t.Errorf("%s: %+v", key, p)
			}
		}
	})
}

// Of any file either a new one comes, or an error and the old one.
func FuzzSwapData(f *testing.F) {
	f.Add([]byte(arMagic + fmt.Sprintf("%-16s%-32s%-10d`\n", "debian-binary", "0", 4) + "2.0\n" + fmt.Sprintf("%-16s%-32s%-10d`\n", "data.tar.xz", "0", 1) + "x\n"))
	f.Add([]byte(arMagic + fmt.Sprintf("%-16s%-32s%-10s`\n", "control.tar", "0", "9999999999")))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, old []byte) {
		deb, data := filepath.Join(dir, "x.deb"), filepath.Join(dir, "x.data")
		for name, text := range map[string][]byte{deb: old, data: []byte("new")} {
			if err := os.WriteFile(name, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		err := swapData(deb, data)
		now, rerr := os.ReadFile(deb)
		if rerr != nil || (err != nil && !bytes.Equal(now, old)) || (err == nil && !bytes.HasSuffix(now, []byte("`\nnew\n"))) {
			t.Errorf("error %v, file %q, %v", err, now, rerr)
		}
	})
}
