package fault

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"

	"labctl/internal/config"
)

// shows says whether the symptom is there, and how it looks.
func (l *Lab) shows(ctx context.Context, r Record) (bool, string, error) {
	s := Spec{Kind: r.Kind, Nodes: r.Nodes, From: r.From, Params: r.Params}
	switch {
	case r.Kind == DockerdStop, r.Kind == NodeDown:
		return l.unwell(ctx)
	case r.Kind == Partition, r.Kind == Port && r.Params["port"] == "2377":
		if l.cutFromManagers(s) {
			return l.unwell(ctx)
		}
	case r.Kind == Port && r.Params["port"] == "7946" && len(r.From) == 0:
		return l.peerLost(ctx, r.Nodes)
	case r.Kind == Clock:
		return l.clocksWrong(ctx, r)
	}
	if r.Kind == Port || r.Kind == Partition {
		if err := l.poke(ctx, s); err != nil {
			return false, "", err
		}
	}
	all := true
	var mu sync.Mutex
	var told []string
	err := l.each(r.Nodes, func(n Node) error {
		words := l.words(s, n.Name)
		if r.Kind == Partition {
			words = append(words, "rules=any")
		}
		ok, text, err := n.shows(ctx, append(words, "id="+r.ID)...)
		mu.Lock()
		defer mu.Unlock()
		all = all && ok
		if ok {
			told = append(told, n.Name+": "+text)
		}
		return err
	})
	slices.Sort(told)
	return all && err == nil, strings.Join(told, "; "), err
}

// cutFromManagers tells whether the swarm must notice: a worker that reaches
// no manager, or a manager that reaches nobody.
func (l *Lab) cutFromManagers(s Spec) bool {
	for _, name := range s.Nodes {
		n, _ := l.node(name)
		peers := l.peers(s, name)
		want := l.managers()
		if n.Role == config.Manager {
			want = l.Nodes
		}
		if !slices.ContainsFunc(want, func(m Node) bool {
			return m.Name != name && !slices.ContainsFunc(peers, func(p Node) bool { return p.Name == m.Name })
		}) {
			return true
		}
	}
	return false
}

// apiWithin bounds one question to an engine.
const apiWithin = 15 * time.Second

// unwell looks whether some node of the lab is not Ready, as a manager sees
// it, or whether there is no manager who could tell.
func (l *Lab) unwell(ctx context.Context) (bool, string, error) {
	var errs []string
	for _, m := range l.managers() {
		if m.API == nil {
			errs = append(errs, m.Name+": cannot be reached")
			continue
		}
		own, cancel := context.WithTimeout(ctx, apiWithin)
		list, err := m.API.NodeList(own, client.NodeListOptions{})
		cancel()
		if ctx.Err() != nil {
			return false, "", context.Cause(ctx)
		}
		if err != nil {
			errs = append(errs, m.Name+": "+oneLine(err))
			continue
		}
		for _, n := range l.Nodes {
			i := slices.IndexFunc(list.Items, func(x swarm.Node) bool {
				return x.Description.Hostname == n.Name && x.Status.State == swarm.NodeStateReady &&
					(x.ManagerStatus == nil || x.ManagerStatus.Reachability == swarm.ReachabilityReachable)
			})
			if i < 0 {
				return true, fmt.Sprintf("%s: the node list says that %s is not ready", m.Name, n.Name), nil
			}
		}
		return false, "", nil
	}
	return true, strings.Join(errs, "; "), nil
}

// peerLost looks whether the nodes have lost sight of each other in the ingress
// network, which every node is in.
func (l *Lab) peerLost(ctx context.Context, nodes []string) (bool, string, error) {
	for _, n := range l.Nodes {
		if n.API == nil {
			continue
		}
		own, cancel := context.WithTimeout(ctx, apiWithin)
		net, err := n.API.NetworkInspect(own, "ingress", client.NetworkInspectOptions{})
		cancel()
		if err != nil {
			return false, "", fmt.Errorf("%s: inspect the network ingress: %w", n.Name, err)
		}
		var peers []netip.Addr
		for _, p := range net.Network.Peers {
			peers = append(peers, p.IP)
		}
		for _, other := range l.Nodes {
			concerned := slices.Contains(nodes, n.Name) || slices.Contains(nodes, other.Name)
			if concerned && !slices.Contains(peers, other.IP) {
				return true, fmt.Sprintf("%s: %s is not among the peers of its network ingress", n.Name, other.Name), nil
			}
		}
	}
	return false, "", nil
}

// pokeScript sends a packet to an address by a UDP port.
const pokeScript = `exec perl -MSocket -e 'socket(my $s, AF_INET, SOCK_DGRAM, 0); send($s, "\0", 0, sockaddr_in($ARGV[1], inet_aton($ARGV[0])))' "$1" "$2"`

// poke has the other nodes send something, so that there is something to stop.
func (l *Lab) poke(ctx context.Context, s Spec) error {
	port := s.Params["port"]
	if port == "" {
		port = strconv.Itoa(int(l.dataPath()))
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	return l.each(s.Nodes, func(n Node) error {
		var names []string
		for _, p := range l.peers(s, n.Name) {
			names = append(names, p.Name)
		}
		return l.each(names, func(p Node) error {
			_, err := p.on(ctx, "", []int{1}, "-c", pokeScript, "sh", n.IP.String(), port)
			return err
		})
	})
}

// clocksWrong compares the nodes' clocks with labctl's.
func (l *Lab) clocksWrong(ctx context.Context, r Record) (bool, string, error) {
	want, err := time.ParseDuration(r.Params["shift"])
	if err != nil {
		return false, "", err
	}
	all, told := true, ""
	err = l.each(r.Nodes[:1], func(n Node) error {
		begin := time.Now()
		res, err := n.on(ctx, "", nil, "-c", "date +%s.%N")
		if err != nil {
			return err
		}
		seconds, err := strconv.ParseFloat(strings.TrimSpace(res.Stdout), 64)
		if err != nil {
			return &NodeError{n.Name, "cannot read its clock: " + oneLine(err), err}
		}
		ahead := time.Duration((seconds - float64(begin.UnixNano())/1e9) * 1e9).Round(time.Second)
		all = math.Signbit(float64(ahead)) == math.Signbit(float64(want)) && ahead.Abs() > want.Abs()/2
		told = fmt.Sprintf("%s: its clock is %v ahead", n.Name, ahead)
		return nil
	})
	return all && err == nil, told, err
}

// UnsoundError is a lab that is not well before a fault is injected.
type UnsoundError struct{ Reason string }

func (e *UnsoundError) Error() string {
	return "the lab is not sound, so no fault of its own could be told from what is wrong already: " + e.Reason
}

// Hint says what to do.
func (e *UnsoundError) Hint() string {
	return "`labctl diagnose` finds the cause; `labctl create` or `labctl reset` may mend it"
}

// sound wants every node to be reached, its engine to answer, and the swarm to
// call it ready.
func (l *Lab) sound(ctx context.Context) error {
	var names []string
	for _, n := range l.Nodes {
		names = append(names, n.Name)
	}
	err := l.each(names, func(n Node) error {
		if n.Runner == nil || n.API == nil {
			return &NodeError{n.Name, "cannot be reached: " + oneLine(n.Err), n.Err}
		}
		ctx, cancel := context.WithTimeout(ctx, apiWithin)
		defer cancel()
		if _, err := n.API.Ping(ctx, client.PingOptions{}); err != nil {
			return &NodeError{n.Name, "Docker does not answer: " + oneLine(err), err}
		}
		return nil
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err == nil {
		var bad bool
		var why string
		if bad, why, err = l.unwell(ctx); err == nil && bad {
			err = errors.New(why)
		}
	}
	if err != nil {
		return &UnsoundError{strings.ReplaceAll(err.Error(), "\n", "; ")}
	}
	return nil
}
