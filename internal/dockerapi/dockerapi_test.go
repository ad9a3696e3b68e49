//go:build unix

package dockerapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/client"
	"golang.org/x/crypto/ssh"

	"labctl/internal/remote"
	"labctl/internal/remote/sshtest"
)

// engine speaks just enough of the API, as Docker 20.10.24 does, on a unix
// socket.
type engine struct {
	sock string
	mu   sync.Mutex
	got  []string
	srv  *httptest.Server
	sign string // of the program that answers
}

func startEngine(t *testing.T, sock string) *engine {
	t.Helper()
	lis, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{sock: sock}
	e.srv = httptest.NewUnstartedServer(e)
	e.srv.Listener = lis
	e.srv.Start()
	t.Cleanup(e.srv.Close)
	return e
}

func (e *engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	e.got = append(e.got, r.Method+" "+r.URL.Path)
	if e.sign != "" {
		w.Header().Set("Server", e.sign)
	}
	e.mu.Unlock()
	w.Header().Set("Api-Version", "1.41")
	w.Header().Set("Content-Type", "application/json")
	switch filepath.Base(r.URL.Path) {
	case "version":
		_ = json.NewEncoder(w).Encode(map[string]string{"Version": "4.3.1"})
		return
	case "info":
		_ = json.NewEncoder(w).Encode(map[string]string{"ServerVersion": "20.10.24"})
		return
	}
	_, _ = io.WriteString(w, "OK")
}

// elsewhere dials the test's socket in place of the node's.
type elsewhere struct {
	conn  *remote.Conn
	sock  string
	mu    sync.Mutex
	asked []string
}

func (d *elsewhere) Dial(network, addr string) (net.Conn, error) {
	d.mu.Lock()
	d.asked = append(d.asked, network+" "+addr)
	d.mu.Unlock()
	return d.conn.Dial(network, d.sock)
}

func open(t *testing.T, sock string) (*elsewhere, *client.Client) {
	t.Helper()
	s := sshtest.Start(t, sshtest.Options{})
	conn, err := remote.Dial(t.Context(),
		remote.Endpoint{Name: "docker1", Host: s.Host, Port: s.Port, User: s.User, KeyFile: s.KeyFile},
		remote.DialOptions{KnownHosts: filepath.Join(t.TempDir(), "known_hosts")})
	if err != nil {
		t.Fatal(err)
	}
	d := &elsewhere{conn: conn, sock: sock}
	cli, err := Open(d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cli.Close(); _ = conn.Close() })
	return d, cli
}

func TestThroughSSH(t *testing.T) {
	e := startEngine(t, filepath.Join(t.TempDir(), "s"))
	d, cli := open(t, e.sock)
	for range 3 {
		res, err := cli.Info(t.Context(), client.InfoOptions{})
		if err != nil || res.Info.ServerVersion != "20.10.24" {
			t.Fatalf("%q, %v", res.Info.ServerVersion, err)
		}
	}
	// The version is settled once, the connection is used again.
	want := []string{"HEAD /_ping", "GET /v1.41/info", "GET /v1.41/info", "GET /v1.41/info"}
	if diff := cmp.Diff(want, e.got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"unix /var/run/docker.sock"}, d.asked); diff != "" {
		t.Error(diff)
	}
}

// The sign of life is enough, where it is Docker that gives it.
func TestVersion(t *testing.T) {
	for _, tt := range []struct {
		sign, want string
		asked      []string
	}{
		{"Docker/20.10.24+dfsg1 (linux)", "20.10.24+dfsg1", []string{"HEAD /_ping"}},
		{"Docker/28.3.0", "28.3.0", []string{"HEAD /_ping"}},
		{"Libpod/4.3.1 (linux)", "4.3.1", []string{"HEAD /_ping", "GET /v1.41/version"}},
		{"", "4.3.1", []string{"HEAD /_ping", "GET /v1.41/version"}},
	} {
		e := startEngine(t, filepath.Join(t.TempDir(), "s"))
		e.sign = tt.sign
		_, cli := open(t, e.sock)
		if v, err := Version(t.Context(), cli); v != tt.want || err != nil {
			t.Errorf("%q: %q, %v, want %q", tt.sign, v, err, tt.want)
		}
		if diff := cmp.Diff(tt.asked, e.got); diff != "" {
			t.Errorf("%q: %s", tt.sign, diff)
		}
	}
	_, cli := open(t, filepath.Join(t.TempDir(), "nobody"))
	var refused *ssh.OpenChannelError
	if v, err := Version(t.Context(), cli); v != "" || !errors.As(err, &refused) {
		t.Errorf("of no engine: %q, %v", v, err)
	}
}

func TestWait(t *testing.T) {
	sock := filepath.Join(t.TempDir(), "s")
	_, cli := open(t, sock)
	const why = "nobody listens at /var/run/docker.sock, or the SSH user is not in the docker group"

	var reasons []string
	err := wait(t.Context(), "docker1", cli, 200*time.Millisecond, 20*time.Millisecond, func(r string) { reasons = append(reasons, r) })
	var late *NotReadyError
	if !errors.As(err, &late) || err.Error() != "docker1: the Docker engine does not answer within 200ms: "+why {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff([]string{why}, reasons); diff != "" {
		t.Errorf("each reason once: %s", diff)
	}

	err = wait(t.Context(), "docker1", cli, 20*time.Second, 20*time.Millisecond, func(string) { startEngine(t, sock) })
	if err != nil {
		t.Error(err)
	}
}

// A slow machine may have time for one attempt and a half: the half one does not
// hide what the whole one found.
func TestWaitKeepsTheReason(t *testing.T) {
	sock := filepath.Join(t.TempDir(), "s")
	_, cli := open(t, sock)
	silent := func(string) {
		lis, err := net.Listen("unix", sock)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = lis.Close() })
	}
	err := wait(t.Context(), "docker1", cli, time.Second, 20*time.Millisecond, silent)
	if err == nil || !strings.HasSuffix(err.Error(), "within 1s: nobody listens at /var/run/docker.sock, or the SSH user is not in the docker group") {
		t.Errorf("error %v", err)
	}
}

func TestWaitOnSilentSocket(t *testing.T) {
	sock := filepath.Join(t.TempDir(), "s")
	lis, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lis.Close() }()
	_, cli := open(t, sock)
	err = wait(t.Context(), "docker1", cli, 200*time.Millisecond, 20*time.Millisecond, nil)
	if err == nil || err.Error() != "docker1: the Docker engine does not answer within 200ms: no answer" {
		t.Errorf("error %v", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	err = Wait(ctx, "docker1", cli, time.Minute, nil)
	if !errors.Is(err, context.Canceled) || err.Error() != "docker1: wait for the Docker engine: context canceled" {
		t.Errorf("error %v", err)
	}
}

// deaf never answers a dial.
type deaf struct{}

func (deaf) Dial(string, string) (net.Conn, error) { select {} }

func TestDialThatHangs(t *testing.T) {
	cli, err := Open(deaf{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Ping(ctx, cli); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

type failing struct{}

func (failing) Dial(string, string) (net.Conn, error) {
	return nil, fmt.Errorf("docker1: %w", errors.New("the SSH connection was lost"))
}

func TestDialErrorIsKept(t *testing.T) {
	cli, err := Open(failing{})
	if err != nil {
		t.Fatal(err)
	}
	err = wait(t.Context(), "docker1", cli, 50*time.Millisecond, 20*time.Millisecond, nil)
	if err == nil || err.Error() != "docker1: the Docker engine does not answer within 50ms: docker1: the SSH connection was lost" {
		t.Errorf("error %v", err)
	}
}
