//go:build unix

package lab

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/box"
	"labctl/internal/config"
	"labctl/internal/vagrant"
)

// bootVagrant tells where docker1 answers, says one thing more, and fails when
// it is let go.
const bootVagrant = `#!/bin/sh
case $1 in up) ;; *) exit 0 ;; esac
echo '1,docker1,ui,detail,    docker1: SSH address: 192.0.2.7:22'
echo '1,docker1,ui,detail,    docker1: SSH username: vagrant'
for i in $(seq 1000); do [ -e "$GO" ] && break; sleep 0.02; done
echo '1,,error-exit,E,The machine has gone.'
exit 1
`

// With labctl's own box a node is gone on with as soon as Vagrant has its
// address, and Vagrant's failure after that is told in the end; with any other
// box Vagrant has things to do there first.
func TestBootGoesOn(t *testing.T) {
	for _, tt := range []struct {
		box    string
		goesOn bool
	}{{"", true}, {"debian/bookworm64", false}} {
		t.Run("box "+tt.box, func(t *testing.T) {
			e := onEngine(t)
			e.Lab.Box.Name = tt.box
			err := os.MkdirAll(e.StateDir(), 0o755)
			if err == nil {
				e.State, err = LoadState(e.StateDir())
			}
			if err != nil {
				t.Fatal(err)
			}
			bin := t.TempDir()
			goFile := filepath.Join(bin, "go")
			t.Setenv("GO", goFile)
			t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
			for name, text := range map[string]string{"vagrant": bootVagrant, "virsh": "#!/bin/sh\n"} {
				if err := os.WriteFile(filepath.Join(bin, name), []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			docker1 := e.Lab.Nodes[slices.IndexFunc(e.Lab.Nodes, func(n config.Node) bool { return n.Name == "docker1" })]
			said, booted := make(chan string, 10), make(chan error, 1)
			go func() {
				_, err := boot(docker1)(t.Context(), e, func(s string) { said <- s })
				booted <- err
			}()
			let := func() {
				t.Helper()
				if err := os.WriteFile(goFile, nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			const failure = "vagrant up failed: The machine has gone."
			if tt.goesOn {
				if err := within(t, booted); err != nil {
					t.Fatal(err)
				}
				if got := e.boot.at("docker1"); got != "192.0.2.7" {
					t.Errorf("its address is %q", got)
				}
				// A labctl that dies now has the next one ask Vagrant again.
				if diff := cmp.Diff([]string{"docker1", "docker2"}, e.State.Booting); diff != "" {
					t.Errorf("booting: %s", diff)
				}
				let()
			} else {
				for line := ""; !strings.HasPrefix(line, "SSH username"); {
					line = within(t, said)
				}
				select {
				case err := <-booted:
					t.Fatalf("it did not wait for Vagrant: %v", err)
				default:
				}
				let()
				var failed *vagrant.Error
				if err := within(t, booted); !errors.As(err, &failed) || err.Error() != failure {
					t.Errorf("error %v", err)
				}
			}
			if err := e.boot.wait(); err == nil || err.Error() != failure {
				t.Errorf("in the end: %v, want %q", err, failure)
			}
		})
	}
}

// within waits for a word, and not for ever.
func within[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(time.Minute):
		t.Fatal("nothing within a minute")
		panic("not reached")
	}
}

// The Vagrants of two labs would fetch a box by way of one temporary file.
func TestTurn(t *testing.T) {
	home := t.TempDir()
	t.Setenv("VAGRANT_HOME", home)
	b := box.Box{Name: "labctl/debian12-aa", Path: filepath.Join(t.TempDir(), "aa.box")}
	quiet := func(text string) { t.Errorf("says %q", text) }
	done, err := turn(t.Context(), b, quiet)
	if err != nil {
		t.Fatal(err)
	}
	said := make(chan string, 1)
	second := make(chan error)
	go func() {
		done, err := turn(t.Context(), b, func(text string) { said <- text })
		if err == nil {
			done()
		}
		second <- err
	}()
	if got, want := <-said, "waiting for the Vagrant of another lab, which adds a box"; got != want {
		t.Errorf("says %q, want %q", got, want)
	}
	select {
	case err := <-second:
		t.Errorf("both at once: %v", err)
	default:
	}
	done()
	done() // as `vagrant up` does for each node
	if err := <-second; err != nil {
		t.Error(err)
	}
	// A box that Vagrant knows is waited for by nobody.
	done, err = turn(t.Context(), b, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	dir := filepath.Join(home, "boxes", "labctl-VAGRANTSLASH-debian12-aa", "0", "libvirt")
	for _, name := range []string{"metadata.json", "box.img"} {
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, name), nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := turn(t.Context(), b, quiet); err != nil {
		t.Error(err)
	}
}
