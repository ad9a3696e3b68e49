//go:build unix

package vagrant

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/config"
)

// fake puts a `vagrant` on the PATH that is this shell script, and returns a
// client of it. $T is a folder for it, testdata/ that of this package.
func fake(t *testing.T, script string) *Client {
	t.Helper()
	dir := t.TempDir()
	data, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	text := "#!/bin/sh\necho() { printf '%s\\n' \"$*\"; }\nT='" + dir + "'\nD='" + data + "'\n" + script + "\n"
	for name, text := range map[string]string{"vagrant": text, "Vagrantfile": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	return &Client{Dir: dir, Provider: config.Libvirt, grace: 10 * time.Second}
}

// heard is what Up told.
type heard struct {
	ready []string
	at    map[string]string // where sshd answers
	lines map[string][]string
}

func up(ctx context.Context, c *Client, deadline time.Duration, names ...string) (heard, error) {
	h := heard{lines: map[string][]string{}, at: map[string]string{}}
	err := c.Up(ctx, names, deadline, UpEvents{
		Line:    func(node, line string) { h.lines[node] = append(h.lines[node], line) },
		Address: func(node, host string) { h.at[node] = host },
		Ready:   func(node string) { h.ready = append(h.ready, node) },
	})
	return h, err
}

const long = 5 * time.Minute

func TestUpRecorded(t *testing.T) {
	c := fake(t, `echo "$* $VAGRANT_DEFAULT_PROVIDER $VAGRANT_CWD" >"$T/called"; cat "$D/up.log"`)
	var log bytes.Buffer
	c.Log = &log
	h, err := up(t.Context(), c, long, "docker1", "docker2")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"docker2", "docker1"}, h.ready); diff != "" {
		t.Errorf("ready, each once and in Vagrant's order: %s", diff)
	}
	if diff := cmp.Diff(map[string]string{"docker1": "192.168.121.204", "docker2": "192.168.121.42"}, h.at); diff != "" {
		t.Errorf("addresses: %s", diff)
	}
	// The first line of each message, without the name that leads it.
	want := "No version detected for labctl/debian12-9304bb4f07bb, using timestamp to watch for modifications. Consider"
	found := false
	for _, l := range h.lines["docker1"] {
		found = found || l == want
		if strings.Contains(l, "docker2") {
			t.Errorf("docker1 was told %q", l)
		}
	}
	if !found {
		t.Errorf("docker1 was not told %q", want)
	}
	recorded, err := os.ReadFile("testdata/up.log")
	if err != nil {
		t.Fatal(err)
	}
	if log.String() != string(recorded) {
		t.Error("the log is not all that Vagrant said")
	}
	called, err := os.ReadFile(filepath.Join(c.Dir, "called"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "up --machine-readable --no-provision --no-destroy-on-error --provider libvirt docker1 docker2 --parallel libvirt " + c.Dir + "\n"; string(called) != want {
		t.Errorf("called %q, want %q", called, want)
	}
}

func TestUpFails(t *testing.T) {
	for _, tt := range []struct {
		name, script, text, output, hint string
	}{
		{
			name: "two machines", script: `cat "$D/failed.log"; exit 1`,
			text: "vagrant up failed: Name `lab_docker1` of domain about to create is already taken. Please try to run",
			output: "An error occurred while executing multiple actions in parallel.\nAny errors that occurred are shown below.\n\n" +
				"An error occurred while executing the action on the 'docker1'\nmachine. Please handle this error then try again:\n\n" +
				"Name `lab_docker1` of domain about to create is already taken. Please try to run\n`vagrant up` command again.\n\n" +
				"An error occurred while executing the action on the 'docker2'\nmachine. Please handle this error then try again:\n\n" +
				"Name `lab_docker2` of domain about to create is already taken. Please try to run\n`vagrant up` command again.",
			hint: "a VM of that name exists, but Vagrant does not know it (its .vagrant folder was deleted): `labctl create --force` removes what carries this lab's mark and creates it again",
		},
		{
			name: "no exit message", script: `echo '1,,ui,error,The box could not be found.\nTry again.'; exit 1`,
			text: "vagrant up failed: The box could not be found.", output: "The box could not be found.\nTry again.",
		},
		{
			name: "Ruby breaks down", script: `echo 'Traceback (most recent call last):' >&2; echo "cannot load such file -- vagrant" >&2; exit 1`,
			text: "vagrant up failed: Traceback (most recent call last):", output: "Traceback (most recent call last):\ncannot load such file -- vagrant",
		},
		{name: "silent", script: `exit 3`, text: "vagrant up failed: exit status 3"},
		{name: "signal", script: `kill -9 $$`, text: "vagrant up failed: signal: killed"},
		{
			name: "networks.conf", script: `echo '1,,error-exit,E,The IP address configured for the host-only network is not within the\nallowed ranges. 192.168.33.11'; exit 1`,
			text:   "vagrant up failed: The IP address configured for the host-only network is not within the",
			output: "The IP address configured for the host-only network is not within the\nallowed ranges. 192.168.33.11",
			hint:   "VirtualBox 6.1.28 and later allow host-only addresses outside 192.168.56.0/21 only if /etc/vbox/networks.conf has the line `* 192.168.33.0/24`",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := up(t.Context(), fake(t, tt.script), long, "docker1", "docker2")
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("error %v", err)
			}
			if diff := cmp.Diff([]string{tt.text, tt.output, tt.hint}, []string{e.Error(), e.Output(), e.Hint()}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A line of any length is passed on, and so is what comes behind it.
func TestUpLongLine(t *testing.T) {
	c := fake(t, `head -c 102400 /dev/zero | tr '\0' x | sed 's/^/1,docker1,ui,info,/'; echo; echo 1,docker1,action,up,end`)
	h, err := up(t.Context(), c, long, "docker1")
	if err != nil {
		t.Fatal(err)
	}
	if len(h.lines["docker1"]) != 1 || len(h.lines["docker1"][0]) != 102400 || len(h.ready) != 1 {
		t.Errorf("%d lines, ready %v", len(h.lines["docker1"]), h.ready)
	}
}

// A service that Vagrant starts for good can hold its output open: that is no
// failure of the boot.
func TestUpLeavesAService(t *testing.T) {
	c := fake(t, `sleep 60 & echo $! >"$T/service"; echo 1,docker1,action,up,end`)
	c.Provider, c.grace = config.VirtualBox, 200*time.Millisecond
	h, err := up(t.Context(), c, long, "docker1")
	if err != nil || len(h.ready) != 1 {
		t.Errorf("ready %v, error %v", h.ready, err)
	}
	pid := pidIn(t, c, "service")
	if err := syscall.Kill(pid, 0); err != nil {
		t.Errorf("the service is gone: %v", err)
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
}

const waits = `echo '1,docker1,ui,info,==> docker1: Waiting for domain to get an IP address...'; echo $$ >"$T/pid.new"; mv "$T/pid.new" "$T/pid"; `

func TestUpDeadline(t *testing.T) {
	c := fake(t, `trap 'echo "1,docker1,ui,warn,==> docker1: Waiting for cleanup before exiting..."; exit 1' INT; `+waits+`while :; do sleep 0.05; done`)
	_, err := up(t.Context(), c, 700*time.Millisecond, "docker1")
	var late *TimeoutError
	if !errors.As(err, &late) || err.Error() != "vagrant up was not done within 700ms; its last words: docker1: Waiting for domain to get an IP address..." {
		t.Errorf("error %v", err)
	}
	if pid := pidIn(t, c, "pid"); lives(pid) {
		t.Errorf("process %d still lives", pid)
	}
}

func TestUpInterrupted(t *testing.T) {
	c := fake(t, `trap 'echo interrupted >>"$T/heard"; exit 1' INT; `+waits+`while :; do sleep 0.05; done`)
	cause := errors.New("a person has had enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		await(filepath.Join(c.Dir, "pid"))
		cancel(cause)
	}()
	_, err := up(ctx, c, long, "docker1")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if said, _ := os.ReadFile(filepath.Join(c.Dir, "heard")); string(said) != "interrupted\n" {
		t.Errorf("Vagrant heard %q, want it once", said)
	}
}

// One that does not listen is killed after the grace, with its children.
func TestUpDeaf(t *testing.T) {
	c := fake(t, `trap '' INT; sleep 600 & echo $! >"$T/child"; `+waits+`while :; do sleep 0.05; done`)
	c.grace = 300 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		await(filepath.Join(c.Dir, "pid"))
		cancel()
	}()
	begin := time.Now()
	_, err := up(ctx, c, long, "docker1")
	if !errors.Is(err, context.Canceled) || time.Since(begin) > 30*time.Second {
		t.Errorf("error %v after %v", err, time.Since(begin))
	}
	for _, file := range []string{"pid", "child"} {
		if pid := pidIn(t, c, file); lives(pid) {
			t.Errorf("%s: process %d still lives", file, pid)
		}
	}
}

func await(file string) {
	for begin := time.Now(); time.Since(begin) < time.Minute; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(file); err == nil {
			return
		}
	}
}

func pidIn(t *testing.T, c *Client, name string) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(c.Dir, name))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// lives says whether a process still runs in a moment from now: a killed one
// needs one to go, and one whose parent went first stays as a zombie where
// nobody collects it.
func lives(pid int) bool {
	for begin := time.Now(); time.Since(begin) < 2*time.Second; time.Sleep(10 * time.Millisecond) {
		if syscall.Kill(pid, 0) != nil {
			return false
		}
		stat, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		if strings.Contains(string(stat), ") Z ") {
			return false
		}
	}
	return true
}
