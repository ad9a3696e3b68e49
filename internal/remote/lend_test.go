//go:build unix

package remote

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"labctl/internal/remote/sshtest"
)

// borrowed has connect borrow its connection.
var borrowed bool

// startLender starts a lender of connections to the endpoints.
func startLender(t *testing.T, o DialOptions, eps ...Endpoint) (l *Lender, socket string) {
	t.Helper()
	l = &Lender{Options: o, Endpoint: func(node string) (Endpoint, error) {
		for _, ep := range eps {
			if ep.Name == node {
				return ep, nil
			}
		}
		return Endpoint{}, errors.New("it was never seen")
	}}
	socket = filepath.Join(t.TempDir(), "s")
	lis, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- l.Serve(ctx, lis) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l, socket
}

// TestBorrowedBehavesTheSame takes what a connection must do, with a borrowed one.
func TestBorrowedBehavesTheSame(t *testing.T) {
	borrowed = true
	defer func() { borrowed = false }()
	for name, f := range map[string]func(*testing.T){
		"Run": TestRun, "Env": TestRunEnvStaysOffTheCommandLine, "closed stdin": TestRunScriptWithClosedStdin,
		"large": TestRunLargeOutputAndInput, "unread input": TestRunIgnoresUnreadInput, "failing input": TestRunFailingInput,
		"signal": TestRunSignal, "drops": TestRunConnectionDrops, "no end": TestRunSessionWithoutEnd,
		"context ends": TestRunContextEnds, "side by side": TestRunSideBySide, "socket": TestDialUnixSocket, "close": TestCloseTwice,
	} {
		t.Run(name, f)
	}
}

// borrow takes a connection and runs a command that says how many handshakes
// the node has seen.
func borrow(t *testing.T, s *sshtest.Server, socket string) *Conn {
	t.Helper()
	c, err := Borrow(t.Context(), endpoint(s, "docker1"), socket, DialOptions{Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if res, err := c.Run(t.Context(), Command{Argv: []string{"echo", "here"}}); err != nil || res.Stdout != "here\n" {
		t.Fatalf("%+v, %v", res, err)
	}
	return c
}

// returned waits until so many connections are idle.
func returned(t *testing.T, l *Lender, want int) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		l.mu.Lock()
		n := len(l.idle["docker1"])
		l.mu.Unlock()
		if n == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d connections are idle, not %d", n, want)
		}
	}
}

func TestLender(t *testing.T) {
	s := sshtest.Start(t, sshtest.Options{})
	l, socket := startLender(t, options(t), endpoint(s, "docker1"))
	handshakes := func(when string, want int) {
		t.Helper()
		if n := s.Handshakes(); n != want {
			t.Errorf("%s: %d handshakes, want %d", when, n, want)
		}
	}
	for range 3 {
		_ = borrow(t, s, socket).Close()
		returned(t, l, 1)
	}
	handshakes("one after the other", 1)

	var all []*Conn
	for range 3 {
		all = append(all, borrow(t, s, socket))
	}
	handshakes("three at a time", 3)
	for _, c := range all {
		_ = c.Close()
	}
	returned(t, l, idleLimit)

	if err := Drop(t.Context(), socket); err != nil {
		t.Fatal(err)
	}
	returned(t, l, 0)
	c := borrow(t, s, socket)
	handshakes("dropped", 4)
	if err := Drop(t.Context(), socket); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	_ = borrow(t, s, socket).Close()
	handshakes("dropped while it was lent", 5)

	_, err := Borrow(t.Context(), Endpoint{Name: "docker2"}, socket, DialOptions{})
	if err == nil || errors.Is(err, ErrNoLender) || !strings.HasPrefix(err.Error(), `borrow a connection to "docker2": `) {
		t.Errorf("a node that cannot be reached: %v", err)
	}
}

func TestLenderLeavesNoCommandBehind(t *testing.T) {
	s := sshtest.Start(t, sshtest.Options{})
	l, socket := startLender(t, options(t), endpoint(s, "docker1"))
	c := borrow(t, s, socket)
	begun := make(chan struct{})
	go func() {
		_, _ = c.Run(t.Context(), Command{Argv: []string{"sh", "-c", "echo begun; sleep 30"}, Stdout: writer(func() { close(begun) })})
	}()
	<-begun
	_ = c.Close()
	_ = borrow(t, s, socket).Close()
	returned(t, l, 1)
	if n := s.Handshakes(); n != 2 {
		t.Errorf("%d handshakes: a connection with a command that goes on was lent again", n)
	}
}

// writer calls itself when something is written.
type writer func()

func (w writer) Write(p []byte) (int, error) { w(); return len(p), nil }

func TestLenderNoticesTheDead(t *testing.T) {
	host := sshtest.NewHostKey(t)
	s := sshtest.Start(t, sshtest.Options{HostKey: host})
	l, socket := startLender(t, options(t), endpoint(s, "docker1"))
	_ = borrow(t, s, socket).Close()
	returned(t, l, 1)
	s.Close()
	if _, err := Borrow(t.Context(), endpoint(s, "docker1"), socket, DialOptions{}); err == nil || errors.Is(err, ErrNoLender) {
		t.Errorf("a node that is off: %v", err)
	}
	returned(t, l, 0)
}

func TestNoLender(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	if _, err := Borrow(t.Context(), Endpoint{Name: "docker1"}, socket, DialOptions{}); !errors.Is(err, ErrNoLender) {
		t.Errorf("error %v", err)
	}
	if err := Drop(t.Context(), socket); err != nil {
		t.Error(err)
	}
}

// A command may end before the lender has said that it began.
func TestLenderOfQuickCommands(t *testing.T) {
	s := sshtest.Start(t, sshtest.Options{})
	_, socket := startLender(t, options(t), endpoint(s, "docker1"))
	c := borrow(t, s, socket)
	for i := range 300 {
		if res, err := c.Run(t.Context(), Command{Argv: []string{"echo", "here"}}); err != nil || res.Stdout != "here\n" {
			t.Fatalf("command %d: %+v, %v", i, res, err)
		}
	}
}
