package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// qemuConf makes QEMU run as root without the confinement that needs parts of
// the host (AppArmor profiles, cgroups, a udev per VM) which a namespace of
// our own does not have.
const qemuConf = `user = "root"
group = "root"
security_driver = "none"
namespaces = []
cgroup_controllers = []
remember_owner = 0
`

// libvirtdConf: only root is in the namespace, so there is nobody to ask
// polkit about.
const libvirtdConf = `auth_unix_ro = "none"
auth_unix_rw = "none"
`

// private lists what is bind-mounted from Dir over the host's folders.
var private = map[string]string{
	"etc":   "/etc/libvirt",
	"run":   "/run/libvirt",
	"lib":   "/var/lib/libvirt",
	"log":   "/var/log/libvirt",
	"cache": "/var/cache/libvirt",
}

// Serve is the supervisor: it runs in the new namespaces, starts virtlogd and
// libvirtd, and lives until it is told to end by ctx, then ends all that came
// from it, VMs included. beside, which may be nil, runs as long as it does,
// given ctx and a listener at NodesSocket.
func (e Embedded) Serve(ctx context.Context, beside func(context.Context, net.Listener)) error {
	outside := os.Getenv(envOutside)
	if !isolated(outside) {
		return errors.New("engine serve: not in namespaces of its own; labctl starts it by itself")
	}
	if err := e.isolate(os.Getenv(envCache)); err != nil {
		return err
	}
	if beside != nil {
		_ = os.Remove(NodesSocket) // of an engine that was killed
		lis, err := net.Listen("unix", NodesSocket)
		if err != nil {
			return err
		}
		if err := os.Chmod(NodesSocket, 0o600); err != nil {
			return err
		}
		go beside(ctx, lis)
	}
	// Daemons that detach (QEMU, dnsmasq) become our children, so that none
	// can be lost.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the reaper of the engine's processes: %w", err)
	}
	self := record{PID: os.Getpid(), NetNS: netns(os.Getpid()), Outside: strings.Fields(outside)[0], Started: time.Now().UTC()}
	if err := e.write(self); err != nil {
		return err
	}
	reaper := newReaper()
	defer reaper.stop() // after endAll, which waits for what it ends
	defer e.endAll()
	died := make(chan error, 2)
	for _, name := range []string{"virtlogd", "libvirtd"} {
		// Neither -d nor a context: the order in which they end is endAll's.
		// Without a pid file of their own they would take the host's in /run,
		// which another lab's engine or the system's libvirt holds.
		cmd := exec.Command(name, "--pid-file", filepath.Join("/run/libvirt", name+".pid"))
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Start(); err != nil {
			return err
		}
		reaper.spare(cmd.Process.Pid)
		go func() { died <- fmt.Errorf("%s ended: %v", name, cmd.Wait()) }()
	}
	if err := answer(ctx, died); err != nil {
		return err
	}
	self.Ready = true
	if err := e.write(self); err != nil {
		return err
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-died:
			return err
		case <-look.C:
			// Nobody could find an engine again whose folder was deleted.
			if _, err := os.Stat(e.recordFile()); errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("the lab's folder %s is gone, and so the engine ends", e.Dir)
			}
		}
	}
}

// lookEvery is how often the supervisor looks whether its folder is there.
const lookEvery = 2 * time.Second

// answer waits until libvirtd takes a connection.
func answer(ctx context.Context, died <-chan error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		out, err := exec.CommandContext(ctx, "virsh", "-c", "qemu:///system", "version", "--daemon").CombinedOutput()
		if err == nil {
			return nil
		}
		select {
		case err := <-died:
			return err
		case <-ctx.Done():
			return fmt.Errorf("libvirtd does not answer: %s", strings.TrimSpace(string(out)))
		case <-tick.C:
		}
	}
}

// isolate mounts Dir's folders over the host's, and for libvirt's cache one of
// the shared cache, if there is one.
func (e Embedded) isolate(cache string) error {
	// Nothing that is mounted here may reach the host.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	for sub, target := range private {
		dir := filepath.Join(e.Dir, sub)
		if sub == "cache" && cache != "" {
			dir = filepath.Join(cache, "libvirt")
		}
		for _, d := range []string{dir, target} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				return err
			}
		}
		if err := unix.Mount(dir, target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s over %s: %w", dir, target, err)
		}
	}
	for name, text := range map[string]string{"qemu.conf": qemuConf, "libvirtd.conf": libvirtdConf} {
		if err := os.WriteFile(filepath.Join("/etc/libvirt", name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("ip link set lo up: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// endAll ends every process that descends from the supervisor: asks first,
// then kills. The VMs' disks are safe with SIGTERM: QEMU flushes them.
func (e Embedded) endAll() {
	_ = os.Remove(e.recordFile() + ".new")
	begin := time.Now()
	sig := syscall.SIGTERM
	for {
		pids := descendants(os.Getpid())
		if len(pids) == 0 {
			break
		}
		if time.Since(begin) > stopGrace {
			sig = syscall.SIGKILL
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, sig)
		}
		time.Sleep(pollEvery)
		if time.Since(begin) > 3*stopGrace {
			return
		}
	}
	_ = os.Remove(e.recordFile())
}

// reaper collects the exit states of adopted processes. Without it a VM that
// ended stays a zombie, which libvirtd takes for one that cannot be killed.
type reaper struct {
	mu      sync.Mutex
	daemons map[int]bool // waited for by whoever started them
	signals chan os.Signal
}

func newReaper() *reaper {
	r := &reaper{daemons: map[int]bool{}, signals: make(chan os.Signal, 1)}
	signal.Notify(r.signals, syscall.SIGCHLD)
	go func() {
		for range r.signals {
			r.reap()
		}
	}()
	return r
}

func (r *reaper) spare(pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.daemons[pid] = true
}

func (r *reaper) stop() {
	signal.Stop(r.signals)
	close(r.signals)
}

func (r *reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, pid := range childrenOf()[os.Getpid()] {
		// A virsh that answer started is waited for there; it is listed only
		// while it runs or for an instant after.
		if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); r.daemons[pid] || strings.TrimSpace(string(name)) == "virsh" {
			continue
		}
		_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
	}
}

// descendants lists the processes below pid, whoever made them.
func descendants(pid int) []int {
	children := childrenOf()
	var out []int
	for queue := children[pid]; len(queue) > 0; {
		p := queue[0]
		queue = append(queue[1:], children[p]...)
		out = append(out, p)
	}
	return out
}

// childrenOf maps every process to its children.
func childrenOf() map[int][]int {
	children := map[int][]int{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		pid, err := strconv.Atoi(filepath.Base(d))
		if err != nil {
			continue
		}
		if parent := parentOf(pid); parent > 0 {
			children[parent] = append(children[parent], pid)
		}
	}
	return children
}
