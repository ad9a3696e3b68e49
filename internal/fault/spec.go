package fault

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"labctl/internal/config"
)

// Spec is a fault as it was asked for.
type Spec struct {
	Kind  Kind
	Nodes []string // none: the last worker, or the last node
	From  []string // only what goes between Nodes and these; none: all others
	// Params are those of the kind that were given.
	Params map[string]string
	For    time.Duration // until it is undone by itself; 0: never
}

// SpecError is a fault that cannot be asked for.
type SpecError struct{ Reason string }

func (e *SpecError) Error() string { return e.Reason }

func refuse(format string, args ...any) error { return &SpecError{fmt.Sprintf(format, args...)} }

// complete checks s against the lab and fills in what it does not say.
func (s Spec) complete(l *Lab) (Spec, error) {
	info, ok := Of(s.Kind)
	if !ok {
		var names []string
		for _, k := range Kinds() {
			names = append(names, string(k.Kind))
		}
		return s, refuse("there is no fault %q: it must be random, %s", s.Kind, strings.Join(names, ", "))
	}
	params := map[string]string{}
	for _, p := range info.Params {
		value, given := s.Params[p.Name]
		if !given {
			value = p.Default
			if p.Name == "port" {
				value = strconv.Itoa(int(l.dataPath()))
			}
		}
		err := p.check(value)
		if p.Name == "port" && value == strconv.Itoa(int(l.dataPath())) {
			err = nil
		}
		if err != nil {
			return s, refuse("--%s %v", p.Name, err)
		}
		params[p.Name] = value
	}
	for _, name := range slices.Sorted(maps.Keys(s.Params)) {
		if _, known := params[name]; !known {
			return s, refuse("a fault %s takes no --%s", s.Kind, name)
		}
	}
	s.Params = params
	switch {
	case info.noNode && len(s.Nodes) > 0:
		return s, refuse("a fault %s takes no --node: it is about the whole swarm", s.Kind)
	case !info.from && len(s.From) > 0:
		return s, refuse("a fault %s takes no --from", s.Kind)
	case s.For != 0 && info.noFor:
		return s, refuse("a fault %s takes no --for: a node that is off has no timer; `labctl fault clear` boots it again", s.Kind)
	case s.For != 0 && (s.For < time.Second || s.For > 24*time.Hour):
		return s, refuse("--for %v: it must be from 1s to 24h", s.For)
	}
	switch {
	case info.noNode:
		s.Nodes = []string{l.managers()[0].Name}
	case len(s.Nodes) == 0:
		s.Nodes = []string{l.Nodes[len(l.Nodes)-1].Name}
		for _, n := range l.Nodes {
			if n.Role == config.Worker {
				s.Nodes = []string{n.Name}
			}
		}
	}
	for _, list := range []*[]string{&s.Nodes, &s.From} {
		names, err := l.resolve(*list)
		if err != nil {
			return s, err
		}
		*list = names
	}
	for _, n := range s.From {
		if slices.Contains(s.Nodes, n) {
			return s, refuse("--from %s: the fault is on that node itself", n)
		}
	}
	if len(l.Nodes) < 2 && slices.Contains([]Kind{Port, Partition, Loss, Delay, Bandwidth, MTU}, s.Kind) {
		return s, refuse("a fault %s is between nodes, and the lab has only one", s.Kind)
	}
	if s.Kind == Port && s.Params["port"] == "2377" {
		for _, n := range s.Nodes {
			if len(l.doors(s, n)) == 0 {
				return s, refuse("port 2377 between %s and %s is not used: workers speak to managers by it", n, strings.Join(s.From, ", "))
			}
		}
	}
	return s, nil
}

// resolve makes node names of names, roles such as @worker2, and groups.
func (l *Lab) resolve(words []string) ([]string, error) {
	var out []string
	for _, w := range words {
		found := l.named(w)
		if len(found) == 0 {
			var known []string
			for _, n := range l.Nodes {
				known = append(known, n.Name)
			}
			return nil, refuse("no node %q in this lab: it has %s", w, strings.Join(known, ", "))
		}
		for _, n := range found {
			if !slices.Contains(out, n.Name) {
				out = append(out, n.Name)
			}
		}
	}
	return out, nil
}

func (l *Lab) named(word string) []Node {
	for i, n := range l.Nodes {
		if n.Name == word {
			return l.Nodes[i : i+1]
		}
	}
	role, isRole := strings.CutPrefix(word, "@")
	if !isRole {
		return nil
	}
	workers := slices.DeleteFunc(slices.Clone(l.Nodes), func(n Node) bool { return n.Role != config.Worker })
	for _, g := range []struct {
		word string
		list []Node
	}{{"manager", l.managers()}, {"worker", workers}} {
		rest, ok := strings.CutPrefix(role, g.word)
		if !ok {
			continue
		}
		if rest == "s" {
			return g.list
		}
		i := 1
		if rest != "" {
			var err error
			if i, err = strconv.Atoi(rest); err != nil {
				return nil
			}
		}
		if i >= 1 && i <= len(g.list) {
			return g.list[i-1 : i]
		}
		return nil
	}
	if role == "all" {
		return l.Nodes
	}
	return nil
}

// doors are the firewall rules by which a port is closed on the node, as
// "CHAIN/protocol/port". One direction is enough, and is what one rule too
// many in a firewall does. Workers listen on no 2377, so there it is what they
// send that is stopped.
func (l *Lab) doors(s Spec, node string) []string {
	port := s.Params["port"]
	switch port {
	case "2377":
		manager := func(name string) bool {
			return slices.ContainsFunc(l.managers(), func(n Node) bool { return n.Name == name })
		}
		if manager(node) {
			return []string{"INPUT/tcp/2377"}
		}
		if len(s.From) > 0 && !slices.ContainsFunc(s.From, manager) {
			return nil
		}
		return []string{"OUTPUT/tcp/2377"}
	case "7946":
		return []string{"INPUT/tcp/7946", "INPUT/udp/7946"}
	}
	return []string{"INPUT/udp/" + port}
}

// peers are the nodes that the fault on node is about.
func (l *Lab) peers(s Spec, node string) []Node {
	var out []Node
	for _, n := range l.Nodes {
		switch {
		case n.Name == node:
		case len(s.From) > 0:
			if slices.Contains(s.From, n.Name) {
				out = append(out, n)
			}
		// Nodes that are cut off together still have each other, unless that
		// is all of them.
		case s.Kind == Partition && slices.Contains(s.Nodes, n.Name) && len(s.Nodes) < len(l.Nodes):
		default:
			out = append(out, n)
		}
	}
	return out
}

// words are what provision/fault.sh is told of the fault on a node.
func (l *Lab) words(s Spec, node string) []string {
	n, _ := l.node(node)
	seconds := s.For
	words := []string{"kind=" + string(s.Kind), "lab=" + n.IP.String()}
	if s.Kind != Port || len(s.From) > 0 {
		words = append(words, "peers="+strings.Join(addresses(l.peers(s, node)), " "))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Params)) {
		value := s.Params[name]
		switch name {
		case "port":
			name, value = "rules", strings.Join(l.doors(s, node), " ")
		case "shift":
			d, _ := time.ParseDuration(value) // complete has read it
			value = strconv.Itoa(int(d.Seconds()))
		}
		words = append(words, name+"="+value)
	}
	if s.Kind == SubnetOverlap {
		words = append(words, "image="+toolbox)
	}
	return append(words, fmt.Sprintf("seconds=%d", int(seconds.Round(time.Second).Seconds())))
}

// toolbox is the image that every node has.
const toolbox = "labctl/toolbox:latest"

func addresses(nodes []Node) []string {
	var out []string
	for _, n := range nodes {
		out = append(out, n.IP.String())
	}
	return out
}

// Node is a node of the lab, as far as it can be reached.
type Node struct {
	Name string
	Role config.Role
	IP   netip.Addr
	Access
}

// Unknown stands, in the words of CheckWords, for a value that is not known
// yet.
const Unknown = "\x00"

// CheckWords checks the words behind `labctl fault inject` as far as that is
// possible without a lab: the kind, its options, and values that are known.
func CheckWords(words []string) error {
	if len(words) == 0 || strings.HasPrefix(words[0], "-") {
		return refuse("`labctl fault inject` wants the kind of fault first")
	}
	if words[0] == Unknown {
		return refuse("the kind of fault must be written out: no variable")
	}
	kind := Kind(words[0])
	options := []Param{{Name: "for", check: func(v string) error { _, err := time.ParseDuration(v); return err }}}
	info, ok := Of(kind)
	switch {
	case kind == Random:
		options = append(options, Param{Name: "seed", check: func(v string) error { _, err := strconv.ParseUint(v, 10, 64); return err }})
	case !ok:
		return refuse("there is no fault %q: `labctl fault list` names them", kind)
	case info.noFor:
		options = nil
	}
	if ok && !info.noNode {
		options = append(options, Param{Name: "node"})
	}
	if info.from {
		options = append(options, Param{Name: "from"})
	}
	options = append(options, info.Params...)
	for rest := words[1:]; len(rest) > 0; {
		name, isOption := strings.CutPrefix(rest[0], "--")
		name, value, joined := strings.Cut(name, "=")
		i := slices.IndexFunc(options, func(p Param) bool { return p.Name == name })
		switch {
		case !isOption:
			return refuse("%q is no option: `labctl fault inject KIND` takes nothing else", rest[0])
		case i < 0:
			return refuse("a fault %s takes no --%s", kind, name)
		}
		rest = rest[1:]
		if !joined {
			if len(rest) == 0 {
				return refuse("--%s wants a value", name)
			}
			value, rest = rest[0], rest[1:]
		}
		if check := options[i].check; check != nil && !strings.Contains(value, Unknown) {
			// Only the lab knows its data path port.
			if err := check(value); err != nil && name != "port" {
				return refuse("--%s %v", name, err)
			}
		}
	}
	return nil
}
