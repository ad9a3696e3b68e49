package remote

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// Lender keeps SSH connections to nodes open between the runs of programs that
// borrow them: the handshake is most of what a short command costs. A borrowed
// connection is its borrower's alone until it is given back, so that no two
// share OpenSSH's bound on commands at a time.
//
// Borrower and lender speak SSH with each other, so that a borrowed connection
// is a connection like any other. Who may connect to the lender's socket may
// do on the nodes what the lender may: the socket's folder is what guards it.
type Lender struct {
	// Endpoint says how a node is reached now. A connection to where it was
	// before is not lent any more.
	Endpoint func(node string) (Endpoint, error)
	// Options are those of the connections.
	Options DialOptions

	mu   sync.Mutex
	idle map[string][]*loan // by node
	age  int                // how many times all that was open has been dropped
}

// loan is a connection that the lender made.
type loan struct {
	*Conn
	age int // the lender's when it was made
}

const (
	// idleLimit is how many connections to a node are kept for later.
	idleLimit = 2
	// aliveWithin is how long a connection that was idle may take to show that
	// the node is still there. A new one costs about as much.
	aliveWithin = 2 * time.Second
	// borrowWithin bounds a lender's answer, which may have to connect first.
	borrowWithin = 15 * time.Second
	// dropRequest makes the lender forget what is open.
	dropRequest = "drop@labctl"
	// nobody is who asks for no connection.
	nobody = ""
)

// ErrNoLender is a socket at which no lender listens.
var ErrNoLender = errors.New("nobody lends connections")

// Serve lends at l, which it closes, until ctx ends. Its error is that of l.
func (l *Lender) Serve(ctx context.Context, lis net.Listener) error {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = lis.Close() })()
	defer l.drop()
	for {
		raw, err := lis.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		go l.lend(ctx, raw, signer)
	}
}

// lend serves one borrower.
func (l *Lender) lend(ctx context.Context, raw net.Conn, key ssh.Signer) {
	defer func() { _ = raw.Close() }()
	defer context.AfterFunc(ctx, func() { _ = raw.Close() })()
	var node *loan
	config := &ssh.ServerConfig{NoClientAuth: true, NoClientAuthCallback: func(who ssh.ConnMetadata) (*ssh.Permissions, error) {
		if who.User() == nobody {
			return nil, nil
		}
		var err error
		node, err = l.take(ctx, who.User())
		return nil, err
	}}
	config.AddHostKey(key)
	_ = raw.SetDeadline(time.Now().Add(borrowWithin))
	conn, chans, reqs, err := ssh.NewServerConn(raw, config)
	if err != nil {
		if node != nil {
			_ = node.Close()
		}
		return
	}
	_ = raw.SetDeadline(time.Time{})
	defer func() { _ = conn.Close() }()
	if node == nil {
		go refuse(chans)
		for r := range reqs {
			if r.Type == dropRequest {
				l.drop()
			}
			_ = r.Reply(r.Type == dropRequest, nil)
		}
		return
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() { // the end of one is the end of the other
		select {
		case <-node.Done():
			_ = conn.Close()
		case <-ended:
		}
	}()
	go func() {
		for r := range reqs {
			ok, answer, err := node.client.SendRequest(r.Type, r.WantReply, r.Payload)
			_ = r.Reply(ok && err == nil, answer)
		}
	}()
	var open sync.WaitGroup
	var leftAlone atomic.Bool
	for ch := range chans {
		open.Go(func() {
			if !forward(ch, node.client.Client) && ch.ChannelType() == "session" {
				leftAlone.Store(true)
			}
		})
	}
	open.Wait()
	// A command whose borrower is gone may go on for ever, and count for the
	// commands that OpenSSH allows on the connection.
	if leftAlone.Load() {
		_ = node.Close()
	}
	l.giveBack(conn.User(), node)
}

func refuse(chans <-chan ssh.NewChannel) {
	for ch := range chans {
		_ = ch.Reject(ssh.Prohibited, "no connection was asked for")
	}
}

// take returns a connection to a node that is alive, a new one if there is none.
func (l *Lender) take(ctx context.Context, node string) (*loan, error) {
	ep, err := l.Endpoint(node)
	if err != nil {
		return nil, err
	}
	for {
		l.mu.Lock()
		age := l.age
		var have *loan
		if all := l.idle[node]; len(all) > 0 {
			have, l.idle[node] = all[len(all)-1], all[:len(all)-1]
		}
		l.mu.Unlock()
		if have == nil {
			c, err := Dial(ctx, ep, l.Options)
			if err != nil {
				return nil, err
			}
			return &loan{c, age}, nil
		}
		if have.ep == ep && have.alive() {
			return have, nil
		}
		_ = have.Close()
	}
}

// alive asks the node for a sign of life: it may have been powered off, or set
// back to a time before the connection.
func (c *Conn) alive() bool {
	answered := make(chan error, 1)
	go func() {
		_, _, err := c.client.SendRequest("keepalive@openssh.com", true, nil)
		answered <- err
	}()
	t := time.NewTimer(aliveWithin)
	defer t.Stop()
	select {
	case err := <-answered:
		return err == nil
	case <-t.C:
		return false
	}
}

func (l *Lender) giveBack(node string, c *loan) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-c.Done():
		return
	default:
	}
	if c.age != l.age || len(l.idle[node]) >= idleLimit {
		_ = c.Close()
		return
	}
	if l.idle == nil {
		l.idle = map[string][]*loan{}
	}
	l.idle[node] = append(l.idle[node], c)
}

// drop closes what is idle, and has what is lent closed when it is given back.
func (l *Lender) drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.age++
	for _, all := range l.idle {
		for _, c := range all {
			_ = c.Close()
		}
	}
	clear(l.idle)
}

// forward joins a channel that the borrower opens with one on the node, and
// says whether it was the node that ended it.
func forward(wanted ssh.NewChannel, node ssh.Conn) (ended bool) {
	far, farReqs, err := node.OpenChannel(wanted.ChannelType(), wanted.ExtraData())
	if err != nil {
		refused := &ssh.OpenChannelError{Reason: ssh.ConnectionFailed, Message: err.Error()}
		_ = errors.As(err, &refused)
		_ = wanted.Reject(refused.Reason, refused.Message)
		return true
	}
	near, nearReqs, err := wanted.Accept()
	if err != nil {
		_ = far.Close()
		return false
	}
	go func() {
		_, _ = io.Copy(far, near)
		_ = far.CloseWrite()
	}()
	var left atomic.Bool
	var answering sync.Mutex
	go func() {
		pass(far, nearReqs, &answering)
		left.Store(true)
		_ = far.Close()
	}()
	var output, all sync.WaitGroup
	output.Go(func() { _, _ = io.Copy(near, far) })
	output.Go(func() { _, _ = io.Copy(near.Stderr(), far.Stderr()) })
	all.Go(func() {
		output.Wait()
		_ = near.CloseWrite()
	})
	all.Go(func() { pass(near, farReqs, new(sync.Mutex)) }) // an exit code comes this way
	all.Wait()
	ended = !left.Load()
	// A command can be over before the answer to its beginning is handed on.
	answering.Lock()
	defer answering.Unlock()
	_ = near.Close()
	return ended
}

// pass hands requests on until there are no more. It holds answering from a
// request to its answer.
func pass(to ssh.Channel, reqs <-chan *ssh.Request, answering *sync.Mutex) {
	for r := range reqs {
		answering.Lock()
		ok, err := to.SendRequest(r.Type, r.WantReply, r.Payload)
		if r.WantReply {
			_ = r.Reply(ok && err == nil, nil)
		}
		answering.Unlock()
	}
}

// Borrow takes a connection to ep from the lender that listens at socket. If
// there is none, the error is ErrNoLender; any other means that the lender
// could not reach the node either. Close gives it back.
func Borrow(ctx context.Context, ep Endpoint, socket string, o DialOptions) (*Conn, error) {
	o = o.withDefaults()
	conn, chans, reqs, err := ask(ctx, socket, ep.Name)
	if err != nil {
		return nil, err
	}
	c := newConn(ep, ssh.NewClient(conn, chans, reqs), o)
	c.lender = socket
	return c, nil
}

// Drop has the lender at socket forget the connections that it has: they were
// made before something that changes what a connection is. It is no error if
// there is no lender.
func Drop(ctx context.Context, socket string) error {
	conn, chans, reqs, err := ask(ctx, socket, nobody)
	if errors.Is(err, ErrNoLender) {
		return nil
	}
	if err != nil {
		return err
	}
	client := ssh.NewClient(conn, chans, reqs)
	defer func() { _ = client.Close() }()
	_, _, err = client.SendRequest(dropRequest, true, nil)
	return err
}

func ask(ctx context.Context, socket, user string) (ssh.Conn, <-chan ssh.NewChannel, <-chan *ssh.Request, error) {
	raw, err := (&net.Dialer{Timeout: aliveWithin}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("%w: %w", ErrNoLender, err)
	}
	ctx, cancel := context.WithTimeout(ctx, borrowWithin)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	conn, chans, reqs, err := ssh.NewClientConn(raw, socket, &ssh.ClientConfig{
		User: user,
		// Nobody else can listen there: see Lender.
		HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	if !stop() && err == nil {
		_ = conn.Close()
		err = ctx.Err()
	}
	if err != nil {
		_ = raw.Close()
		return nil, nil, nil, fmt.Errorf("borrow a connection to %q: %w", user, err)
	}
	return conn, chans, reqs, nil
}
