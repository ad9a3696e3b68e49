package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestMain lets this test binary be the supervisor that Start starts.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "engine" && os.Args[2] == "serve" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		err := Embedded{Dir: os.Args[3]}.Serve(ctx, nil)
		stop()
		if err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func needsRoot(t *testing.T, tools ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("it needs root to make a network namespace")
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
}

// hostState is what an engine must not change: interfaces, routes, firewall
// and mounts of the host.
func hostState(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, argv := range [][]string{
		{"ip", "-o", "link"}, {"ip", "-o", "-4", "addr"}, {"ip", "route", "show", "table", "all"}, {"ip", "rule"}, {"ip", "netns"},
		{"iptables", "-S"}, {"iptables", "-t", "nat", "-S"},
	} {
		text, err := exec.Command(argv[0], argv[1:]...).Output()
		if err != nil {
			text = []byte("error")
		}
		out[strings.Join(argv, " ")] = string(text)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	out["mounts"] = string(mounts)
	for _, dir := range private {
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		out[dir] = fmt.Sprint(info.Size(), info.ModTime())
	}
	return out
}

func newEngine(t *testing.T) Embedded {
	t.Helper()
	e := Embedded{Dir: filepath.Join(t.TempDir(), "engine")}
	t.Cleanup(func() {
		if err := e.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return e
}

func start(t *testing.T, e Embedded) Status {
	t.Helper()
	started, err := e.Start(t.Context())
	if err != nil || !started {
		log, _ := os.ReadFile(e.LogFile())
		t.Fatalf("started %v, error %v\n%s", started, err, log)
	}
	st, err := e.Status()
	if err != nil || !st.Running {
		t.Fatalf("status %+v, error %v", st, err)
	}
	return st
}

// What libvirtd has found out of QEMU is there for the next engine.
func TestCache(t *testing.T) {
	needsRoot(t, "libvirtd", "qemu-system-x86_64")
	cache := t.TempDir()
	made := func() map[string]time.Time {
		out := map[string]time.Time{}
		files, _ := filepath.Glob(filepath.Join(cache, "libvirt", "qemu", "capabilities", "*.xml"))
		for _, f := range files {
			info, err := os.Stat(f)
			if err != nil {
				t.Fatal(err)
			}
			out[filepath.Base(f)] = info.ModTime()
		}
		return out
	}
	var first map[string]time.Time
	for i := range 2 {
		e := newEngine(t)
		e.Cache = cache
		start(t, e)
		if i == 0 {
			first = made()
		} else if diff := cmp.Diff(first, made()); diff != "" || len(first) == 0 {
			t.Errorf("capabilities of QEMU (-first engine +second):\n%s", diff)
		}
		if own, _ := filepath.Glob(filepath.Join(e.Dir, "cache", "*")); len(own) != 0 {
			t.Errorf("the engine keeps %q itself", own)
		}
		if err := e.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// names are the programs of a status, sorted.
func names(st Status) []string {
	var out []string
	for _, p := range st.Processes {
		_, name, _ := strings.Cut(p, " ")
		out = append(out, name)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// inside runs a command in the engine.
func inside(t *testing.T, st Status, stdin string, argv ...string) string {
	t.Helper()
	cmd := exec.Command("nsenter", append([]string{"-t", fmt.Sprint(st.PID), "-m", "-n", "--"}, argv...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
	return string(out)
}

const network = `<network><name>lab</name><bridge name="virbr9"/><ip address="192.168.33.1" netmask="255.255.255.0"><dhcp><range start="192.168.33.100" end="192.168.33.200"/></dhcp></ip></network>`

// TestEmbedded starts two engines for real, side by side, each with the same
// network in it.
func TestEmbedded(t *testing.T) {
	needsRoot(t, embeddedTools...)
	before := hostState(t)
	one, two := newEngine(t), newEngine(t)
	if st, err := one.Status(); err != nil || st.Running || one.Exists() || one.Inside() {
		t.Fatalf("before its start: %+v, %v", st, err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(self)[:min(15, len(filepath.Base(self)))]

	st1 := start(t, one)
	st2 := start(t, two)
	if diff := cmp.Diff([]string{name, "libvirtd", "virtlogd"}, names(st1), sortStrings); diff != "" {
		t.Error(diff)
	}
	if own := netns(os.Getpid()); st1.NetNS == st2.NetNS || st1.NetNS == own || st2.NetNS == own {
		t.Errorf("network namespaces %s, %s, the host's is %s", st1.NetNS, st2.NetNS, own)
	}
	if again, err := one.Start(t.Context()); again || err != nil {
		t.Errorf("a second start: %v, %v", again, err)
	}
	for _, st := range []Status{st1, st2} {
		inside(t, st, network, "virsh", "-q", "-c", "qemu:///system", "net-create", "/dev/stdin")
		if out := inside(t, st, "", "ip", "-o", "-4", "addr", "show", "virbr9"); !strings.Contains(out, "192.168.33.1/24") {
			t.Errorf("no network in the engine: %s", out)
		}
	}
	if st, _ := one.Status(); !slices.Contains(names(st), "dnsmasq") {
		t.Errorf("processes %v: no dnsmasq", st.Processes)
	}
	if one.Inside() {
		t.Error("the test is said to be inside")
	}
	if diff := cmp.Diff(before, hostState(t)); diff != "" {
		t.Errorf("with engines running, the host changed: %s", diff)
	}

	// An orderly stop leaves the other one alone. dnsmasq has become the
	// supervisor's child, and must not keep it waiting as a zombie.
	begin := time.Now()
	stop(t, one, st1)
	if took := time.Since(begin); took >= 2*stopGrace {
		t.Errorf("the stop took %v: something did not end when it was asked", took)
	}
	if st, err := two.Status(); err != nil || !st.Running {
		t.Errorf("the other engine: %+v, %v", st, err)
	}

	// A supervisor that was killed: the rest is found all the same.
	if err := syscall.Kill(st2.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the supervisor is gone", func() bool { return netns(st2.PID) == "" })
	st, err := two.Status()
	if err != nil || st.Running {
		t.Errorf("without a supervisor: %+v, %v", st, err)
	}
	if diff := cmp.Diff([]string{"dnsmasq", "libvirtd", "virtlogd"}, names(st)); diff != "" {
		t.Errorf("what a killed supervisor leaves: %s", diff)
	}
	// Start clears it away by itself.
	st2 = start(t, two)
	if err := syscall.Kill(st2.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	begin = time.Now()
	stop(t, two, st2)
	if took := time.Since(begin); took >= 2*stopGrace {
		t.Errorf("the stop took %v: nobody asked libvirtd to end", took)
	}
	if err := two.Stop(t.Context()); err != nil {
		t.Errorf("a second stop: %v", err)
	}
	if diff := cmp.Diff(before, hostState(t)); diff != "" {
		t.Errorf("the host changed: %s", diff)
	}
}

var sortStrings = cmp.Transformer("sort", func(s []string) []string { return slices.Sorted(slices.Values(s)) })

// stop stops an engine and sees that nothing of it is left.
func stop(t *testing.T, e Embedded, was Status) {
	t.Helper()
	if err := e.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st, err := e.Status(); err != nil || st.Running || st.Processes != nil {
		t.Errorf("after the stop: %+v, %v", st, err)
	}
	pids, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, p := range pids {
		if ns, _ := os.Readlink(p); ns != was.NetNS {
			continue
		}
		stat, _ := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(p)), "stat"))
		if !strings.Contains(string(stat), ") Z ") {
			t.Errorf("%s is still in the network namespace: %s", p, stat)
		}
	}
}

func waitUntil(t *testing.T, what string, done func() bool) {
	t.Helper()
	for begin := time.Now(); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Since(begin) > time.Minute {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// TestFolderDeleted: a test that was killed, or a person who removed the lab's
// folder, leaves an engine that nobody can find any more; it ends by itself.
func TestFolderDeleted(t *testing.T) {
	needsRoot(t, embeddedTools...)
	e := newEngine(t)
	st := start(t, e)
	if err := os.RemoveAll(e.Dir); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the engine ends", func() bool {
		for _, p := range st.Processes {
			pid, _, _ := strings.Cut(p, " ")
			if link, err := os.Readlink("/proc/" + pid + "/ns/net"); err == nil && link == st.NetNS {
				return false
			}
		}
		return true
	})
}

// TestStopSparesStrangers: a record that names the namespace of others, since
// the machine was restarted or somebody wrote it, ends none of them.
func TestStopSparesStrangers(t *testing.T) {
	needsRoot(t, "unshare")
	for _, tt := range []struct {
		name string
		argv []string
	}{
		{"host's", []string{"sleep", "600"}},
		{"container's", []string{"unshare", "--net", "--mount", "sleep", "600"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.Command(tt.argv[0], tt.argv[1:]...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			t.Cleanup(func() { _ = cmd.Process.Kill() })
			waitUntil(t, "sleep runs", func() bool {
				comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", cmd.Process.Pid))
				return string(comm) == "sleep\n"
			})

			e := Embedded{Dir: t.TempDir()}
			if err := os.Mkdir(filepath.Join(e.Dir, "run"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := e.write(record{PID: cmd.Process.Pid, NetNS: netns(cmd.Process.Pid), Started: time.Now(), Ready: true}); err != nil {
				t.Fatal(err)
			}
			if st, err := e.Status(); err != nil || st.Running || st.Processes != nil {
				t.Errorf("status %+v, %v", st, err)
			}
			if e.Inside() {
				t.Error("the test is said to be inside")
			}
			if err := e.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			select {
			case err := <-ended:
				t.Errorf("the stranger was ended: %v", err)
			case <-time.After(100 * time.Millisecond):
			}
			if _, ok, err := e.read(); ok || err != nil {
				t.Errorf("the record is still there (%v)", err)
			}
		})
	}
}

// TestIsolated: Serve goes on only where it can be sure that its mounts reach
// nobody else. (It compared itself with process 1, which root may not ask about
// in some containers, and mounted over the folders of the host.)
func TestIsolated(t *testing.T) {
	own := namespaces()
	for outside, want := range map[string]bool{
		"": false, " ": false, own: false, "net:[1]": false,
		"net:[1] " + namespace(os.Getpid(), "mnt"): false,
		netns(os.Getpid()) + " mnt:[1]":            false,
		"net:[1] mnt:[1]":                          true,
	} {
		if got := isolated(outside); got != want {
			t.Errorf("%q: %v, want %v", outside, got, want)
		}
	}
}

func TestRecord(t *testing.T) {
	e := Embedded{Dir: t.TempDir()}
	if err := os.WriteFile(e.recordFile(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Status(); err == nil || err.Error() != e.recordFile()+": unexpected end of JSON input" {
		t.Errorf("error %v", err)
	}
	if err := e.Enter(t.Context(), []string{"labctl", "status"}); err == nil {
		t.Error("entered by a broken record")
	}
}

// A Ctrl-C just before labctl starts itself anew inside must not be lost.
func TestEnterInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (Embedded{Dir: t.TempDir()}).Enter(ctx, []string{"labctl", "create"}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
