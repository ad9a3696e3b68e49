//go:build linux

package provision

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"mvdan.cc/sh/v3/syntax"

	"labctl/internal/remote"
)

// Nodes have dash: a bashism would show only there.
func TestScriptsArePOSIX(t *testing.T) {
	for _, name := range []string{"prepare.sh", "probe.sh", "install.sh", "toolbox.sh", "route.sh"} {
		text, err := script(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).Parse(strings.NewReader(text), name); err != nil {
			t.Error(err)
		}
	}
}

// lib runs shell behind lib.sh on this machine.
func lib(t *testing.T, text string, args ...string) remote.Result {
	t.Helper()
	all, err := script("lib.sh") // lib.sh twice does no harm
	if err != nil {
		t.Fatal(err)
	}
	res, err := remote.Host{}.Run(context.Background(), remote.Script(all+text, args...))
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestLockHolder(t *testing.T) {
	free := filepath.Join(t.TempDir(), "free")
	held := filepath.Join(t.TempDir(), "held")
	if err := os.WriteFile(free, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const ask = `lock_holder "$@" || echo nobody`
	if got := lib(t, ask, free, free+"-missing").Stdout; got != "nobody\n" {
		t.Errorf("a free lock is held by %q", got)
	}
	f, err := os.Create(held)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	// As dpkg and apt do it.
	if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
		t.Fatal(err)
	}
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := lib(t, ask, free, held).Stdout, fmt.Sprintf("%d %s", os.Getpid(), comm); got != want {
		t.Errorf("the holder is %q, want %q", got, want)
	}
}

// wait_dpkg gives up with the holder's name, and says once what it waits for.
func TestWaitDpkg(t *testing.T) {
	res := lib(t, "lock_holder() { echo '812 apt-get'; }\nwait_dpkg 1\necho not reached\n")
	if want := "::progress waiting for the package database, locked by process 812 apt-get\n"; res.Stdout != want {
		t.Errorf("stdout %q, want %q", res.Stdout, want)
	}
	want := "labctl: the package database is still locked by process 812 apt-get after 1 s; wait for it to end, then run the same command again\n"
	if res.Stderr != want || res.ExitCode != 1 {
		t.Errorf("exit %d, stderr %q", res.ExitCode, res.Stderr)
	}
	if res := lib(t, "lock_holder() { return 1; }\nwait_dpkg 1\necho free\n"); res.Stdout != "free\n" {
		t.Errorf("a free lock: %+v", res)
	}
}

func TestPut(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a", "b")
	res := lib(t, `
put "$1" 0644 <<END
one
END
echo "$put_new $(stat -c %a "$1") $(cat "$1")"
put "$1" 0644 <<END
one
END
echo "$put_new"
put "$1" 0600 <<END
one
END
echo "$put_new $(stat -c %a "$1") $(ls "$(dirname "$1")")"
`, file)
	want := "::changed " + file + "\n1 644 one\n0\n::changed " + file + "\n1 600 b\n"
	if diff := cmp.Diff(want, res.Stdout); diff != "" || res.ExitCode != 0 {
		t.Errorf("exit %d %s (-want +got):\n%s", res.ExitCode, res.Stderr, diff)
	}

	// /dev/full is a disk that has run full.
	full := filepath.Join(t.TempDir(), "a")
	if err := os.Symlink("/dev/full", full+".labctl-new"); err != nil {
		t.Fatal(err)
	}
	res = lib(t, `echo one | put "$1" 0644`, full)
	if re := regexp.MustCompile(`(?m)^labctl: cannot write ` + full + `: \d+ MiB are free on /\S*$`); res.ExitCode != 1 || !re.MatchString(res.Stderr) {
		t.Errorf("exit %d, %q", res.ExitCode, res.Stderr)
	}
	if left, _ := os.ReadDir(filepath.Dir(full)); len(left) != 0 {
		t.Errorf("it left %v", left)
	}
}
