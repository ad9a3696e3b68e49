package remote

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"
)

// RunError is a command whose end could not be learned, or that a signal
// ended. Its text already names the node and the command.
type RunError struct {
	Node string // node name, or "host"
	Argv []string
	Err  error
}

func (e *RunError) Error() string {
	return fmt.Sprintf("%s: %s: %v", e.Node, Quote(e.Argv), e.Err)
}

// Unwrap returns the cause.
func (e *RunError) Unwrap() error { return e.Err }

// SignalError is a program that a signal ended instead of an exit code.
type SignalError struct {
	Signal string // without "SIG": "KILL"
}

func (e *SignalError) Error() string { return "ended by signal " + e.Signal }

// Hint names the usual culprit for a KILL that nobody sent.
func (e *SignalError) Hint() string {
	if e.Signal == "KILL" {
		return "if nobody stopped it, memory may have run out: `dmesg | grep -i oom` on that machine tells; give the node more memory in lab.toml"
	}
	return ""
}

// ConnLostError is an SSH connection that broke while it was in use.
type ConnLostError struct {
	Node string
	Why  string // "" if the peer just went away
}

func (e *ConnLostError) Error() string {
	if e.Why == "" {
		return "the SSH connection was lost"
	}
	return "the SSH connection was lost: " + e.Why
}

// Hint says what to look at.
func (e *ConnLostError) Hint() string {
	return fmt.Sprintf("has %s rebooted or been powered off? `labctl status` tells; the same command can be run again", e.Node)
}

// HostKeyError is a node that shows another host key than the one pinned at
// first contact. It is never retried.
type HostKeyError struct {
	Node string
	Addr string // what was dialed, host:port
	File string // the known_hosts file
	Name string // what the file calls the node; "": Node
	Old  string // pinned fingerprint, "SHA256:…"
	New  string // offered fingerprint
}

func (e *HostKeyError) Error() string {
	return fmt.Sprintf("%s: the SSH host key has changed: %s is pinned, %s answers with %s", e.Node, e.Old, e.Addr, e.New)
}

// Hint tells how to accept the new key, once one knows why it changed.
func (e *HostKeyError) Hint() string {
	return fmt.Sprintf("another machine may be answering at %s; if %s was rebuilt on purpose, forget its old key: ssh-keygen -R %s -f %s",
		e.Addr, e.Node, Quote([]string{cmp.Or(e.Name, e.Node)}), Quote([]string{e.File}))
}

// AuthError is a node that refuses the key.
type AuthError struct {
	Node    string
	User    string
	KeyFile string
	OpenSSH *OpenSSH // nil for a node that labctl made
	Err     error
}

func (e *AuthError) Error() string {
	if e.OpenSSH != nil {
		return fmt.Sprintf("%s: %s is refused for user %s", e.Node, e.OpenSSH.tried(), e.User)
	}
	return fmt.Sprintf("%s: the SSH key %s is refused for user %s", e.Node, e.KeyFile, e.User)
}

// Unwrap returns what the SSH library said.
func (e *AuthError) Unwrap() error { return e.Err }

// Hint says where to look.
func (e *AuthError) Hint() string {
	if e.OpenSSH != nil {
		return fmt.Sprintf("does `%s` log in without a password? set ssh.user and ssh.key in lab.toml, or `ssh-copy-id`, or `ssh-add` the right key", e.OpenSSH.Line)
	}
	return fmt.Sprintf("does ~%s/.ssh/authorized_keys on %s hold the public part of that key? `ssh-keygen -y -f %s` prints it",
		e.User, e.Node, Quote([]string{e.KeyFile}))
}

// KeyFileError is a private key that cannot be read or understood.
type KeyFileError struct {
	Node string
	File string
	Err  error
}

func (e *KeyFileError) Error() string {
	return fmt.Sprintf("%s: private key %s: %v", e.Node, e.File, e.Err)
}

// Unwrap returns the cause.
func (e *KeyFileError) Unwrap() error { return e.Err }

// Hint tells what kind of file is wanted.
func (e *KeyFileError) Hint() string {
	return "labctl needs a private key in OpenSSH or PEM format, without a passphrase, that it may read"
}

// HandshakeTimeoutError is a peer that accepted the TCP connection and then
// did not finish the SSH handshake in time.
type HandshakeTimeoutError struct {
	Node    string
	Addr    string
	Timeout time.Duration
}

func (e *HandshakeTimeoutError) Error() string {
	return fmt.Sprintf("%s: %s accepts the connection, but has not finished the SSH handshake within %v", e.Node, e.Addr, e.Timeout)
}

// Hint names the usual causes.
func (e *HandshakeTimeoutError) Hint() string {
	return "the node may be overloaded or still booting, or what listens there is not an SSH server"
}

// UnreachableError is DialWait's deadline.
type UnreachableError struct {
	Node   string
	Addr   string
	Within time.Duration
	Err    error // the last attempt's
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("%s: no SSH at %s within %v; last attempt: %s", e.Node, e.Addr, e.Within, reason(e.Err))
}

// Unwrap returns the last attempt's error.
func (e *UnreachableError) Unwrap() error { return e.Err }

// Hint passes on the hint of the last attempt, if it has one.
func (e *UnreachableError) Hint() string {
	var h interface{ Hint() string }
	if errors.As(e.Err, &h) {
		return h.Hint()
	}
	return fmt.Sprintf("is %s running, and is its SSH server up? its console log tells", e.Node)
}

// dialError is one attempt that failed below SSH, or in the handshake.
type dialError struct {
	node, addr string
	err        error
}

func (e *dialError) Error() string { return fmt.Sprintf("%s: ssh %s: %v", e.node, e.addr, e.err) }
func (e *dialError) Unwrap() error { return e.err }

// reason is err without the node name that the caller prints anyway, and
// without net's ever-changing local port, so that a poll that fails the same
// way twice gives the same words.
func reason(err error) string {
	var op *net.OpError
	var auth *AuthError
	var silent *HandshakeTimeoutError
	var dial *dialError
	switch {
	case errors.As(err, &auth) && auth.OpenSSH == nil:
		return fmt.Sprintf("the SSH key is refused for user %s", auth.User)
	case errors.As(err, &silent):
		return fmt.Sprintf("connected, but no SSH handshake within %v", silent.Timeout)
	case errors.As(err, &op):
		if op.Timeout() {
			return op.Op + ": no answer"
		}
		return op.Err.Error()
	case errors.As(err, &dial):
		return dial.err.Error()
	}
	return err.Error()
}

func address(ep Endpoint) string { return net.JoinHostPort(ep.Host, strconv.Itoa(ep.Port)) }
