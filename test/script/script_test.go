//go:build linux

// Package script tests the labctl that a person types: whole commands, their
// output to the letter, their exit codes and what they leave, in scripts under
// testdata/script. labctl itself is the real one, as a process of its own;
// Vagrant and VirtualBox are played by the program in the folder fake, and the nodes are
// SSH servers in this process on which the real scripts of provision/ run, each
// in a folder that stands for the node's "/".
//
// `go test ./test/script -update` writes the expected outputs anew.
package script

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"labctl/internal/cli"
)

var update = flag.Bool("update", false, "write the expected outputs of the scripts anew")

func TestMain(m *testing.M) {
	testscript.Main(withFakes{m}, map[string]func(){
		"labctl": func() {
			os.Exit(cli.Run(context.Background(), os.Args, cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
		},
	})
}

// withFakes runs the tests with the programs of the folder fake in PATH.
type withFakes struct{ *testing.M }

func (m withFakes) Run() int {
	// Where testscript has put labctl, and what it removes in the end.
	labctl, err := exec.LookPath("labctl")
	if err == nil {
		vagrant := filepath.Join(filepath.Dir(labctl), "vagrant")
		var out []byte
		if out, err = exec.Command("go", "build", "-o", vagrant, "./fake").CombinedOutput(); err != nil {
			err = fmt.Errorf("build ./fake: %w\n%s", err, out)
		} else {
			err = os.Link(vagrant, filepath.Join(filepath.Dir(labctl), "VBoxManage"))
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.M.Run()
}

func TestScripts(t *testing.T) {
	before := hostFiles(t)
	t.Run("all", func(t *testing.T) {
		testscript.Run(t, testscript.Params{
			Dir:                 "testdata/script",
			UpdateScripts:       *update,
			RequireExplicitExec: true,
			Setup:               setup,
			Cmds: map[string]func(*testscript.TestScript, bool, []string){
				"exits": exits, "start": start, "signal": sendSignal, "ended": ended,
				"await": await, "normal": normal, "gone": gone, "crash": crash,
			},
			Condition: func(cond string) (bool, error) {
				if cond == "hostnet" {
					_, _, ok := hostNetwork()
					return ok, nil
				}
				return false, fmt.Errorf("unknown condition %q", cond)
			},
		})
	})
	// The nodes' scripts run as this user, perhaps root: that nothing of
	// them got past the rewriting of paths is a test of its own.
	for name, was := range before {
		if now := hostFiles(t)[name]; now != was {
			t.Errorf("the scripts changed this machine's %s: was %q, is %q", name, was, now)
		}
	}
}

// hostFiles describes what the scripts of provision/ write on a node.
func hostFiles(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, name := range []string{
		"/etc/hostname", "/etc/hosts", "/etc/group", "/etc/docker", "/etc/docker/daemon.json", "/etc/apt/apt.conf.d",
		"/etc/modules-load.d", "/etc/systemd/system", "/etc/systemd/network", "/var/lib/labctl", "/run/labctl-install.lock",
	} {
		out[name] = "missing"
		if info, err := os.Stat(name); err == nil {
			out[name] = fmt.Sprint(info.Size(), info.ModTime())
		}
	}
	return out
}

// setup gives each script its own world: three nodes (docker3 for those that
// want it), the fake Vagrant's folder, a home and a cache.
func setup(env *testscript.Env) error {
	t, ok := env.T().(testing.TB)
	if !ok {
		return fmt.Errorf("%T is no testing.TB", env.T())
	}
	fake := filepath.Join(env.WorkDir, ".fake")
	for _, dir := range []string{filepath.Join(fake, "vm"), filepath.Join(fake, "vbox"), filepath.Join(env.WorkDir, ".home")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	env.Defer(func() {
		// What a script that killed labctl has left of the fake Vagrant.
		for _, name := range []string{"pid", "child"} {
			data, _ := os.ReadFile(filepath.Join(fake, name))
			cwd, _ := os.Readlink(filepath.Join("/proc", string(data), "cwd"))
			if pid, err := strconv.Atoi(string(data)); err == nil && strings.HasPrefix(cwd, env.WorkDir) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
	// The race detector lets every program sleep a second before it ends.
	env.Setenv("GORACE", "atexit_sleep_ms=0")
	w := &world{engines: map[string]*fakeEngine{}}
	for i := 1; i <= 3; i++ {
		name := fmt.Sprintf("docker%d", i)
		n := startNode(t, w, name)
		line := fmt.Sprintf("%s %d %s\n", n.server.Host, n.server.Port, n.server.KeyFile)
		if err := os.WriteFile(filepath.Join(fake, name), []byte(line), 0o644); err != nil {
			return err
		}
		env.Setenv("NODE"+fmt.Sprint(i), n.dir)
	}
	env.Setenv("FAKE", fake)
	// A program built with -race sleeps for a second at its end otherwise.
	env.Setenv("GORACE", "atexit_sleep_ms=0")
	env.Setenv("HOME", filepath.Join(env.WorkDir, ".home"))
	env.Setenv("XDG_CACHE_HOME", filepath.Join(env.WorkDir, ".cache"))
	if name, subnet, ok := hostNetwork(); ok {
		env.Setenv("HOST_INTERFACE", name)
		env.Setenv("HOST_SUBNET", subnet.Masked().String())
		env.Setenv("HOST_ADDRESS", subnet.String())
	}
	return nil
}

// hostNetwork finds an interface of this machine whose network can be a lab's
// to lab.toml's eyes.
func hostNetwork() (name string, addr netip.Prefix, ok bool) {
	ifaces, err := net.Interfaces()
	if err != nil {
		return "", addr, false
	}
	for _, i := range ifaces {
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err != nil || !p.Addr().Is4() || p.Addr().IsLoopback() || p.Bits() < 16 || p.Bits() > 28 {
				continue
			}
			docker := netip.MustParsePrefix("172.16.0.0/12")
			overlays := netip.MustParsePrefix("10.0.0.0/8")
			if !p.Overlaps(docker) && !p.Overlaps(overlays) {
				return i.Name, p, true
			}
		}
	}
	return "", addr, false
}
