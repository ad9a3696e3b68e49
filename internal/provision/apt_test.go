package provision

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDebianSources(t *testing.T) {
	list := `# comment
deb http://mirror.example/debian bookworm main contrib # tail
deb [arch=amd64 signed-by=/usr/share/keyrings/vendor.gpg] http://vendor.example bookworm main
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.example/security stable-security main
deb-src http://mirror.example/debian bookworm main
deb cdrom:[disc]/ bookworm main
deb http://vendor.example bookworm stable
deb http://mirror.example/debian bookworm-backports main
`
	sources := `Types: deb deb-src
URIs: http://one.example/debian
 http://two.example/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main non-free-firmware
# a comment within
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
`
	got := deb822(debianSources(append(parseList(list), parseDeb822(sources)...), "bookworm", "trixie"))
	want := `Types: deb
URIs: http://mirror.example/debian
Suites: trixie
Components: main

Types: deb
URIs: http://mirror.example/security
Suites: trixie-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://one.example/debian http://two.example/debian
Suites: trixie trixie-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A key within the entry must come out as it went in, line by line.
func TestInlineKey(t *testing.T) {
	in := "Types: deb\nURIs: http://m.example/debian\nSuites: bookworm\nComponents: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n xyz\n"
	got := deb822(debianSources(parseDeb822(in), "bookworm", "bookworm"))
	want := strings.Replace(in, "Signed-By:\n", "Signed-By: \n", 1) + "\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAptConfKeepsOnlyHowToFetch(t *testing.T) {
	dump := `APT::Update::Post-Invoke:: "rm -rf /";
DPkg::Pre-Install-Pkgs:: "/usr/sbin/needrestart";
Acquire::http "";
Acquire::http::Proxy "http://proxy.example:3128";
Acquire::https::Proxy::mirror.example "DIRECT";
Acquire::Check-Date "false";
Dir::Etc::preferences "preferences";
`
	want := `Dir::State "/d/state";
Dir::State::status "/d/status";
Dir::Cache "/d/cache";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/d/none";
Dir::Etc::sourcelist "/d/debian.sources";
Dir::Etc::sourceparts "/d/none";
Dir::Etc::preferences "/d/preferences";
Dir::Etc::preferencesparts "/d/none";
Acquire::Languages "none";
Acquire::Retries "3";
APT::Install-Recommends "false";
Acquire::http::Proxy "http://proxy.example:3128";
Acquire::https::Proxy::mirror.example "DIRECT";
Acquire::Check-Date "false";
`
	if diff := cmp.Diff(want, aptConf("/d", dump)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

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
		parseList(text)
		parseDeb822(text)
	})
}
