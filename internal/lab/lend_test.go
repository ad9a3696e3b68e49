//go:build unix

package lab

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"labctl/internal/config"
	"labctl/internal/engine"
	"labctl/internal/remote"
	"labctl/internal/remote/sshtest"
)

func TestLend(t *testing.T) {
	s := sshtest.Start(t, sshtest.Options{})
	e := &Env{Lab: testLab(1, 0), Dir: t.TempDir()}
	if err := os.MkdirAll(e.StateDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "s")
	lis, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		Lend(e.Dir)(ctx, lis)
		close(ended)
	}()
	defer func() { cancel(); <-ended }()

	n := e.Lab.Nodes[0]
	ep := remote.Endpoint{Name: n.Name, Host: s.Host, Port: s.Port, User: s.User, KeyFile: s.KeyFile}
	_, err = remote.Borrow(ctx, ep, socket, remote.DialOptions{})
	if err == nil || errors.Is(err, remote.ErrNoLender) || s.Handshakes() != 0 {
		t.Errorf("before anybody has connected: %v, %d handshakes", err, s.Handshakes())
	}
	e.remember(n, ep)
	c, err := remote.Borrow(ctx, ep, socket, remote.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if res, err := c.Run(ctx, remote.Command{Argv: []string{"echo", "here"}}); err != nil || res.Stdout != "here\n" {
		t.Errorf("%+v, %v", res, err)
	}
	// The node's host key is pinned where every command looks for it.
	if known, err := os.ReadFile(e.knownHosts()); !strings.HasPrefix(string(known), n.Name+" ") {
		t.Errorf("known_hosts %q, %v", known, err)
	}
}

// TestAnswerWithin gives an emulated node that boots more time than one that
// is up.
func TestAnswerWithin(t *testing.T) {
	tcg, kvm := engine.Choice{Accel: config.AccelTCG}, engine.Choice{Accel: config.AccelKVM}
	booted := map[string]chan struct{}{}
	for _, tt := range []struct {
		name  string
		e     *Env
		want  time.Duration
		ready map[string]chan struct{}
	}{
		{name: "up", e: &Env{State: &State{}, Choice: tcg}, want: connectWithin},
		{name: "booted", e: &Env{State: &State{}, Choice: tcg}, ready: booted, want: bootedWithin},
		{name: "booted with KVM", e: &Env{State: &State{}, Choice: kvm}, ready: booted, want: connectWithin},
		{name: "not ours", e: &Env{State: &State{}, Choice: engine.Choice{Provider: config.Existing}}, want: existingWithin},
	} {
		tt.e.boot.ready = tt.ready
		if got := tt.e.answerWithin(); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestRedialWithoutLender connects by itself where nobody lends.
func TestRedialWithoutLender(t *testing.T) {
	s := sshtest.Start(t, sshtest.Options{})
	e := &Env{Lab: testLab(1, 0), Dir: t.TempDir(), Choice: engine.Choice{Provider: config.Embedded}}
	if err := os.MkdirAll(e.StateDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	n := e.Lab.Nodes[0]
	e.remember(n, remote.Endpoint{Name: n.Name, Host: s.Host, Port: s.Port, User: s.User, KeyFile: s.KeyFile})
	if c := e.redial(t.Context(), n); c == nil || s.Handshakes() != 1 {
		t.Errorf("connection %v, %d handshakes", c, s.Handshakes())
	}
	e.dropLent(t.Context())
}
