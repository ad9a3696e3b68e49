//go:build unix

// Package sshtest is an SSH server for tests, in the test's own process. It
// runs commands with this machine's sh, as OpenSSH's server runs them with
// the login shell, forwards unix sockets, and misbehaves on request.
package sshtest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// Options say how the server behaves. The zero value behaves well.
type Options struct {
	// Addr is where to listen; "" means a free port on 127.0.0.1.
	Addr string
	// HostKey is the server's key; nil makes a new one.
	HostKey ssh.Signer
	// Silent accepts TCP connections and never says a word.
	Silent bool
	// HandshakeDelay passes between TCP accept and the first word.
	HandshakeDelay time.Duration
	// Refuse refuses every key as long as it returns true; nil never does.
	Refuse func() bool
	// Deaf leaves global requests (keepalives) unanswered.
	Deaf bool
	// MaxSessions bounds the commands at a time on one connection, as
	// OpenSSH does; 0 is no bound.
	MaxSessions int
	// Env is the environment of the commands; nil is PATH and LANG alone.
	Env []string
	// Socket says which socket of this machine stands for one of the node's;
	// nil takes the node's path as it is.
	Socket func(path string) string
	// Exec runs the commands in place of this machine's sh, and returns their
	// exit codes; nil: sh does. It is for many servers at once, where two
	// hundred shells would be the test's own bottleneck.
	Exec func(line string, stdin io.Reader, stdout, stderr io.Writer) int
}

// Server is a running server.
type Server struct {
	Host    string
	Port    int
	User    string
	KeyFile string // the only private key that it accepts
	HostKey ssh.Signer

	opts   Options
	config *ssh.ServerConfig
	lis    net.Listener

	mu         sync.Mutex
	commands   []string
	handshakes int
	received   atomic.Int64
	conns      []net.Conn
	wg         sync.WaitGroup
}

// Start starts a server that ends with the test.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s := &Server{User: "vagrant", KeyFile: filepath.Join(t.TempDir(), "key"), HostKey: o.HostKey, opts: o}
	accepted := writeKey(t, s.KeyFile)
	if s.HostKey == nil {
		s.HostKey = NewHostKey(t)
	}
	s.config = &ssh.ServerConfig{
		PublicKeyCallback: func(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			refused := o.Refuse != nil && o.Refuse()
			if refused || meta.User() != s.User || string(key.Marshal()) != string(accepted.Marshal()) {
				return nil, os.ErrPermission
			}
			return nil, nil
		},
	}
	// As the sshd of Debian 12, which has none of the later ones.
	s.config.KeyExchanges = []string{"curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521"}
	s.config.AddHostKey(s.HostKey)
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	lis, err := net.Listen("tcp", o.Addr)
	if err != nil {
		t.Fatal(err)
	}
	s.lis = lis
	at := lis.Addr().(*net.TCPAddr)
	s.Host, s.Port = at.IP.String(), at.Port
	s.wg.Add(1)
	go s.serve()
	t.Cleanup(s.Close)
	return s
}

// NewHostKey makes a host key.
func NewHostKey(t testing.TB) ssh.Signer {
	t.Helper()
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func writeKey(t testing.TB, file string) ssh.PublicKey {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(priv, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Commands returns the command lines received so far.
func (s *Server) Commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.commands...)
}

// Handshakes returns how many connections were made so far, those included
// that never got beyond the handshake.
func (s *Server) Handshakes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.handshakes
}

// Received returns how many bytes came so far as command lines and standard
// input of commands.
func (s *Server) Received() int64 { return s.received.Load() }

// counted is a reader whose bytes are received ones.
type counted struct {
	io.Reader
	s *Server
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.s.received.Add(int64(n))
	return n, err
}

// Drop cuts every open connection, as a power failure does.
func (s *Server) Drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
}

// Close stops the server.
func (s *Server) Close() {
	_ = s.lis.Close()
	s.Drop()
	s.wg.Wait()
}

func (s *Server) serve() {
	defer s.wg.Done()
	for {
		c, err := s.lis.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns = append(s.conns, c)
		s.handshakes++
		s.mu.Unlock()
		if !s.opts.Silent {
			go s.talk(c)
		}
	}
}

func (s *Server) talk(c net.Conn) {
	defer func() { _ = c.Close() }()
	time.Sleep(s.opts.HandshakeDelay)
	conn, chans, reqs, err := ssh.NewServerConn(c, s.config)
	if err != nil {
		return
	}
	if s.opts.Deaf {
		go func() {
			for range reqs {
			}
		}()
	} else {
		go ssh.DiscardRequests(reqs)
	}
	var mu sync.Mutex
	sessions := 0
	for nc := range chans {
		switch nc.ChannelType() {
		case "session":
			mu.Lock()
			full := s.opts.MaxSessions > 0 && sessions >= s.opts.MaxSessions
			if !full {
				sessions++
			}
			mu.Unlock()
			if full {
				_ = nc.Reject(ssh.ResourceShortage, "open failed")
				continue
			}
			if ch, chReqs, err := nc.Accept(); err == nil {
				go func() {
					s.session(ch, chReqs)
					mu.Lock()
					sessions--
					mu.Unlock()
				}()
			}
		case "direct-streamlocal@openssh.com":
			go s.forward(nc)
		default:
			_ = nc.Reject(ssh.UnknownChannelType, "not here")
		}
	}
	_ = conn.Close()
}

// forward connects a channel with a unix socket.
func (s *Server) forward(nc ssh.NewChannel) {
	var to struct {
		Path      string
		Reserved0 string
		Reserved1 uint32
	}
	_ = ssh.Unmarshal(nc.ExtraData(), &to)
	if s.opts.Socket != nil {
		to.Path = s.opts.Socket(to.Path)
	}
	local, err := net.Dial("unix", to.Path)
	if err != nil {
		_ = nc.Reject(ssh.ConnectionFailed, "open failed") // OpenSSH's words
		return
	}
	defer func() { _ = local.Close() }()
	ch, reqs, err := nc.Accept()
	if err != nil {
		return
	}
	defer func() { _ = ch.Close() }()
	go ssh.DiscardRequests(reqs)
	done := make(chan struct{}, 2)
	go func() { _, _ = io.Copy(local, ch); done <- struct{}{} }()
	go func() { _, _ = io.Copy(ch, local); done <- struct{}{} }()
	<-done
}

// session runs one command.
func (s *Server) session(ch ssh.Channel, reqs <-chan *ssh.Request) {
	defer func() { _ = ch.Close() }()
	var cmd *exec.Cmd
	ended := make(chan *os.ProcessState, 1)
	for {
		select {
		case state := <-ended:
			if state != nil {
				report(ch, state)
			}
			return
		case req, ok := <-reqs:
			if !ok {
				if cmd != nil { // the peer has gone
					_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGHUP)
				}
				return
			}
			var text struct{ Value string }
			_ = ssh.Unmarshal(req.Payload, &text)
			switch req.Type {
			case "exec":
				s.mu.Lock()
				s.commands = append(s.commands, text.Value)
				s.received.Add(int64(len(text.Value)))
				s.mu.Unlock()
				if s.opts.Exec != nil {
					_ = req.Reply(true, nil)
					go func() {
						reportCode(ch, s.opts.Exec(text.Value, counted{ch, s}, ch, ch.Stderr()))
						ended <- nil
					}()
					continue
				}
				cmd = command(text.Value, counted{ch, s}, ch, s.opts.Env)
				err := cmd.Start()
				_ = req.Reply(err == nil, nil)
				if err != nil {
					return
				}
				go func() {
					_ = cmd.Wait()
					ended <- cmd.ProcessState
				}()
			case "signal":
				if n := signals[text.Value]; cmd != nil && n != 0 {
					_ = syscall.Kill(-cmd.Process.Pid, n)
				}
			default:
				if req.WantReply {
					_ = req.Reply(false, nil)
				}
			}
		}
	}
}

var signals = map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}

// report tells how the command ended, in SSH's way. Of a signal that is not in
// the list it tells nothing.
func report(ch ssh.Channel, state *os.ProcessState) {
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		for name, n := range signals {
			if n == ws.Signal() {
				_, _ = ch.SendRequest("exit-signal", false, ssh.Marshal(struct {
					Signal        string
					Dumped        bool
					Message, Lang string
				}{name, false, "", ""}))
			}
		}
		return
	}
	reportCode(ch, state.ExitCode())
}

func reportCode(ch ssh.Channel, code int) {
	_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{uint32(code)}))
}

func command(line string, stdin io.Reader, ch ssh.Channel, env []string) *exec.Cmd {
	cmd := exec.Command("sh", "-c", line)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if cmd.Env = env; env == nil {
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LANG=C"}
	}
	cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
	if in, err := cmd.StdinPipe(); err == nil { // so that Wait does not wait for it
		go func() {
			_, _ = io.Copy(in, stdin)
			_ = in.Close()
		}()
	}
	return cmd
}
