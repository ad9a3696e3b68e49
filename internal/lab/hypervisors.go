package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"labctl/internal/config"
	"labctl/internal/provision"
	"labctl/internal/remote"
)

// hypervisor is the URI of the libvirt on which a node's VM lies, or will.
func (e *Env) hypervisor(node string) string {
	if e.State != nil {
		for _, m := range e.State.Nodes {
			if m.Name == node {
				return m.Hypervisor()
			}
		}
	}
	n, _ := e.Lab.Node(node)
	return n.Hypervisor()
}

// onHypervisors sorts nodes by where they lie, in the order in which each
// hypervisor is first met.
func (e *Env) onHypervisors(nodes []string) (uris []string, on map[string][]string) {
	on = map[string][]string{}
	for _, n := range nodes {
		u := e.hypervisor(n)
		if !slices.Contains(uris, u) {
			uris = append(uris, u)
		}
		on[u] = append(on[u], n)
	}
	return uris, on
}

// virsh asks the libvirt at uri.
func (e *Env) virsh(ctx context.Context, uri string, args ...string) (remote.Result, error) {
	return remote.Check(ctx, e.Host, "host", virshCommand(uri, args...))
}

func virshCommand(uri string, args ...string) remote.Command {
	return remote.Command{Argv: append([]string{"virsh", "-c", uri}, args...)}
}

// route lets the node find the other subnets of the lab, where there are
// several, and this machine, if it asks the nodes from an address outside of
// them: or a node's answers would leave by its default route, and get lost.
// changed is false if it knew the way.
func (e *Env) route(ctx context.Context, n config.Node) (changed bool, err error) {
	own := e.Lab.SubnetOf(n)
	var others []netip.Prefix
	for _, p := range e.Lab.Subnets() {
		if p != own {
			others = append(others, p)
		}
	}
	if others == nil || e.existing() {
		return false, nil
	}
	return provision.Route(ctx, e.Runner(n.Name), n.Name, own.Addr().Next(), append(others, outside(sourceToward(n.IP), e.Lab.Subnets())...))
}

// sourceToward is the address from which this machine asks another one; the
// zero Addr if it knows no way. Nothing is sent.
func sourceToward(to netip.Addr) netip.Addr {
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 9)))
	if err != nil {
		return netip.Addr{}
	}
	defer func() { _ = conn.Close() }()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
}

// outside is the host route to an address, unless it needs none.
func outside(a netip.Addr, subnets []netip.Prefix) []netip.Prefix {
	inside := func(p netip.Prefix) bool { return p.Contains(a) }
	if !a.IsValid() || a.IsLoopback() || slices.ContainsFunc(subnets, inside) {
		return nil
	}
	return []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}
}

// OutOfReachError is a node on another hypervisor, to whose address in the
// lab's network no way leads from here.
type OutOfReachError struct {
	Node, Hypervisor string
	IP               netip.Addr
	Err              error
}

func (e *OutOfReachError) Error() string {
	return fmt.Sprintf("%s: %s cannot be reached from this machine, and what runs on the host here would ask the nodes: %v", e.Node, e.IP, e.Err)
}

// Hint says what opens a way.
func (e *OutOfReachError) Hint() string {
	return fmt.Sprintf("its VM runs on %s: give this machine a route or a card in the lab's network (bridge in lab.toml), or run labctl on that host", e.Hypervisor)
}

// reachWithin bounds the look for one node.
const reachWithin = 3 * time.Second

// CheckReach fails if a node on another machine's hypervisor cannot be reached
// from here at its address in the lab's network.
func (e *Env) CheckReach(ctx context.Context) error {
	var errs []error
	for _, n := range e.Lab.Nodes {
		if e.Choice.Provider != config.Libvirt || e.hypervisor(n.Name) == config.LocalHypervisor {
			continue
		}
		conn, err := (&net.Dialer{Timeout: reachWithin}).DialContext(ctx, "tcp", net.JoinHostPort(n.IP.String(), "22"))
		if err != nil {
			errs = append(errs, &OutOfReachError{Node: n.Name, Hypervisor: e.hypervisor(n.Name), IP: n.IP, Err: rootOf(err)})
			continue
		}
		_ = conn.Close()
	}
	return errors.Join(errs...)
}

// rootOf leaves out what a dial error says about the address.
func rootOf(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// nodesOf are the names of the lab's nodes.
func nodesOf(l *config.Lab) []string {
	var out []string
	for _, n := range l.Nodes {
		out = append(out, n.Name)
	}
	return out
}

// onHost says where something lies, if not on this machine.
func onHost(uri string) string {
	if uri == config.LocalHypervisor {
		return ""
	}
	return "on " + uri
}

// joinNotes puts two notes into one.
func joinNotes(notes ...string) string {
	return strings.Join(slices.DeleteFunc(notes, func(s string) bool { return s == "" }), ", ")
}
