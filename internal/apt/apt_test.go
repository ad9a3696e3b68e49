package box

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadOSRelease(t *testing.T) {
	file := filepath.Join(t.TempDir(), "os-release")
	got, err := readOSRelease(file)
	if err != nil || got != (osRelease{}) {
		t.Errorf("missing file: %+v %v", got, err)
	}
	write(t, file, "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_CODENAME=bookworm\nID=debian\nID_LIKE=x\n")
	got, err = readOSRelease(file)
	if want := (osRelease{"debian", "bookworm", "Debian GNU/Linux 12 (bookworm)"}); err != nil || got != want {
		t.Errorf("%+v %v, want %+v", got, err, want)
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
		want                   []source
	}{
		{"as the host", updated, "bookworm", []source{
			{"http://mirror.example/debian", "bookworm"},
			{"http://mirror.example/debian", "bookworm-updates"},
			{"http://mirror.example/debian-security", "bookworm-security"},
		}},
		{"another release", updated, "trixie", []source{
			{"http://mirror.example/debian", "trixie"},
			{"http://mirror.example/debian", "trixie-updates"},
			{"http://mirror.example/debian-security", "trixie-security"},
		}},
		{"before apt-get update", fresh, "bookworm", []source{
			{"http://mirror.example/debian", "bookworm"},
			{"mirror+file:/etc/apt/mirrors/debian.list", "bookworm-updates"},
		}},
		{"nothing", "", "bookworm", nil},
	} {
		got := debianSources(tt.targets, "bookworm", tt.release)
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(source{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestSourcesList(t *testing.T) {
	file := filepath.Join(t.TempDir(), "debian.list")
	write(t, file, "# mirrors\n\nhttps://one.example/debian/\tpriority:1\nhttps://two.example/debian\n")
	got, err := sourcesList([]source{{"mirror+file://" + file, "bookworm"}, {"http://m.example/debian-security", "bookworm-security"}})
	if err != nil {
		t.Fatal(err)
	}
	const by = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
	want := "deb " + by + " https://one.example/debian bookworm main\n" +
		"deb " + by + " http://m.example/debian-security bookworm-security main\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	write(t, file, "# none\n")
	for uri, want := range map[string]string{
		"mirror+file:" + file: "box: list of mirrors " + file + " is empty",
		"http://m.example/debian x main\ndeb http://evil.example": `box: mirror "http://m.example/debian x main\ndeb http://evil.example" is not a URL`,
	} {
		if _, err := sourcesList([]source{{uri, "bookworm"}}); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

func TestMirrorSources(t *testing.T) {
	want := []source{{"http://m.example/debian", "trixie"}, {"http://m.example/debian", "trixie-updates"}}
	if diff := cmp.Diff(want, mirrorSources("http://m.example/debian/", "trixie"), cmp.AllowUnexported(source{})); diff != "" {
		t.Error(diff)
	}
}

func TestAptConf(t *testing.T) {
	got := aptConf(`APT::Default-Release "sid";
Acquire::http "";
Acquire::http::Proxy "http://proxy.example:3128";
Acquire::https::CAInfo "/etc/ssl/own.pem";
Acquire::Check-Date "false";
Acquire::IndexTargets::deb::Packages::Optional "0";
Acquire::http::Proxy::direct.example "";
DPkg::Post-Invoke:: "rm -rf /";
`)
	const want = `Acquire::Languages "none";
Acquire::Retries "3";
Dir::Etc::netrc "/etc/apt/auth.conf";
Dir::Etc::netrcparts "/etc/apt/auth.conf.d";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::http::Proxy "http://proxy.example:3128";
Acquire::https::CAInfo "/etc/ssl/own.pem";
Acquire::Check-Date "false";
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
