package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"labctl/internal/config"
	"labctl/internal/engine"
	"labctl/internal/remote"
)

// Lend returns what the embedded engine of the lab in this folder does beside
// running VMs: it lives as long as they do, and so it keeps connections to the
// nodes for the next command.
func Lend(dir string) func(context.Context, net.Listener) {
	e := &Env{Dir: dir}
	lender := &remote.Lender{
		Options: remote.DialOptions{KnownHosts: e.knownHosts()},
		Endpoint: func(node string) (remote.Endpoint, error) {
			ep, ok := e.remembered(config.Node{Name: node})
			if !ok {
				return ep, fmt.Errorf("%s: nobody has connected to it yet", node)
			}
			return ep, nil
		},
	}
	return func(ctx context.Context, lis net.Listener) {
		if err := lender.Serve(ctx, lis); err != nil {
			// Every command can connect by itself as well.
			_, _ = fmt.Fprintln(os.Stderr, "labctl: lend connections:", err)
		}
	}
}

func (e *Env) endpointFile(n config.Node) string {
	return filepath.Join(e.StateDir(), "ssh", n.Name+".json")
}

// remembered is where the node answered last time.
func (e *Env) remembered(n config.Node) (ep remote.Endpoint, ok bool) {
	data, err := os.ReadFile(e.endpointFile(n))
	if err != nil || json.Unmarshal(data, &ep) != nil || ep.Name != n.Name {
		return ep, false
	}
	ep.Role, ep.LabIP = string(n.Role), n.IP
	return ep, true
}

// remember notes where a node answered. That it cannot is no reason to fail.
func (e *Env) remember(n config.Node, ep remote.Endpoint) {
	data, err := json.Marshal(ep)
	if have, rerr := os.ReadFile(e.endpointFile(n)); err == nil && rerr == nil && bytes.Equal(have, data) {
		return
	}
	if err == nil {
		err = os.MkdirAll(filepath.Dir(e.endpointFile(n)), 0o700)
	}
	if err == nil {
		err = writeFile(e.endpointFile(n), data)
	}
	if err != nil && e.Log != nil {
		e.Log.WithError(err).Warn("cannot note the node's address")
	}
}

// redial tries the address of last time, once; nil if that is not known or
// not right any more. Another machine at that address is found out by its
// host key.
func (e *Env) redial(ctx context.Context, n config.Node) *remote.Conn {
	ep, ok := e.remembered(n)
	if !ok {
		return nil
	}
	c, more := e.borrow(ctx, ep)
	if more {
		var err error
		if c, err = remote.Dial(ctx, ep, e.dialOptions()); err != nil {
			e.debug(err, "the address of last time does not serve; asking Vagrant")
		}
	}
	if c != nil {
		e.keep(n, c)
	}
	return c
}

// borrow takes an open connection to a node from the lab's engine. more says
// that there is no engine to ask, so that it is worth to connect oneself.
func (e *Env) borrow(ctx context.Context, ep remote.Endpoint) (c *remote.Conn, more bool) {
	if e.Choice.Provider != config.Embedded {
		return nil, true
	}
	c, err := remote.Borrow(ctx, ep, engine.NodesSocket, e.dialOptions())
	if err != nil {
		e.debug(err, "no connection to borrow")
	}
	return c, errors.Is(err, remote.ErrNoLender)
}

// dropLent has the engine forget its connections. That it cannot is no harm:
// it asks each for a sign of life before it lends it.
func (e *Env) dropLent(ctx context.Context) {
	if e.Choice.Provider != config.Embedded {
		return
	}
	if err := remote.Drop(ctx, engine.NodesSocket); err != nil {
		e.debug(err, "the engine keeps its connections")
	}
}

func (e *Env) debug(err error, text string) {
	if e.Log != nil {
		e.Log.WithError(err).Debug(text)
	}
}
