package remote

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/melbahja/goph"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"
)

// OpenSSH is what OpenSSH's client would do for a machine, as `ssh -G` tells.
type OpenSSH struct {
	Line       string   // the ssh command that a person would type
	Keys       []string // private key files; those that are missing are passed over
	Only       bool     // of the agent's keys take those of Keys alone
	Agent      string   // the agent's socket; "" for none
	KnownHosts []string // files, of which the first is where new keys go
	Alias      string   // what the known_hosts files call it; "": its address
	Proxy      []string // the command that connects with it; nil: TCP
	Scan       bool     // ssh-keyscan reaches it
}

// auth collects the keys: those in files, and the agent's.
func (s *OpenSSH) auth(node string) (goph.Auth, func(), error) {
	done := func() {}
	var agents []ssh.Signer
	var silent error
	if s.Agent != "" {
		conn, err := (&net.Dialer{Timeout: 5 * time.Second}).Dial("unix", s.Agent)
		if err == nil {
			done = func() { _ = conn.Close() }
			agents, err = agent.NewClient(conn).Signers()
		}
		silent = err
	}
	var signers []ssh.Signer
	var own []ssh.PublicKey
	var locked error
	for _, file := range s.Keys {
		data, err := os.ReadFile(file)
		if err != nil {
			if s.Only && !errors.Is(err, os.ErrNotExist) || len(s.Keys) == 1 {
				done()
				return nil, nil, &KeyFileError{Node: node, File: file, Err: errors.Unwrap(err)}
			}
			continue
		}
		signer, err := ssh.ParsePrivateKey(data)
		var protected *ssh.PassphraseMissingError
		switch {
		case err == nil:
			signers, own = append(signers, signer), append(own, signer.PublicKey())
		case errors.As(err, &protected):
			public := protected.PublicKey
			if text, rerr := os.ReadFile(file + ".pub"); public == nil && rerr == nil {
				public, _, _, _, _ = ssh.ParseAuthorizedKey(text)
			}
			if public != nil {
				own = append(own, public)
			}
			if !slices.ContainsFunc(agents, func(a ssh.Signer) bool { return same(public, a.PublicKey()) }) {
				locked = &KeyFileError{Node: node, File: file, Err: err}
			}
		default:
			locked = &KeyFileError{Node: node, File: file, Err: err}
		}
	}
	for _, a := range agents {
		mine := slices.ContainsFunc(own, func(k ssh.PublicKey) bool { return same(k, a.PublicKey()) })
		if mine || !s.Only {
			signers = append([]ssh.Signer{a}, signers...)
		}
	}
	switch {
	case len(signers) > 0:
		return goph.Auth{ssh.PublicKeys(signers...)}, done, nil
	case locked != nil:
		done()
		return nil, nil, locked
	}
	done()
	return nil, nil, &NoKeyError{Node: node, Line: s.Line, Keys: s.Keys, Agent: silent}
}

func same(a, b ssh.PublicKey) bool {
	return a != nil && b != nil && bytes.Equal(a.Marshal(), b.Marshal())
}

// tried names the keys in a message.
func (s *OpenSSH) tried() string {
	if s.Only && len(s.Keys) == 1 {
		return "the SSH key " + s.Keys[0]
	}
	return "every SSH key of the agent and of OpenSSH's configuration"
}

// NoKeyError is a machine for which there is no key at all.
type NoKeyError struct {
	Node, Line string
	Keys       []string
	Agent      error // why the agent gave none; nil: it has none, or there is no agent
}

func (e *NoKeyError) Error() string {
	s := e.Node + ": there is no SSH key to log in with"
	if e.Agent != nil {
		s += fmt.Sprintf(" (the agent: %v)", e.Agent)
	}
	return s
}

// Hint says where keys are looked for.
func (e *NoKeyError) Hint() string {
	return fmt.Sprintf("set ssh.key in lab.toml, or `ssh-add` a key; then `%s` must log in without a question", e.Line)
}

// hostKeys judges by the known_hosts files, and never adds to them.
func (s *OpenSSH) hostKeys(ep Endpoint) (func(string, ssh.PublicKey) (bool, error), []string, error) {
	var files []string
	for _, f := range s.KnownHosts {
		if _, err := os.Stat(f); err == nil {
			files = append(files, f)
		}
	}
	check, err := knownhosts.New(files...)
	if err != nil {
		return nil, nil, fmt.Errorf("known hosts: %w", err)
	}
	name := address(ep)
	if s.Alias != "" {
		name = net.JoinHostPort(s.Alias, "22")
	}
	keys, err := knownKeys(check, name)
	if err != nil {
		return nil, nil, fmt.Errorf("known hosts: %s: %w", name, err)
	}
	return func(addr string, key ssh.PublicKey) (bool, error) {
		err := check(name, &net.TCPAddr{}, key)
		var wrong *knownhosts.KeyError
		switch {
		case err == nil:
			return false, nil
		case !errors.As(err, &wrong):
			return false, fmt.Errorf("%s: host key: %w", ep.Name, err) // revoked, for example
		case len(wrong.Want) == 0:
			return false, &UnknownHostError{Node: ep.Name, Addr: addr, Type: key.Type(), Fingerprint: ssh.FingerprintSHA256(key), ssh: s, ep: ep}
		}
		old := wrong.Want[0]
		for _, w := range wrong.Want {
			if w.Key.Type() == key.Type() {
				old = w
			}
		}
		return false, &HostKeyError{Node: ep.Name, Addr: addr, File: old.Filename, Name: knownhosts.Normalize(name),
			Old: ssh.FingerprintSHA256(old.Key), New: ssh.FingerprintSHA256(key)}
	}, ordered(keys), nil
}

// UnknownHostError is a machine whose host key is in no known_hosts file.
type UnknownHostError struct {
	Node, Addr        string
	Type, Fingerprint string
	ssh               *OpenSSH
	ep                Endpoint
}

func (e *UnknownHostError) Error() string {
	return fmt.Sprintf("%s: the host key of %s is not known: it shows %s %s", e.Node, e.Addr, e.Type, e.Fingerprint)
}

// Hint tells how to accept it, after a look.
func (e *UnknownHostError) Hint() string {
	accept := e.ssh.Line
	if e.ssh.Scan {
		accept = fmt.Sprintf("ssh-keyscan -p %d %s >> %s", e.ep.Port, e.ep.Host, Quote(e.ssh.KnownHosts[:1]))
	}
	kind := strings.TrimPrefix(e.Type, "ssh-")
	if strings.HasPrefix(e.Type, "ecdsa") {
		kind = "ecdsa"
	}
	return fmt.Sprintf("if that is what the machine itself shows (`ssh-keygen -lf /etc/ssh/ssh_host_%s_key.pub`), accept it: %s", kind, accept)
}

// KnownAs is what the known_hosts files call the machine.
func (s *OpenSSH) KnownAs(ep Endpoint) string {
	if s.Alias != "" {
		return s.Alias
	}
	return knownhosts.Normalize(address(ep))
}

// ProxyCommand fills in what OpenSSH would in a ProxyCommand to ep, which was
// asked for by the name.
func ProxyCommand(command, name string, ep Endpoint) string {
	return strings.NewReplacer("%%", "%", "%h", ep.Host, "%n", name, "%p", strconv.Itoa(ep.Port), "%r", ep.User).Replace(command)
}

// shell is how a command line is run so that its program can be ended.
func shell(line string) []string { return []string{"sh", "-c", "exec " + line} }

// dialCommand connects through a command, as OpenSSH's ProxyCommand does.
func dialCommand(argv []string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout = theirs
	var said bytes.Buffer
	cmd.Stderr = &said
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	go func() {
		_, _ = io.Copy(in, theirs)
		_ = in.Close()
	}()
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
		_ = theirs.Close()
	}()
	return &commandConn{ours, cmd, &said, ended}, nil
}

// commandConn ends its command when it is closed.
type commandConn struct {
	net.Conn
	cmd   *exec.Cmd
	said  *bytes.Buffer
	ended chan struct{} // closed when the command has ended and said is whole
}

// Read turns the command's end into what the command said.
func (c *commandConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	return n, c.why(err)
}

// Write does likewise. What an ended command can no longer read is not taken:
// for a moment the copying to it would.
func (c *commandConn) Write(p []byte) (int, error) {
	select {
	case <-c.ended:
		return 0, c.why(io.ErrClosedPipe)
	default:
	}
	n, err := c.Conn.Write(p)
	return n, c.why(err)
}

func (c *commandConn) why(err error) error {
	if err == nil {
		return nil
	}
	select {
	case <-c.ended:
		if said := strings.TrimSpace(c.said.String()); said != "" {
			return errors.New(said)
		}
	default: // it was closed by us, or is late
	}
	return err
}

// Close ends the command, too.
func (c *commandConn) Close() error {
	_ = c.cmd.Process.Kill() // an error means that it has ended
	return c.Conn.Close()
}
