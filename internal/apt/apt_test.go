package apt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/remote"
)

var debian = System{ID: "debian", Codename: "bookworm", Pretty: "Debian GNU/Linux 12 (bookworm)"}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestDebianSources(t *testing.T) {
	const updated = `http://mirror.example/debian/|bookworm|bookworm|Debian|main
http://mirror.example/debian/|bookworm|bookworm|Debian|non-free-firmware
http://mirror.example/debian/|bookworm-updates|bookworm-updates|Debian|main
http://mirror.example/debian/|bookworm-backports|bookworm-backports|Debian Backports|main
http://mirror.example/debian-security/|stable-security|bookworm-security|Debian|main
https://vendor.example/debian/|bookworm|bookworm|Vendor|main
https://vendor.example/linux/debian/|bookworm|bookworm|Docker|stable
http://mirror.example/debian/|bookworm|bookworm|Debian|main
cdrom:[Debian]/|bookworm|bookworm|Debian|main
`
	// apt never updated: it knows neither code names nor origins.
	const fresh = `http://mirror.example/debian/|stable||$(ORIGIN)|main
mirror+file:/etc/apt/mirrors/debian.list/|bookworm-updates|||main
https://vendor.example/apt/|bookworm|||main
`
	for _, tt := range []struct {
		name, targets, release string
		want                   []Source
	}{
		{"as the host", updated, "bookworm", []Source{
			{"http://mirror.example/debian", "bookworm"},
			{"http://mirror.example/debian", "bookworm-updates"},
			{"http://mirror.example/debian-security", "bookworm-security"},
		}},
		{"another release", updated, "trixie", []Source{
			{"http://mirror.example/debian", "trixie"},
			{"http://mirror.example/debian", "trixie-updates"},
			{"http://mirror.example/debian-security", "trixie-security"},
		}},
		{"before apt-get update", fresh, "bookworm", []Source{
			{"http://mirror.example/debian", "bookworm"},
			{"mirror+file:/etc/apt/mirrors/debian.list", "bookworm-updates"},
		}},
		{"nothing", "", "bookworm", nil},
	} {
		got := debianSources(tt.targets, "bookworm", tt.release)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// host answers apt's questions and remembers them.
type host struct {
	targets, dump string
	calls         []string
}

func (h *host) Run(_ context.Context, c remote.Command) (remote.Result, error) {
	h.calls = append(h.calls, strings.Join(c.Argv[:2], " "))
	if diff := cmp.Diff([]string{"LC_ALL=C"}, c.Env); diff != "" {
		return remote.Result{}, errors.New(diff)
	}
	switch c.Argv[1] {
	case "indextargets":
		return remote.Result{Argv: c.Argv, Stdout: h.targets}, nil
	case "dump":
		return remote.Result{Argv: c.Argv, Stdout: h.dump}, nil
	}
	return remote.Result{}, fmt.Errorf("unexpected command %q", c.Argv)
}

func TestRead(t *testing.T) {
	list := filepath.Join(t.TempDir(), "debian.list")
	write(t, list, "# mirrors\n\nhttps://one.example/debian/\tpriority:1\nhttps://two.example/debian\n")
	h := &host{
		targets: "mirror+file://" + list + "/|bookworm|bookworm|Debian|main\nhttp://m.example/debian-security/|bookworm-security|bookworm-security|Debian|main\n",
		dump: `APT::Default-Release "sid";
Acquire::http "";
Acquire::http::Proxy "http://proxy.example:3128";
Acquire::https::CAInfo "/etc/ssl/own.pem";
Acquire::Check-Date "false";
Acquire::IndexTargets::deb::Packages::Optional "0";
Acquire::http::Proxy::direct.example "";
DPkg::Post-Invoke:: "rm -rf /";
`,
	}
	got, err := Read(t.Context(), Options{System: debian, Release: "bookworm", Host: h})
	if err != nil {
		t.Fatal(err)
	}
	const by = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
	want := "deb " + by + " https://one.example/debian bookworm main\n" +
		"deb " + by + " http://m.example/debian-security bookworm-security main\n"
	if diff := cmp.Diff(want, got.List()); diff != "" {
		t.Errorf("sources.list (-want +got):\n%s", diff)
	}
	want = `Dir::State "/d \"x\"";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::Etc::netrc "/etc/apt/auth.conf";
Dir::Etc::netrcparts "/etc/apt/auth.conf.d";
APT::Update::Error-Mode "any";
Acquire::http::Proxy "http://proxy.example:3128";
Acquire::https::CAInfo "/etc/ssl/own.pem";
Acquire::Check-Date "false";
`
	if diff := cmp.Diff(want, got.Conf(Setting{"Dir::State", `/d "x"`})); diff != "" {
		t.Errorf("apt.conf (-want +got):\n%s", diff)
	}

	// A mirror is asked about nothing, on whatever system.
	h.calls = nil
	got, err = Read(t.Context(), Options{System: System{ID: "ubuntu"}, Release: "trixie", Mirror: "http://m.example/debian/", Host: h})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Source{{"http://m.example/debian", "trixie"}, {"http://m.example/debian", "trixie-updates"}}, got.Sources); diff != "" {
		t.Errorf("sources of a mirror (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"apt-config dump"}, h.calls); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
}

func TestReadErrors(t *testing.T) {
	list := filepath.Join(t.TempDir(), "debian.list")
	write(t, list, "# none\n")
	for _, tt := range []struct {
		name       string
		o          Options
		targets    string
		fail, hint string
	}{
		{
			"not Debian", Options{System: System{ID: "ubuntu", Codename: "noble", Pretty: "Ubuntu 24.04"}}, "",
			"this host is Ubuntu 24.04, so its apt settings say nothing about Debian", "set box.mirror in lab.toml",
		},
		{
			"no archive of Debian", Options{System: debian}, "https://vendor.example/apt/|bookworm|bookworm|Vendor|main\n",
			"apt's sources on this host name no Debian archive", "set box.mirror in lab.toml",
		},
		{
			"empty list of mirrors", Options{System: debian}, "mirror+file:" + list + "|bookworm|bookworm|Debian|main\n",
			"list of mirrors " + list + " is empty", "",
		},
		{
			"no list of mirrors", Options{System: debian}, "mirror+file:" + list + ".gone|bookworm|bookworm|Debian|main\n",
			"list of mirrors: open " + list + ".gone: no such file or directory", "",
		},
		{
			"more than a mirror", Options{System: debian, Mirror: "http://m.example/debian x main\ndeb http://evil.example"}, "",
			`mirror "http://m.example/debian x main\ndeb http://evil.example" is not a URL`, "",
		},
	} {
		tt.o.Release, tt.o.Host = "bookworm", &host{targets: tt.targets}
		_, err := Read(t.Context(), tt.o)
		hint := ""
		if h, ok := err.(interface{ Hint() string }); ok {
			hint = h.Hint()
		}
		if err == nil || err.Error() != tt.fail || hint != tt.hint {
			t.Errorf("%s: error %v with hint %q, want %q with %q", tt.name, err, hint, tt.fail, tt.hint)
		}
	}
}

func TestReadSystem(t *testing.T) {
	file := filepath.Join(t.TempDir(), "os-release")
	got, err := ReadSystem(file)
	if err != nil || got != (System{}) {
		t.Errorf("missing file: %+v %v", got, err)
	}
	write(t, file, "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_CODENAME=bookworm\nID=debian\nID_LIKE=x\n")
	got, err = ReadSystem(file)
	if err != nil || got != debian {
		t.Errorf("%+v %v, want %+v", got, err, debian)
	}
}

func TestRelease(t *testing.T) {
	ubuntu := System{ID: "ubuntu", Codename: "noble", Pretty: "Ubuntu 24.04.3 LTS"}
	for _, tt := range []struct {
		name, wanted  string
		host          System
		release, fail string
	}{
		{"host's release", "", debian, "bookworm", ""},
		{"given release", "trixie", debian, "trixie", ""},
		{"given on Ubuntu", "trixie", ubuntu, "trixie", ""},
		{"Ubuntu", "", ubuntu, "", "this host is Ubuntu 24.04.3 LTS, so its apt settings say nothing about Debian"},
		{"unknown host", "", System{}, "", "this host is not Debian, so its apt settings say nothing about Debian"},
		{"path", "../x", debian, "", `"../x" is not the code name of a Debian release`},
	} {
		got, err := tt.host.Release(tt.wanted)
		switch {
		case tt.fail == "" && (err != nil || got != tt.release):
			t.Errorf("%s: release %q, error %v", tt.name, got, err)
		case tt.fail != "" && (err == nil || err.Error() != tt.fail):
			t.Errorf("%s: error %v, want %s", tt.name, err, tt.fail)
		}
	}
	_, err := ubuntu.Release("")
	var not *NotDebianError
	if !errors.As(err, &not) || not.Hint() != "set box.release in lab.toml" {
		t.Errorf("error %v, hint %v", err, not)
	}
}

func TestLockWaits(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lock")
	unlock, err := Lock(t.Context(), file, func() { t.Error("waited for a free lock") })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	waits := 0
	_, err = Lock(ctx, file, func() { waits++ })
	if want := "another labctl holds " + file + ": context deadline exceeded"; err == nil || err.Error() != want || waits != 1 {
		t.Errorf("error %v after %d notices, want %s after 1", err, waits, want)
	}
	// One that waits gets it as soon as it is free.
	again, err := Lock(t.Context(), file, unlock)
	if err != nil {
		t.Fatal(err)
	}
	again()
}
