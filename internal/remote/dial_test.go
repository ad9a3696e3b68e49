//go:build unix

package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"labctl/internal/remote/sshtest"
)

func dialOnce(t *testing.T, ep Endpoint, o DialOptions) error {
	t.Helper()
	c, err := Dial(t.Context(), ep, o)
	if err == nil {
		_ = c.Close()
	}
	return err
}

func TestSilentPeer(t *testing.T) {
	s := sshtest.Start(t, sshtest.Options{Silent: true})
	o := options(t)
	o.Timeout = 200 * time.Millisecond
	start := time.Now()
	err := dialOnce(t, endpoint(s, "docker1"), o)
	want := fmt.Sprintf("docker1: 127.0.0.1:%d accepts the connection, but has not finished the SSH handshake within 200ms", s.Port)
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if d := time.Since(start); d > 3*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestSlowPeer(t *testing.T) {
	s := sshtest.Start(t, sshtest.Options{HandshakeDelay: 300 * time.Millisecond})
	if err := dialOnce(t, endpoint(s, "docker1"), options(t)); err != nil {
		t.Error(err)
	}
}

func TestDialInterrupted(t *testing.T) {
	s := sshtest.Start(t, sshtest.Options{Silent: true})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	_, err := Dial(ctx, endpoint(s, "docker1"), options(t))
	want := fmt.Sprintf("docker1: ssh 127.0.0.1:%d: interrupted: context canceled", s.Port)
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestKeyFile(t *testing.T) {
	s := sshtest.Start(t, sshtest.Options{})
	junk := filepath.Join(t.TempDir(), "junk")
	if err := os.WriteFile(junk, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		junk:       "docker1: private key " + junk + ": ssh: no key found",
		"/no/file": "docker1: private key /no/file: no such file or directory",
	} {
		ep := endpoint(s, "docker1")
		ep.KeyFile = file
		var typed *KeyFileError
		if err := dialOnce(t, ep, options(t)); !errors.As(err, &typed) || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

func TestHostKeyIsPinned(t *testing.T) {
	s := sshtest.Start(t, sshtest.Options{})
	o := options(t)
	for range 2 { // the second finds the pin
		if err := dialOnce(t, endpoint(s, "docker1"), o); err != nil {
			t.Fatal(err)
		}
	}
	want := "docker1 " + string(ssh.MarshalAuthorizedKey(s.HostKey.PublicKey()))
	if diff := cmp.Diff(want, read(t, o.KnownHosts)); diff != "" {
		t.Error(diff)
	}
	if info, err := os.Stat(o.KnownHosts); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestChangedHostKey(t *testing.T) {
	s := sshtest.Start(t, sshtest.Options{})
	o := options(t)
	if err := dialOnce(t, endpoint(s, "docker1"), o); err != nil {
		t.Fatal(err)
	}
	before := read(t, o.KnownHosts)
	s.Close()
	other := sshtest.Start(t, sshtest.Options{})
	ep := endpoint(other, "docker1")

	err := dialOnce(t, ep, o)
	addr := "127.0.0.1:" + strconv.Itoa(other.Port)
	want := &HostKeyError{Node: "docker1", Addr: addr, File: o.KnownHosts,
		Old: ssh.FingerprintSHA256(s.HostKey.PublicKey()), New: ssh.FingerprintSHA256(other.HostKey.PublicKey())}
	var got *HostKeyError
	if !errors.As(err, &got) {
		t.Fatalf("error %v", err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if text := "docker1: the SSH host key has changed: " + want.Old + " is pinned, " + addr + " answers with " + want.New; err.Error() != text {
		t.Errorf("error %v, want %s", err, text)
	}
	if !strings.HasSuffix(got.Hint(), "ssh-keygen -R docker1 -f "+o.KnownHosts) {
		t.Errorf("hint %s", got.Hint())
	}
	if read(t, o.KnownHosts) != before {
		t.Error("the new key was written down")
	}

	// DialWait must not hammer on.
	start := time.Now()
	_, err = DialWait(t.Context(), ep, o, time.Minute, func(why string) { t.Errorf("waits: %s", why) })
	if !errors.As(err, &got) || time.Since(start) > 5*time.Second {
		t.Errorf("error %v after %v", err, time.Since(start))
	}

	if err := Forget(o.KnownHosts, "docker1"); err != nil {
		t.Fatal(err)
	}
	if err := dialOnce(t, ep, o); err != nil {
		t.Errorf("after Forget: %v", err)
	}
}

// A machine that refuses our key is not ours, and must not get pinned.
func TestRefusedKeyPinsNothing(t *testing.T) {
	s := sshtest.Start(t, sshtest.Options{Refuse: func() bool { return true }})
	o := options(t)
	err := dialOnce(t, endpoint(s, "docker1"), o)
	var typed *AuthError
	if want := "docker1: the SSH key " + s.KeyFile + " is refused for user vagrant"; !errors.As(err, &typed) || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if got := read(t, o.KnownHosts); got != "" {
		t.Errorf("pinned %s", got)
	}
}

func TestManyNodesPinAtOnce(t *testing.T) {
	o := options(t)
	var wg sync.WaitGroup
	for i := range 6 {
		s := sshtest.Start(t, sshtest.Options{})
		for range 2 {
			wg.Go(func() {
				if err := dialOnce(t, endpoint(s, fmt.Sprintf("docker%d", i)), o); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	names := map[string]int{}
	for line := range strings.Lines(read(t, o.KnownHosts)) {
		names[strings.Fields(line)[0]]++
	}
	want := map[string]int{"docker0": 1, "docker1": 1, "docker2": 1, "docker3": 1, "docker4": 1, "docker5": 1}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
}

func TestForget(t *testing.T) {
	file := filepath.Join(t.TempDir(), "known_hosts")
	if err := Forget(file, "docker1"); err != nil {
		t.Errorf("no file: %v", err)
	}
	key := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(sshtest.NewHostKey(t).PublicKey())))
	text := "# mine\ndocker1 " + key + "\ndocker10 " + key + "\nnot a line\ndocker1,alias " + key + "\ndocker2 " + key
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Forget(file, "docker1"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("# mine\ndocker10 "+key+"\nnot a line\ndocker2 "+key, read(t, file)); diff != "" {
		t.Error(diff)
	}
	// A last line without its line feed is not glued to the next pin.
	s := sshtest.Start(t, sshtest.Options{})
	if err := dialOnce(t, endpoint(s, "docker3"), DialOptions{KnownHosts: file}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(read(t, file), "\ndocker3 ssh-ed25519 ") {
		t.Errorf("file %s", read(t, file))
	}
}

// OpenSSH's own client must be able to use the file.
func TestOpenSSHUsesTheFile(t *testing.T) {
	client, err := exec.LookPath("ssh")
	if err != nil {
		t.Skip("no ssh client here")
	}
	s := sshtest.Start(t, sshtest.Options{})
	o := options(t)
	if err := dialOnce(t, endpoint(s, "docker1"), o); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), client, "-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-i", s.KeyFile,
		"-o", "StrictHostKeyChecking=yes", "-o", "HostKeyAlias=docker1", "-o", "UserKnownHostsFile="+o.KnownHosts,
		"-p", strconv.Itoa(s.Port), s.User+"@"+s.Host, "echo works").CombinedOutput()
	if err != nil || string(out) != "works\n" {
		t.Errorf("%v: %s", err, out)
	}
}

func TestDialWaitUntilTheNodeIsUp(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := lis.Addr().(*net.TCPAddr)
	_ = lis.Close() // nobody listens there now
	key := sshtest.Start(t, sshtest.Options{}).KeyFile

	var why []string
	quick := dialPoll{interval: 20 * time.Millisecond, authGrace: 200 * time.Millisecond}
	ep := Endpoint{Name: "docker1", Host: "127.0.0.1", Port: addr.Port, User: "vagrant", KeyFile: key}
	_, err = quick.wait(t.Context(), ep, options(t), 300*time.Millisecond, func(r string) { why = append(why, r) })
	var late *UnreachableError
	want := fmt.Sprintf("docker1: no SSH at 127.0.0.1:%d within 300ms; last attempt: connect: connection refused", addr.Port)
	if !errors.As(err, &late) || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if diff := cmp.Diff([]string{"connect: connection refused"}, why); diff != "" {
		t.Errorf("each reason once: %s", diff)
	}

	why = nil
	started := make(chan *sshtest.Server, 1)
	_, err = quick.wait(t.Context(), ep, options(t), 20*time.Second, func(r string) {
		why = append(why, r)
		if len(why) == 1 { // boots now, with another key than ep's
			started <- sshtest.Start(t, sshtest.Options{Addr: addr.String()})
		}
	})
	var auth *AuthError
	if !errors.As(err, &auth) {
		t.Errorf("error %v, want refused keys to end it", err)
	}
	if diff := cmp.Diff([]string{"connect: connection refused", "the SSH key is refused for user vagrant"}, why); diff != "" {
		t.Error(diff)
	}

	ep.KeyFile = (<-started).KeyFile
	c, err := quick.wait(t.Context(), ep, options(t), 20*time.Second, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

func TestDialWaitOutlivesEarlyRefusal(t *testing.T) {
	var attempts atomic.Int32
	s := sshtest.Start(t, sshtest.Options{Refuse: func() bool { return attempts.Add(1) <= 2 }})
	quick := dialPoll{interval: 20 * time.Millisecond, authGrace: 10 * time.Second}
	c, err := quick.wait(t.Context(), endpoint(s, "docker1"), options(t), 20*time.Second, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

func TestDialWaitInterrupted(t *testing.T) {
	s := sshtest.Start(t, sshtest.Options{})
	s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	_, err := DialWait(ctx, endpoint(s, "docker1"), options(t), time.Minute, func(string) { cancel() })
	want := fmt.Sprintf("docker1: ssh 127.0.0.1:%d: interrupted: context canceled", s.Port)
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
