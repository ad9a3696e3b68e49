// Package dockerapi gives the official typed client of the Docker Engine for
// a node whose engine only listens on its own unix socket, reached through an
// open SSH connection. A question asked this way takes tens of milliseconds,
// where `docker …` typed through SSH takes two seconds on an emulated node;
// and what a request holds, such as a join token, is on no command line.
package dockerapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/moby/moby/client"
	"golang.org/x/crypto/ssh"
)

// Socket is where the engine listens on a node.
const Socket = "/var/run/docker.sock"

// Dialer opens a connection on the node; *remote.Conn is one.
type Dialer interface {
	Dial(network, addr string) (net.Conn, error)
}

// Open returns a client of the engine behind d. It sends nothing yet: the
// first request asks the engine for its API version and settles on one that
// both speak (1.40 to 1.56, Docker 19.03 and later). At most two idle
// connections stay open, for 30 s; Close the client to free them. The SSH
// user must have been in the node's docker group when the SSH connection was
// opened.
func Open(d Dialer) (*client.Client, error) {
	cli, err := client.New(client.WithHost("unix://"+Socket), client.WithDialContext(dialThrough(d)), client.WithHTTPResponseHook(noteVersion))
	if err != nil {
		return nil, fmt.Errorf("docker client: %w", err)
	}
	return cli, nil
}

// dialThrough ignores what it is told to dial: there is one address. A dial
// that the peer does not answer is left behind when ctx ends.
func dialThrough(d Dialer) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		type dialed struct {
			conn net.Conn
			err  error
		}
		done := make(chan dialed, 1)
		go func() {
			conn, err := d.Dial("unix", Socket)
			done <- dialed{conn, err}
		}()
		select {
		case r := <-done:
			return r.conn, r.err
		case <-ctx.Done():
			go func() {
				if r := <-done; r.err == nil {
					_ = r.conn.Close()
				}
			}()
			return nil, ctx.Err()
		}
	}
}

// Ping asks the engine for a sign of life and, the first time, settles the
// API version.
func Ping(ctx context.Context, cli *client.Client) (client.PingResult, error) {
	return cli.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true})
}

// Version asks the engine for a sign of life, which also tells its version. The
// question that is meant for it has the engine start runc and tini to ask them
// too, which an emulated node takes longer for than for all the rest.
func Version(ctx context.Context, cli *client.Client) (string, error) {
	version := ""
	if _, err := Ping(context.WithValue(ctx, wantVersion{}, &version), cli); err != nil || version != "" {
		return version, err
	}
	v, err := cli.ServerVersion(ctx, client.ServerVersionOptions{})
	return v.Version, err
}

// wantVersion is the key of a context under which noteVersion finds where to
// note it.
type wantVersion struct{}

// noteVersion reads what every answer bears: "Server: Docker/20.10.24 (linux)".
func noteVersion(r *http.Response) {
	to, wanted := r.Request.Context().Value(wantVersion{}).(*string)
	if !wanted {
		return
	}
	if v, isDocker := strings.CutPrefix(r.Header.Get("Server"), "Docker/"); isDocker {
		*to, _, _ = strings.Cut(v, " ")
	}
}

// NotReadyError is Wait's deadline.
type NotReadyError struct {
	Node   string
	Within time.Duration
	Err    error // the last attempt's
}

func (e *NotReadyError) Error() string {
	return fmt.Sprintf("%s: the Docker engine does not answer within %v: %s", e.Node, e.Within, reason(e.Err))
}

// Unwrap returns the last attempt's error.
func (e *NotReadyError) Unwrap() error { return e.Err }

// Hint says where the engine's own words stand.
func (e *NotReadyError) Hint() string {
	var refused *ssh.OpenChannelError
	if errors.As(e.Err, &refused) && refused.Reason == ssh.Prohibited {
		return "sshd on the node must allow socket forwarding: AllowStreamLocalForwarding yes in /etc/ssh/sshd_config"
	}
	return "on the node, `sudo systemctl status docker` and `sudo journalctl -u docker` tell why; `id` must list the group docker"
}

const (
	// attemptLimit bounds one ping. An emulated node under load needs
	// seconds for what takes milliseconds otherwise.
	attemptLimit = 10 * time.Second
	interval     = 500 * time.Millisecond
)

// Wait pings until node's engine answers or within has passed; then the error is
// a *NotReadyError. waiting, which may be nil, is told the reason whenever it
// changes.
func Wait(ctx context.Context, node string, cli *client.Client, within time.Duration, waiting func(reason string)) error {
	return wait(ctx, node, cli, within, interval, waiting)
}

func wait(ctx context.Context, node string, cli *client.Client, within, interval time.Duration, waiting func(string)) error {
	deadline := time.Now().Add(within)
	var said string
	var last error
	for {
		attempt, cancel := context.WithTimeout(ctx, min(attemptLimit, max(time.Until(deadline), time.Millisecond)))
		_, err := Ping(attempt, cli)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: wait for the Docker engine: %w", node, context.Cause(ctx))
		}
		// An attempt that the end of the wait cut short tells nothing: the one
		// before it has the reason.
		if last == nil || time.Until(deadline) > 0 {
			last = err
		}
		if time.Until(deadline) <= interval {
			return &NotReadyError{Node: node, Within: within, Err: last}
		}
		if why := reason(err); why != said && waiting != nil {
			waiting(why)
			said = why
		}
		t := time.NewTimer(interval)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
	}
}

// reason puts a failed ping into the words of somebody who looks at a node,
// not at an HTTP client.
func reason(err error) string {
	var refused *ssh.OpenChannelError
	var request *url.Error
	switch {
	case errors.As(err, &refused) && refused.Reason == ssh.Prohibited:
		return "sshd forbids to open " + Socket
	case errors.As(err, &refused):
		// sshd tells no more, whether the socket is missing or forbidden.
		return "nobody listens at " + Socket + ", or the SSH user is not in the docker group"
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer"
	case errors.As(err, &request):
		return request.Err.Error()
	}
	return err.Error()
}
