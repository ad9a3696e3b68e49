package doctor

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/config"
	"labctl/internal/existing"
)

func TestJudgeMachines(t *testing.T) {
	sound := existing.About{System: "Debian GNU/Linux 12 (bookworm)", Arch: "x86_64", Installer: "apt-get", Systemd: true, FreeKB: 4 << 20, MemoryKB: 1 << 20}
	with := func(change func(*existing.About)) existing.About {
		a := sound
		change(&a)
		return a
	}
	docker := existing.Facts{Docker: true}
	tests := []struct {
		name  string
		m     Machine
		level Level
		line  string
	}{
		{"sound", Machine{About: sound}, OK, "Debian GNU/Linux 12 (bookworm), x86_64, 1024 MiB of memory, 4096 MiB are free, no Docker yet"},
		{"with Docker", Machine{About: sound, Facts: docker}, OK, "Debian GNU/Linux 12 (bookworm), x86_64, 1024 MiB of memory, 4096 MiB are free, has Docker"},
		{"not reached", Machine{Err: errors.New("pc17: no route")}, Problem, "no route"},
		{"no sudo", Machine{Err: &existing.SudoError{Node: "pc17", Err: errors.New("a password is required")}}, Problem,
			"cannot look around as root: a password is required; the SSH user needs sudo without a password there: a line `USER ALL=(ALL) NOPASSWD: ALL` in /etc/sudoers.d"},
		{"no systemd", Machine{About: with(func(a *existing.About) { a.Systemd = false })}, Problem, "Debian GNU/Linux 12 (bookworm) has no systemd, which starts Docker"},
		{"no known family", Machine{About: with(func(a *existing.About) { a.System, a.Installer = "Alpine Linux v3.20", "" })}, Problem,
			"Alpine Linux v3.20 is neither of Debian's nor of Red Hat's family: labctl cannot install Docker there; install Docker there by hand"},
		{"no known family, with Docker", Machine{About: with(func(a *existing.About) { a.System, a.Installer = "", "" }), Facts: docker}, OK,
			"an unknown system, x86_64, 1024 MiB of memory, 4096 MiB are free, has Docker"},
		{"no room", Machine{About: with(func(a *existing.About) { a.FreeKB = 20 << 10 }), Facts: docker}, Problem,
			"20 MiB are free in /var/lib, 64 MiB are needed at least; make room on its disk"},
		{"no room for Docker", Machine{About: with(func(a *existing.About) { a.FreeKB = 200 << 10 })}, Warning,
			"200 MiB are free in /var/lib, Docker takes up to 600 MiB; make room on its disk"},
		{"room for all but Docker", Machine{About: with(func(a *existing.About) { a.FreeKB = 200 << 10 }), Facts: docker}, OK,
			"Debian GNU/Linux 12 (bookworm), x86_64, 1024 MiB of memory, 200 MiB are free, has Docker"},
		{"little memory", Machine{About: with(func(a *existing.About) { a.MemoryKB = 256 << 10 })}, Warning,
			"it has 256 MiB of memory: too little for Docker and more than a few containers"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.m.Node = "pc17"
			list := Judge(Facts{Lab: config.Default(), Provider: config.Existing, Machines: []Machine{tt.m}})
			var got []string
			for _, f := range list {
				if f.Check == "pc17" {
					got = append(got, string(f.Level)+" "+f.Line())
				}
			}
			if d := cmp.Diff([]string{string(tt.level) + " " + tt.line}, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}
