//go:build linux

package script

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"labctl/internal/dockerapi"
	"labctl/internal/remote/sshtest"
)

// raceDetector says that this program and its labctl run under the race
// detector, which makes them many times slower and larger.
var raceDetector bool

// What labctl itself may take for a lab of 200 nodes: CPU time of its process,
// without those that it starts, and memory at its peak.
const (
	scaleNodes  = 200
	scaleCPU    = 1500 * time.Millisecond
	scaleMemory = 100 << 20
)

// TestScale creates a lab of 200 nodes: real SSH connections, and answers at
// once, so that what is left is labctl's own work.
func TestScale(t *testing.T) {
	nodes := scaleNodes
	if raceDetector {
		nodes = 40 // whether it holds together; its cost is measured without
	}
	limit := scaleCPU * time.Duration(nodes) / scaleNodes
	// What else runs on the machine makes the same work take longer, never
	// shorter: the best of three tries counts.
	for try := 1; ; try++ {
		dir, _ := newScaled(t, nodes)
		over := ""
		for _, command := range []string{"create", "create", "status"} {
			r := runScaled(t, dir, command)
			t.Logf("labctl %s, %d nodes: %v of CPU, %d MB, %v", command, nodes, r.cpu, r.memory>>20, r.took.Round(time.Millisecond))
			if r.cpu > limit || r.memory > scaleMemory {
				over = fmt.Sprintf("labctl %s of %d nodes took %v of CPU and %d MB, want %v and %d MB at most", command, nodes, r.cpu, r.memory>>20, limit, scaleMemory>>20)
			}
			if n := strings.Count(r.out, " ready"); command == "status" && n != nodes {
				t.Fatalf("%d of %d nodes are ready\n%s", n, nodes, r.out)
			}
		}
		if over == "" || raceDetector {
			return
		}
		if try == 3 {
			t.Fatal(over)
		}
	}
}

// TestScaleSmall tells what smaller labs take, for docs/scale.md. What a
// command costs without any node is most of it, so nothing is bounded here.
func TestScaleSmall(t *testing.T) {
	if raceDetector {
		t.Skip("its cost is measured without the race detector")
	}
	for _, nodes := range []int{2, 20, 50} {
		dir, _ := newScaled(t, nodes)
		for _, command := range []string{"create", "status"} {
			r := runScaled(t, dir, command)
			t.Logf("labctl %s, %d nodes: %v of CPU, %d MB, %v", command, nodes, r.cpu, r.memory>>20, r.took.Round(time.Millisecond))
		}
	}
}

// manyNodes is a lab.toml of so many nodes, named and addressed by labctl.
func manyNodes(n int) []byte { return []byte(strings.Repeat("[[nodes]]\n", n)) }

// newScaled makes the folder of a lab, its nodes with their engines, and a
// Vagrant that answers in no time.
func newScaled(t *testing.T, nodes int) (string, *world) {
	t.Helper()
	dir := memoryDir(t)
	for _, sub := range []string{"bin", "ssh", "home"} {
		must(t, os.Mkdir(filepath.Join(dir, sub), 0o755))
	}
	must(t, os.WriteFile(filepath.Join(dir, "bin/vagrant"), []byte(quickVagrant), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "lab.toml"), manyNodes(nodes), 0o644))
	w := &world{engines: map[string]*fakeEngine{}}
	var names []string
	for i := range nodes {
		n := &quickNode{name: fmt.Sprintf("docker%d", i+1)}
		names = append(names, n.name)
		// Short, as a socket's path must be.
		socks, err := os.MkdirTemp("", "scale-")
		must(t, err)
		t.Cleanup(func() { _ = os.RemoveAll(socks) })
		sock := w.serve(t, n.name, filepath.Join(socks, "docker.sock"))
		s := sshtest.Start(t, sshtest.Options{Exec: n.exec, Socket: func(path string) string {
			if path != dockerapi.Socket || !n.installed.Load() {
				return filepath.Join(socks, "nobody")
			}
			return sock
		}})
		config := fmt.Sprintf(`0,%s,ssh-config,Host %s\n  HostName %s\n  User %s\n  Port %d\n  IdentityFile %s\n`+"\n", n.name, n.name, s.Host, s.User, s.Port, s.KeyFile)
		must(t, os.WriteFile(filepath.Join(dir, "ssh", n.name), []byte(config), 0o644))
	}
	must(t, os.WriteFile(filepath.Join(dir, "nodes"), []byte(strings.Join(names, "\n")+"\n"), 0o644))
	return dir, w
}

// memoryDir is a folder in memory, if there is one: what a busy disk costs is
// not labctl's own work.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "scale-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// quickVagrant is what labctl asks of Vagrant, at the price of a shell.
const quickVagrant = `#!/bin/sh
cd "$(dirname "$0")/.." || exit 1
case $1 in
--version) echo 'Vagrant 2.3.4' ;;
status)
	state=not_created
	[ ! -e up ] || state=running
	while read -r name; do echo "0,$name,state,$state"; done <nodes
	;;
up)
	: >up
	while read -r name; do echo "0,$name,action,up,end"; done <nodes
	;;
ssh-config) cat "ssh/$3" ;;
esac
`

// quickNode answers the scripts of provision/ without running them.
type quickNode struct {
	name                string
	prepared, installed atomic.Bool
}

func (n *quickNode) exec(line string, stdin io.Reader, stdout, _ io.Writer) int {
	text, _ := io.ReadAll(stdin)
	say := func(s string) { _, _ = io.WriteString(stdout, s) }
	switch {
	case strings.Contains(line, "tar -xf"): // install.sh
		say("::progress dockerd answers\n::changed packages\n")
		n.installed.Store(true)
	case bytes.Contains(text, []byte("Tells labctl what is on the node")): // probe.sh
		if n.installed.Load() {
			say("done\n")
		} else {
			say("distribution debian\nrelease bookworm\narch amd64\nroom data 9999999 /\n")
		}
	case strings.Contains(line, n.name+" vagrant "): // prepare.sh
		if !n.prepared.Swap(true) {
			say("::changed hostname\n")
		}
		say(fmt.Sprintf("::clock %d.0\n", time.Now().Unix()))
	case bytes.Contains(text, []byte("date -u -s")): // its clock is set
	case strings.Contains(line, "date "): // its clock is asked
		say(fmt.Sprintf("%d.0\n", time.Now().Unix()))
	default:
		return 127
	}
	return 0
}

// scaled is what a labctl took.
type scaled struct {
	out    string
	cpu    time.Duration // of its own process
	memory int64         // bytes, at the peak
	took   time.Duration
}

func runScaled(t *testing.T, dir, command string) scaled {
	t.Helper()
	cmd := exec.Command("labctl", command)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"), "GORACE=atexit_sleep_ms=0",
		"HOME="+filepath.Join(dir, "home"), "XDG_CACHE_HOME="+filepath.Join(dir, "cache"))
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	begin := time.Now()
	must(t, cmd.Start())
	r := scaled{}
	pid := cmd.Process.Pid
	for over := false; !over; {
		// Of an ended process that nobody has waited for the kernel still
		// tells the CPU time, and not that of its children with it, but no
		// memory: so that is looked at while it runs. It is a peak, and
		// VmHWM counts from the exec on.
		r.memory = max(r.memory, peak(pid))
		var info unix.Siginfo
		must(t, unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil))
		if over = info.Signo != 0; !over {
			time.Sleep(5 * time.Millisecond)
		}
	}
	r.took = time.Since(begin)
	r.cpu = cpuTime(t, pid)
	err := cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Fatalf("labctl %s: exit code %d\n%s", command, exit.ExitCode(), &errOut)
	}
	must(t, err)
	r.out = out.String()
	return r
}

// peak returns the most memory that a process has had, 0 if it has ended.
func peak(pid int) int64 {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(data), "\nVmHWM:")
	kb, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, _ := strconv.ParseInt(kb, 10, 64)
	return n << 10
}

// cpuTime returns what a process itself has used, its children left out.
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	must(t, err)
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	var ticks int64
	for _, f := range fields[11:13] { // utime and stime
		n, err := strconv.ParseInt(f, 10, 64)
		must(t, err)
		ticks += n
	}
	const perSecond = 100 // USER_HZ, the same on every Linux that Go runs on
	return time.Duration(ticks) * time.Second / perSecond
}
