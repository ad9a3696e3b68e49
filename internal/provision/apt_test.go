package provision

import (
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

func FuzzParseStanzas(f *testing.F) {
	f.Add("A: b\n c\n\nD: e\n")
	f.Add(" x\n:\n\n\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range parseStanzas(text) {
			if len(s) == 0 {
				t.Errorf("%q has a paragraph without fields", text)
			}
		}
	})
}
