//go:build linux

package script

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/provision"
)

// TestProfile holds fast what each command costs in numbers that are the same
// on every machine: starts of Vagrant, SSH handshakes and commands on each
// node, and what is sent there. They are counted on the other side, by the
// fake Vagrant and the nodes' SSH servers.
//
// A number that grows is time that every user waits: a handshake is up to a
// second on a node without KVM, a start of Vagrant two. If it must grow, -update
// writes the golden file anew.
func TestProfile(t *testing.T) {
	var got strings.Builder
	got.WriteString("# What labctl costs, in numbers that are the same on every machine.\n" +
		"# Made by: go test ./test/script -run TestProfile -update\n" +
		"# vagrant     starts of Vagrant, by its command: about two seconds each\n" +
		"# handshakes  SSH handshakes of each node: up to a second each without KVM\n" +
		"# commands    commands run on each node over SSH; questions to Docker's API are none\n" +
		"# packages    .deb files sent to each node, those that it lacks\n" +
		"# other KiB   command lines, scripts and settings sent to each node, in steps of 8 KiB\n" +
		"# The question for Vagrant's version, which goes into the evidence, is left out: it runs beside the rest.\n")
	for _, nodes := range []int{2, 4} {
		p := newProfiled(t, nodes)
		fmt.Fprintf(&got, "\n%d nodes\n", nodes)
		got.WriteString(p.run(t, "create"))
		p.agrees(t)
		got.WriteString(p.run(t, "create")) // which finds all done
		if nodes == 2 {
			for _, args := range []string{"status", "exec docker1 -- true", "ssh docker2 -- true", "snapshot save mine", "snapshot restore mine", "reset"} {
				got.WriteString(p.run(t, strings.Fields(args)...))
			}
			got.WriteString(p.run(t, "scenario", p.scenario(t)))
		}
		got.WriteString(p.run(t, "destroy", "--force"))
	}
	golden(t, "testdata/profile.golden", got.String())
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		must(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	must(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (- it, + now):\n%s", file, diff)
	}
}

// profiled is a lab whose nodes and Vagrant are counted.
type profiled struct {
	dir   string
	nodes []*node
	calls int    // lines of the fake Vagrant's calls that were looked at
	was   []cost // of each node, before the command
}

type cost struct{ handshakes, commands, bytes int }

func costOf(n *node) cost {
	return cost{n.server.Handshakes(), len(n.server.Commands()), int(n.server.Received())}
}

func newProfiled(t *testing.T, nodes int) *profiled {
	t.Helper()
	p := &profiled{dir: t.TempDir(), was: make([]cost, nodes)}
	for _, sub := range []string{".fake/vm", ".home"} {
		must(t, os.MkdirAll(filepath.Join(p.dir, sub), 0o755))
	}
	writeBundle(t, filepath.Join(p.dir, ".cache/labctl/bundle-profile"))
	must(t, os.WriteFile(filepath.Join(p.dir, "lab.toml"), fmt.Appendf(nil, "managers = 1\nworkers = %d\n", nodes-1), 0o644))
	w := &world{engines: map[string]*fakeEngine{}}
	for i := range nodes {
		name := fmt.Sprintf("docker%d", i+1)
		n := startNode(t, w, name)
		for _, have := range []string{"apparmor", "busybox-static", "ca-certificates", "iproute2", "iptables", "kmod"} {
			must(t, os.WriteFile(filepath.Join(n.dir, "packages", have), nil, 0o644))
		}
		// A node of the scripts takes its packages from apt.
		must(t, os.Remove(filepath.Join(n.dir, "bin/dpkg")))
		must(t, os.WriteFile(filepath.Join(n.dir, "bin/dpkg"), []byte(fakeDpkg), 0o755))
		must(t, os.WriteFile(filepath.Join(n.dir, "bin/sync"), []byte("#!/bin/sh\n"), 0o755))
		p.nodes = append(p.nodes, n)
		at := fmt.Sprintf("%s %d %s\n", n.server.Host, n.server.Port, n.server.KeyFile)
		must(t, os.WriteFile(filepath.Join(p.dir, ".fake", name), []byte(at), 0o644))
	}
	return p
}

const fakeDpkg = `#!/bin/sh
[ "$1" != --print-architecture ] || echo amd64
for word; do
	case $word in
	*.deb)
		name=${word##*/}
		: >"$NODE/packages/${name%%_*}"
		;;
	esac
done
`

// debSize is that of every package, so large that the rest, which is sent with
// some of them, cannot be taken for one more.
const debSize = 1 << 20

// writeBundle makes a bundle of which the nodes lack four packages.
func writeBundle(t *testing.T, dir string) {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o755))
	m := provision.Manifest{Schema: 1, Distribution: "debian", Release: "bookworm", Arch: "amd64", Created: time.Unix(0, 0).UTC()}
	for _, name := range strings.Fields("apparmor busybox-static ca-certificates containerd docker.io iproute2 iptables kmod runc tini") {
		deb := bytes.Repeat([]byte(name), debSize)[:debSize]
		p := provision.Package{Name: name, Version: "1.0-1", Arch: "amd64", File: name + "_1.0-1_amd64.deb", Size: debSize, SHA256: fmt.Sprintf("%x", sha256.Sum256(deb))}
		must(t, os.WriteFile(filepath.Join(dir, p.File), deb, 0o644))
		m.Packages = append(m.Packages, p)
	}
	text, err := json.Marshal(m)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "manifest.json"), text, 0o644))
}

// labctl is labctl as a process of its own, in the lab's folder.
func (p *profiled) labctl(args ...string) *exec.Cmd {
	cmd := exec.Command("labctl", args...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "FAKE="+filepath.Join(p.dir, ".fake"), "GORACE=atexit_sleep_ms=0",
		"HOME="+filepath.Join(p.dir, ".home"), "XDG_CACHE_HOME="+filepath.Join(p.dir, ".cache"))
	return cmd
}

// run runs labctl and tells what it cost.
func (p *profiled) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := p.labctl(args...).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Fatalf("labctl %v: exit code %d\n%s", args, exit.ExitCode(), out)
	}
	must(t, err)
	var b strings.Builder
	fmt.Fprintf(&b, "labctl %s\n", strings.Join(args, " "))
	fmt.Fprintf(&b, "\tvagrant     %s\n", p.vagrant(t))
	var handshakes, commands, packages, other []int
	for i, n := range p.nodes {
		now, was := costOf(n), p.was[i]
		p.was[i] = now
		handshakes = append(handshakes, now.handshakes-was.handshakes)
		commands = append(commands, now.commands-was.commands)
		sent := now.bytes - was.bytes
		packages = append(packages, sent/debSize)
		other = append(other, (sent%debSize+8<<10-1)/(8<<10)*8)
	}
	fmt.Fprintf(&b, "\thandshakes  %s\n\tcommands    %s\n\tpackages    %s\n\tother KiB   %s\n", each(handshakes), each(commands), each(packages), each(other))
	return b.String()
}

// scenario writes a document with one block on the manager and one check on
// the worker. What the nodes' Docker must do for scenario lb is beyond them.
func (p *profiled) scenario(t *testing.T) string {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(p.dir, "short.md"), []byte(shortScenario), 0o644))
	return "short.md"
}

const shortScenario = `# Short

~~~toml scenario
format = 1
id = "p-1"
title = "Short"
nodes = { managers = 1, workers = 1 }
~~~

On the manager:

~~~sh @manager
echo one
~~~

On the worker:

~~~sh @worker check within=1s every=200ms
true
~~~
`

// each is one number if all nodes have it, else all of them.
func each(n []int) string {
	if slices.Min(n) == slices.Max(n) {
		return fmt.Sprintf("%d a node", n[0])
	}
	return strings.Trim(fmt.Sprint(n), "[]") + ", by node"
}

// vagrant counts the starts of Vagrant since last time.
func (p *profiled) vagrant(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(p.dir, ".fake/calls"))
	must(t, err)
	lines := slices.DeleteFunc(strings.Split(string(data), "\n"), func(line string) bool { return line == "" || line == "--version" })
	count := map[string]int{}
	for _, line := range lines[p.calls:] {
		words := slices.DeleteFunc(strings.Fields(line), func(w string) bool { return strings.HasPrefix(w, "-") })
		if words[0] != "snapshot" {
			words = words[:1]
		}
		count[strings.Join(words[:min(2, len(words))], " ")]++
	}
	p.calls = len(lines)
	if len(count) == 0 {
		return "none"
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(count)) {
		out = append(out, fmt.Sprintf("%s %d", name, count[name]))
	}
	return strings.Join(out, ", ")
}

// agrees compares labctl's own count, which the benchmark takes from its log,
// with that of the other side.
func (p *profiled) agrees(t *testing.T) {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(p.dir, "artifacts/latest/labctl.log"))
	must(t, err)
	var all cost
	for _, c := range p.was {
		all.handshakes += c.handshakes
		all.commands += c.commands
	}
	for field, want := range map[string]int{"ssh_handshakes": all.handshakes, "ssh_commands": all.commands, "vagrant_calls": p.calls} {
		said := regexp.MustCompile(field+`=(\d+)`).FindAllSubmatch(log, -1)
		if len(said) == 0 {
			t.Fatalf("no %s in labctl.log:\n%s", field, log)
		}
		if got, _ := strconv.Atoi(string(said[len(said)-1][1])); got != want {
			t.Errorf("labctl.log says %s=%d, the other side says %d", field, got, want)
		}
	}
}
