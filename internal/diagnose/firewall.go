package diagnose

import (
	"net/netip"
	"slices"
	"strings"
)

// A firewall is read as the kernel reads it: a packet is led through the
// chains, and a rule that cannot be understood makes the outcome unsure. Only
// what is sure becomes a cause.

// packet is the first packet of a connection, an answer to it, or a datagram.
type packet struct {
	proto    string // "tcp" or "udp"
	from, to netip.Addr
	sport    uint16 // 0: any high port
	dport    uint16 // likewise
	in, out  string // interfaces; "" where there is none, or it is not known
	incoming bool   // at the node that it is sent to
	answer   bool   // it belongs to a connection that is there already
	forward  bool   // it passes through the node
	size     int    // bytes; 0: a small one
}

// answer is what a condition makes of a packet.
type answer int

const (
	no answer = iota
	maybe
	yes
)

func answerOf(b bool) answer {
	if b {
		return yes
	}
	return no
}

func (a answer) not() answer { return yes - a }

type condition func(packet) answer

// What a rule does with a packet that it matches.
const (
	accept = "ACCEPT"
	drop   = "DROP"
	reject = "REJECT"
	back   = "RETURN"
	pass   = "" // nothing that stops it
	other  = "?"
)

// rule is one rule of either program.
type rule struct {
	text     string // as its program shows it
	handle   int    // nft only
	packets  uint64 // so far
	conds    []condition
	narrow   bool   // it is about certain ports or addresses
	verdict  string // one of the above, or "" with jump
	jump     string // chain
	noReturn bool   // of the jump
}

func (r rule) matches(p packet) answer {
	out := yes
	for _, c := range r.conds {
		out = min(out, c(p))
	}
	return out
}

type chain struct {
	name    string
	hook    string // "INPUT" and so on; "" for one that others jump to
	policy  string
	packets uint64 // that met the policy; iptables only
	rules   []rule
}

// table is one table of chains.
type table struct {
	by     string // the program, as in RuleSet
	family string // nft only: "inet" and the like
	name   string
	chains []*chain
}

func (t *table) chain(name string) *chain {
	if i := slices.IndexFunc(t.chains, func(c *chain) bool { return c.name == name }); i >= 0 {
		return t.chains[i]
	}
	return nil
}

// culprit is what stops a packet: the last rule on its way that is about
// certain packets, or a chain that lets through nothing else.
type culprit struct {
	node  string
	table *table
	base  *chain // where the packet comes in
	chain *chain // of rule
	rule  *rule  // nil: everything that nothing lets through
	// last is the rule that decided, also if it is not about certain packets;
	// nil: the policy.
	last   *rule
	lastIn *chain
	packet packet
}

type outcome struct {
	verdict string // accept, drop, reject, pass
	sure    bool
	path    []step // to the rule that decided
}

type step struct {
	chain *chain
	rule  *rule
}

// The kernel refuses rules that jump in circles, so deepest is only reached
// by what is no real firewall, as is longest, the rules that one packet meets.
const (
	deepest = 20
	longest = 20_000
)

// walk leads a packet through a chain; left is how many rules it may yet meet.
func (t *table) walk(c *chain, p packet, depth int, left *int) outcome {
	sure := true
	if c == nil || depth > deepest {
		return outcome{verdict: pass}
	}
	for i := range c.rules {
		r := &c.rules[i]
		if *left--; *left < 0 {
			return outcome{verdict: pass}
		}
		m := r.matches(p)
		if m == no {
			continue
		}
		got := outcome{verdict: r.verdict, sure: true}
		if r.jump != "" {
			got = t.walk(t.chain(r.jump), p, depth+1, left)
		}
		switch got.verdict {
		case accept, drop, reject:
			if m == yes {
				return outcome{got.verdict, sure && got.sure, append([]step{{c, r}}, got.path...)}
			}
			sure = false
		case back:
			if m == yes {
				return outcome{verdict: pass, sure: sure}
			}
			sure = false
		case other:
			sure = false
		default:
			sure = sure && got.sure
			if r.noReturn && m == yes {
				return outcome{verdict: pass, sure: sure}
			}
			sure = sure && !r.noReturn
		}
	}
	return outcome{verdict: pass, sure: sure}
}

// stops finds what stops a packet at one node for sure, if anything.
func (t *table) stops(p packet) (culprit, bool) {
	hooks := []string{"OUTPUT", "POSTROUTING"}
	if p.incoming {
		hooks = []string{"PREROUTING", "INPUT"}
	}
	if p.forward {
		hooks = []string{"FORWARD"}
	}
	if t.name == "nat" && t.by != "nft" {
		return culprit{}, false // it cannot
	}
	for _, hook := range hooks {
		for _, c := range t.chains {
			if c.hook != hook {
				continue
			}
			left := longest
			got := t.walk(c, p, 0, &left)
			if got.verdict == pass {
				got.verdict = c.policy
			}
			if !got.sure || got.verdict != drop && got.verdict != reject {
				continue
			}
			x := culprit{table: t, base: c, packet: p}
			for _, s := range got.path {
				x.last, x.lastIn = s.rule, s.chain
				if s.rule.narrow {
					x.chain, x.rule = s.chain, s.rule
				}
			}
			return x, true
		}
	}
	return culprit{}, false
}

// Conditions that both programs share.

func isProto(name string) condition {
	return func(p packet) answer { return answerOf(p.proto == name) }
}

// The range that systems take the port of a caller from.
const lowestHigh, highestHigh = 10000, 60999

func isPort(source bool, ranges [][2]uint16) condition {
	return func(p packet) answer {
		port := p.dport
		if source {
			port = p.sport
		}
		out := no
		for _, r := range ranges {
			switch {
			case port != 0 && r[0] <= port && port <= r[1], port == 0 && r[0] <= lowestHigh && highestHigh <= r[1]:
				return yes
			case port == 0 && r[1] >= lowestHigh:
				out = maybe
			}
		}
		return out
	}
}

func isAddr(source bool, nets []netip.Prefix) condition {
	return func(p packet) answer {
		a := p.to
		if source {
			a = p.from
		}
		return answerOf(slices.ContainsFunc(nets, func(n netip.Prefix) bool { return n.Contains(a) }))
	}
}

// isDev compares an interface; names may end in the wildcard "+" or "*".
func isDev(incoming bool, name string) condition {
	return func(p packet) answer {
		dev := p.out
		if incoming {
			dev = p.in
		}
		if dev == "" {
			if p.incoming == incoming {
				return maybe // not known
			}
			return no // a packet that comes in has none to go out by, and the other way round
		}
		if stem, ok := strings.CutSuffix(strings.ReplaceAll(name, "*", "+"), "+"); ok {
			return answerOf(strings.HasPrefix(dev, stem))
		}
		return answerOf(dev == name)
	}
}

func isState(states []string) condition {
	return func(p packet) answer {
		state := "NEW"
		if p.answer {
			state = "ESTABLISHED"
		}
		return answerOf(slices.ContainsFunc(states, func(s string) bool { return strings.EqualFold(s, state) }))
	}
}

// smallPacket is the size of those of which nothing is said.
const smallPacket = 60

// isSize compares the size of a packet.
func isSize(least, most int) condition {
	return func(p packet) answer {
		size := p.size
		if size == 0 {
			size = smallPacket
		}
		return answerOf(least <= size && size <= most)
	}
}

func unclear(packet) answer { return maybe }

func not(c condition) condition { return func(p packet) answer { return c(p).not() } }
