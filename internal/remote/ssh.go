package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/melbahja/goph"
	"golang.org/x/crypto/ssh"
)

// DialOptions says how to connect.
type DialOptions struct {
	// KnownHosts is the file of pinned host keys. It is made, with mode 0600,
	// if it is missing; its folder must exist.
	KnownHosts string
	// Timeout bounds one attempt, from TCP connect to the end of the SSH
	// handshake; 0 means 10 s.
	Timeout time.Duration
	// Keepalive is the time between two probes of an open connection, which
	// is closed when 3 of them stayed unanswered; 0 means 15 s.
	Keepalive time.Duration
	// Counter counts what the connection costs; nil: nobody does.
	Counter *Counter
}

func (o DialOptions) withDefaults() DialOptions {
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Keepalive == 0 {
		o.Keepalive = 15 * time.Second
	}
	return o
}

// maxCommands stays below the 10 that OpenSSH's server allows on a connection
// (MaxSessions), so that a person's own setting of 8 still does.
const maxCommands = 8

// unansweredLimit is how many keepalive probes may stay unanswered.
const unansweredLimit = 3

// Conn is an open SSH connection to one node. Its methods may be used from
// several goroutines at once; one connection carries them all, as a handshake
// costs a software-emulated node up to a second. At most 8 commands run at a
// time on one connection, more wait their turn; forwarded sockets do not
// count.
type Conn struct {
	ep     Endpoint
	client *goph.Client
	closed chan struct{} // closed when the connection is gone
	slots  chan struct{} // holds one value for each running command
	count  *Counter      // nil: nobody counts

	mu  sync.Mutex
	why string // why we gave the connection up

	lender string // the socket of who lent it
}

var _ Runner = (*Conn)(nil)

// Dial connects to ep once. The host key is pinned at first contact, under
// the node's name and only after the node has accepted our key: a wrong
// machine behind a forwarded port does not, and must not get pinned.
//
// Errors that a person can mend are *HostKeyError, *AuthError, *KeyFileError
// and *HandshakeTimeoutError; each has a Hint method.
func Dial(ctx context.Context, ep Endpoint, o DialOptions) (*Conn, error) {
	o = o.withDefaults()
	auth, done, err := authOf(ep)
	if err != nil {
		return nil, err
	}
	defer done()
	check, algos, err := hostKeysOf(ep, o)
	if err != nil {
		return nil, err
	}

	// goph and x/crypto bound the TCP connect only, so that a peer that
	// accepts and stays silent would hold us for ever. Hence the connection
	// is made here, with a deadline over the handshake too, and then given
	// to goph.
	attempt, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	addr := address(ep)
	raw, err := reach(attempt, ep)
	if err != nil {
		if ctx.Err() != nil {
			err = interrupted(ctx)
		}
		return nil, &dialError{ep.Name, addr, err}
	}
	stopWatching := context.AfterFunc(attempt, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })

	o.Counter.handshake()
	var offered ssh.PublicKey
	var keyErr error
	var firstContact bool
	sshConn, chans, reqs, err := ssh.NewClientConn(raw, addr, &ssh.ClientConfig{
		User:              ep.User,
		Auth:              auth,
		HostKeyAlgorithms: algos,
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			offered = key
			firstContact, keyErr = check(addr, key)
			return keyErr
		},
	})
	inTime := stopWatching()
	if err == nil && !inTime {
		_ = sshConn.Close()
		err = attempt.Err()
	}
	if err != nil {
		_ = raw.Close()
		return nil, handshakeError(ctx, attempt, ep, o, keyErr, err)
	}
	if firstContact {
		if err := (pins{o.KnownHosts}).pin(ep.Name, addr, offered); err != nil {
			_ = sshConn.Close()
			return nil, err
		}
	}

	return newConn(ep, ssh.NewClient(sshConn, chans, reqs), o), nil
}

func newConn(ep Endpoint, client *ssh.Client, o DialOptions) *Conn {
	c := &Conn{
		ep: ep,
		client: &goph.Client{
			Client: client,
			Config: &goph.Config{User: ep.User, Addr: ep.Host, Port: uint(ep.Port), Timeout: o.Timeout},
		},
		closed: make(chan struct{}),
		slots:  make(chan struct{}, maxCommands),
		count:  o.Counter,
	}
	go func() {
		_ = c.client.Wait()
		close(c.closed)
	}()
	go c.keepalive(o.Keepalive)
	return c
}

// authOf is how we prove who we are. done ends what is needed for that alone.
func authOf(ep Endpoint) (auth goph.Auth, done func(), err error) {
	if ep.OpenSSH != nil {
		return ep.OpenSSH.auth(ep.Name)
	}
	auth, err = goph.Key(ep.KeyFile, "")
	if err != nil {
		var path *os.PathError
		if errors.As(err, &path) {
			err = path.Err // its text would name the file once more
		}
		return nil, nil, &KeyFileError{Node: ep.Name, File: ep.KeyFile, Err: err}
	}
	return auth, func() {}, nil
}

// hostKeysOf returns what judges a host key, and the algorithms in the order
// in which they are wanted. firstContact says that the key shall be pinned.
func hostKeysOf(ep Endpoint, o DialOptions) (check func(addr string, key ssh.PublicKey) (firstContact bool, err error), algos []string, err error) {
	if ep.OpenSSH != nil {
		return ep.OpenSSH.hostKeys(ep)
	}
	p := pins{o.KnownHosts}
	if err := p.open(); err != nil {
		return nil, nil, err
	}
	algos, err = p.algorithms(ep.Name)
	return func(addr string, key ssh.PublicKey) (bool, error) { return p.verify(ep.Name, addr, key) }, algos, err
}

// reach connects to the SSH server, through another command where OpenSSH would.
func reach(ctx context.Context, ep Endpoint) (net.Conn, error) {
	if ep.OpenSSH != nil && len(ep.OpenSSH.Proxy) > 0 {
		return dialCommand(ep.OpenSSH.Proxy)
	}
	if ep.Proxy != "" {
		return dialCommand(shell(ep.Proxy))
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", address(ep))
}

// handshakeError sorts out why a handshake failed.
func handshakeError(ctx, attempt context.Context, ep Endpoint, o DialOptions, keyErr, err error) error {
	switch {
	case keyErr != nil:
		return keyErr
	case ctx.Err() != nil:
		err = interrupted(ctx)
	case attempt.Err() != nil:
		return &HandshakeTimeoutError{Node: ep.Name, Addr: address(ep), Timeout: o.Timeout}
	case strings.Contains(err.Error(), "unable to authenticate"): // x/crypto has no type for it
		return &AuthError{Node: ep.Name, User: ep.User, KeyFile: ep.KeyFile, OpenSSH: ep.OpenSSH, Err: err}
	}
	return &dialError{ep.Name, address(ep), err}
}

// keepalive probes the peer, so that a node that was powered off is noticed
// although TCP alone would wait for many minutes. One probe is in flight at a
// time: the stream is ordered, so later ones could not be answered earlier.
func (c *Conn) keepalive(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	answered := make(chan struct{}, 1)
	inFlight, missed := false, 0
	for {
		select {
		case <-c.closed:
			return
		case <-answered:
			inFlight, missed = false, 0
		case <-tick.C:
			if inFlight {
				if missed++; missed >= unansweredLimit {
					c.giveUp(fmt.Sprintf("no sign of life for %v", time.Duration(missed)*every))
					return
				}
				continue
			}
			inFlight = true
			go func() {
				// Any reply counts, a refusal too. An error means that
				// the connection is gone, which c.closed tells.
				if _, _, err := c.client.SendRequest("keepalive@openssh.com", true, nil); err == nil {
					answered <- struct{}{}
				}
			}()
		}
	}
}

func (c *Conn) giveUp(why string) {
	c.mu.Lock()
	c.why = why
	c.mu.Unlock()
	_ = c.client.Close()
}

func (c *Conn) lost() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &ConnLostError{Node: c.ep.Name, Why: c.why}
}

// Endpoint returns what was dialed.
func (c *Conn) Endpoint() Endpoint { return c.ep }

// Lender is the socket of the Lender that the connection was borrowed from; ""
// if it is our own.
func (c *Conn) Lender() string { return c.lender }

// Done is closed when the connection is gone, whoever ended it.
func (c *Conn) Done() <-chan struct{} { return c.closed }

// Close ends the connection and every command and socket that it carries. A
// second Close is no error.
func (c *Conn) Close() error {
	c.mu.Lock()
	if c.why == "" {
		c.why = "labctl closed it"
	}
	c.mu.Unlock()
	err := c.client.Close()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Dial opens a connection from the node to addr there, through SSH: "unix"
// with a socket's path, or "tcp" with host:port. The connection has no
// deadlines (SetDeadline fails); close it to end a blocked Read.
func (c *Conn) Dial(network, addr string) (net.Conn, error) {
	conn, err := c.client.Dial(network, addr)
	if err == nil {
		return conn, nil
	}
	var refused *ssh.OpenChannelError
	if !errors.As(err, &refused) && c.gone() {
		err = c.lost()
	}
	// Not "dial unix …": the Docker client takes an error with these words
	// for one of this machine's daemon, and replaces it.
	return nil, fmt.Errorf("%s: open %s socket %s through SSH: %w", c.ep.Name, network, addr, err)
}
