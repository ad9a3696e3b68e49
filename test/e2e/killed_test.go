package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"labctl/internal/ui"
)

// started waits for a step to begin.
func started(step string) event {
	return func(e ui.Event) bool { return e.Step == step && e.State == ui.Started }
}

// said waits for words of a step.
func said(step, words string) event {
	return func(e ui.Event) bool { return e.Step == step && strings.Contains(e.Detail, words) }
}

// killedWithin bounds each create here: a machine that boots VMs for others as
// well is several times slower.
const killedWithin = 40 * time.Minute

// TestKilled kills create at a moment of each of its parts, and powers a VM off
// under it. Each run finds what the one before has left; the last one is not
// killed, and leaves a whole lab with nothing stray. All the time nothing
// secret may stand on a command line, here or on the nodes.
func TestKilled(t *testing.T) {
	needVMs(t)
	l := newLab(t, "provider = \"embedded\"\n")
	stop := watchCommandLines(t)
	defer stop()
	begin := time.Now()
	tell := func(name string, r result) {
		t.Helper()
		t.Logf("%v: %s; labctl had run for %v", time.Since(begin).Round(time.Second), name, r.ran.Round(time.Second))
	}
	kill := func(name string, when event) {
		t.Helper()
		r := l.until(syscall.SIGKILL, killedWithin, when, "create", "--no-cache")
		if r.code != -1 {
			t.Fatalf("%s: it was not killed: exit code %d\n%s\n%s", name, r.code, strings.Join(r.steps(), "\n"), r.err)
		}
		tell("killed at "+name, r)
		checkState(t, l, name)
	}
	kill("boot", said("boot", "Waiting for domain to get an IP address"))
	// As when Vagrant ends between making a VM and giving it its cards: a VM that
	// Vagrant would start for ever without them.
	l.virsh(t, "destroy", "lab_docker2")
	for range 2 {
		l.virsh(t, "detach-interface", "lab_docker2", "network", "--config", "--mac", macOf.FindString(l.virsh(t, "domiflist", "lab_docker2", "--inactive")))
	}
	kill("connect", started("connect"))
	kill("install", said("install docker", "unpacking the packages"))

	// A node loses its power while Docker is being installed.
	once := false
	r := l.run(killedWithin, func(e ui.Event) bool {
		if e.Node == "docker2" && e.Step == "install docker" && e.State == ui.Started && !once {
			once = true
			l.virsh(t, "destroy", "lab_docker2")
		}
		return false
	}, "create", "--no-cache")
	if !once || r.code != 1 || !regexp.MustCompile(`(?m)^error: (.*\n +)?docker2: install docker: `).MatchString(r.err) {
		t.Fatalf("a node without power: exit code %d\n%s\n%s", r.code, strings.Join(r.steps(), "\n"), r.err)
	}
	tell("failed for a node without power", r)

	kill("init", started("swarm init"))
	node := watchNodes(l)
	kill("join", started("swarm join"))
	kill("snapshot", said("snapshot", "saving the VMs"))
	node(t)

	tell("ready", l.ok(killedWithin, "create", "--no-cache"))
	checkNothingStray(t, l)
	if st := l.status(); !st.Ready || len(st.Nodes) != 2 {
		t.Errorf("status %+v", st)
	}
	nodes := l.ok(shortWithin, "exec", "docker1", "--", "docker", "node", "ls", "--format", "{{.Hostname}} {{.Status}} {{.ManagerStatus}}")
	if want := "docker1 Ready Leader\ndocker2 Ready \n"; nodes.out != want {
		t.Errorf("docker node ls says %q, want %q", nodes.out, want)
	}
}

var macOf = regexp.MustCompile(`([0-9a-f]{2}:){5}[0-9a-f]{2}`)

// virsh asks the lab's own libvirt.
func (l *lab) virsh(t *testing.T, args ...string) string {
	t.Helper()
	pid := strconv.Itoa(l.engine().PID)
	out, err := exec.Command("nsenter", append([]string{"-t", pid, "-m", "-n", "virsh", "-q", "-c", "qemu:///system"}, args...)...).CombinedOutput()
	if err != nil {
		t.Errorf("virsh %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// checkState wants what labctl writes down to be whole, and nobody to hold the
// lock.
func checkState(t *testing.T, l *lab, after string) {
	t.Helper()
	for _, name := range []string{"state.json", "lock"} {
		data, err := os.ReadFile(filepath.Join(l.dir, ".labctl", name))
		if err != nil || !json.Valid(data) {
			t.Errorf("killed at %s: %s holds %q, %v", after, name, data, err)
		}
	}
	lock, err := os.Open(filepath.Join(l.dir, ".labctl", "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Close() }()
	// A program that was just being started holds it until it runs.
	const freed = 10 * time.Second
	for end := time.Now().Add(freed); ; time.Sleep(100 * time.Millisecond) {
		err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Errorf("killed at %s: the lock is held %v later: %v", after, freed, err)
			return
		}
	}
}

// checkNothingStray wants the lab's two VMs and none besides, no Vagrant at
// work, and no entry of a former self in the swarm, which the caller looks at.
func checkNothingStray(t *testing.T, l *lab) {
	t.Helper()
	vms := strings.Fields(l.virsh(t, "list", "--all", "--name"))
	slices.Sort(vms)
	if !slices.Equal(vms, []string{"lab_docker1", "lab_docker2"}) {
		t.Errorf("VMs %q", vms)
	}
	volumes := regexp.MustCompile(`(?m)^ *(\S+\.img) `).FindAllStringSubmatch(l.virsh(t, "vol-list", "default"), -1)
	if len(volumes) != 3 { // the box's and one a node
		t.Errorf("volumes %q", volumes)
	}
	eachProcess(func(pid string, args []string) {
		env, _ := os.ReadFile(filepath.Join("/proc", pid, "environ"))
		if bytes.Contains(env, []byte("VAGRANT_CWD="+filepath.Join(l.dir, ".labctl"))) {
			t.Errorf("a stray process %s: %q", pid, args)
		}
	})
	left, _ := filepath.Glob(filepath.Join(l.dir, ".labctl", "*.new"))
	if left != nil {
		t.Errorf("left behind: %q", left)
	}
	for pattern, mode := range map[string]os.FileMode{"keys/*": 0o600, "known_hosts": 0o600, "state.json": 0o600, ".": 0o700 | os.ModeDir} {
		names, _ := filepath.Glob(filepath.Join(l.dir, ".labctl", pattern))
		if names == nil {
			t.Errorf("there is no %s", pattern)
		}
		for _, name := range names {
			if info, err := os.Stat(name); err != nil || info.Mode() != mode {
				t.Errorf("%s: mode %v, want %v; %v", name, info.Mode(), mode, err)
			}
		}
	}
	// The box's well-known key opens no node any more.
	keys := l.ok(shortWithin, "exec", "@all", "--", "cat", ".ssh/authorized_keys")
	if n := strings.Count(keys.out, "ssh-rsa "); n != 2 || strings.Contains(keys.out, "vagrant insecure") || strings.Count(keys.out, " labctl lab\n") != 2 {
		t.Errorf("authorized_keys: %s", keys.out)
	}
}

// secretWords is what no command line may hold: a join token, an unlock key, a
// private key.
var secretWords = regexp.MustCompile(`SWMTKN-1-|SWMKEY-1-|PRIVATE KEY-----`)

// watchCommandLines looks at the command lines of this machine again and again
// until stop, which fails the test if one held a secret.
func watchCommandLines(t *testing.T) (stop func()) {
	t.Helper()
	const every = 50 * time.Millisecond
	done := make(chan struct{})
	var wg sync.WaitGroup
	var found []string
	looks := 0
	wg.Go(func() {
		for {
			eachProcess(func(pid string, args []string) {
				if line := strings.Join(args, " "); secretWords.MatchString(line) {
					found = append(found, pid+": "+line)
				}
			})
			looks++
			select {
			case <-done:
				return
			case <-time.After(every):
			}
		}
	})
	return sync.OnceFunc(func() {
		close(done)
		wg.Wait()
		if found != nil || looks < 20 {
			t.Errorf("%d looks at the command lines: %q", looks, found)
		}
	})
}

// watchNodes does so on the nodes, until both have the file that end makes.
func watchNodes(l *lab) (end func(t *testing.T)) {
	// One process that starts no others: on an emulated node those would take
	// what create needs.
	const loop = `use strict; my ($n, %seen); unlink '/tmp/enough';
until (-e '/tmp/enough' || ++$n >= 6000) {
	for my $file (glob '/proc/[0-9]*/cmdline') {
		open(my $f, '<', $file) or next;
		local $/;
		my $line = <$f>;
		$seen{$line}++ if defined $line && $line =~ /S[W]MTKN-1-|S[W]MKEY-1-|PRIVATE [K]EY--/;
	}
	select(undef, undef, undef, 0.3);
}
print "$n looks\n", map { tr/\0/ /; "$_\n" } keys %seen`
	answer := make(chan result, 1)
	go func() { answer <- l.run(createWithin, nil, "exec", "@all", "--", "perl", "-e", loop) }()
	return func(t *testing.T) {
		l.ok(shortWithin, "exec", "@all", "--", "touch", "/tmp/enough")
		r := <-answer
		looks := regexp.MustCompile(`(?m)^(docker\d: \d+ looks)$`).FindAllString(r.out, -1)
		if r.code != 0 || len(looks) != 2 || strings.Count(r.out, "\n") != 2 {
			t.Errorf("the nodes' command lines: exit code %d\n%s%s", r.code, r.out, r.err)
		}
	}
}

// eachProcess calls f with every process's id and command line.
func eachProcess(f func(pid string, args []string)) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err == nil && len(line) > 0 {
			f(filepath.Base(dir), strings.Split(strings.TrimRight(string(line), "\x00"), "\x00"))
		}
	}
}

// TestWatch proves that the watch can fail.
func TestWatch(t *testing.T) {
	sleep := exec.Command("sh", "-c", "sleep 30", fmt.Sprint("SWMTKN", "-1-x"))
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sleep.Process.Kill(); _ = sleep.Wait() }()
	seen := false
	eachProcess(func(pid string, args []string) {
		seen = seen || pid == strconv.Itoa(sleep.Process.Pid) && secretWords.MatchString(strings.Join(args, " "))
	})
	if !seen {
		t.Error("a token on a command line was not seen")
	}
}
