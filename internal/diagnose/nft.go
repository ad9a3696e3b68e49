package diagnose

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// nftObject is one element of what `nft -j list ruleset` prints.
type nftObject struct {
	Table *nftPlace `json:"table"`
	Chain *nftPlace `json:"chain"`
	Rule  *nftPlace `json:"rule"`
	Set   *nftPlace `json:"set"`
}

// nftPlace holds the fields of all kinds; each kind has some of them.
type nftPlace struct {
	Family string            `json:"family"`
	Table  string            `json:"table"`
	Chain  string            `json:"chain"`
	Name   string            `json:"name"`
	Handle int               `json:"handle"`
	Hook   string            `json:"hook"`
	Policy string            `json:"policy"`
	Expr   []json.RawMessage `json:"expr"`
	Elem   []json.RawMessage `json:"elem"`
}

func (o nftObject) place() (family, table string) {
	switch {
	case o.Table != nil:
		return o.Table.Family, o.Table.Name
	case o.Chain != nil:
		return o.Chain.Family, o.Chain.Table
	case o.Rule != nil:
		return o.Rule.Family, o.Rule.Table
	case o.Set != nil:
		return o.Set.Family, o.Set.Table
	}
	return "", ""
}

var nftHooks = map[string]string{"input": "INPUT", "output": "OUTPUT", "prerouting": "PREROUTING", "postrouting": "POSTROUTING", "ingress": "PREROUTING"}

// readNft reads the objects of nft. It never fails: what it does not know
// makes a rule unclear.
func readNft(r RuleSet) (out []*table) {
	sets := map[string][]json.RawMessage{} // by family, table and name
	find := func(family, name string) *table {
		for _, t := range out {
			if t.family == family && t.name == name {
				return t
			}
		}
		out = append(out, &table{by: r.By, family: family, name: name})
		return out[len(out)-1]
	}
	for _, line := range r.Lines {
		var o nftObject
		if json.Unmarshal([]byte(line), &o) != nil {
			continue
		}
		switch {
		case o.Chain != nil:
			c := &chain{name: o.Chain.Name, hook: nftHooks[o.Chain.Hook], policy: strings.ToUpper(o.Chain.Policy)}
			t := find(o.Chain.Family, o.Chain.Table)
			t.chains = append(t.chains, c)
		case o.Set != nil:
			sets[o.Set.Family+" "+o.Set.Table+" "+o.Set.Name] = o.Set.Elem
		case o.Rule != nil:
			// Chains and sets stand above the rules.
			t := find(o.Rule.Family, o.Rule.Table)
			if c := t.chain(o.Rule.Chain); c != nil {
				n := nftReader{sets: func(name string) ([]json.RawMessage, bool) {
					elem, ok := sets[t.family+" "+t.name+" "+name]
					return elem, ok
				}}
				c.rules = append(c.rules, n.rules(o.Rule)...)
			}
		}
	}
	return out
}

// nftReader reads the expressions of one rule.
type nftReader struct {
	sets func(name string) ([]json.RawMessage, bool)
}

// rules makes a rule of each verdict: a verdict map holds several.
func (n nftReader) rules(o *nftPlace) (out []rule) {
	r := rule{handle: o.Handle}
	var words []string
	for _, raw := range o.Expr {
		var e map[string]json.RawMessage
		if json.Unmarshal(raw, &e) != nil || len(e) != 1 {
			r.conds, words = append(r.conds, unclear), append(words, "…")
			continue
		}
		for kind, body := range e {
			switch kind {
			case "counter":
				var c struct {
					Packets uint64 `json:"packets"`
				}
				_ = json.Unmarshal(body, &c) // a named counter has none
				r.packets = c.Packets
			case "log", "comment":
			case "match":
				c, narrow, text := n.match(body)
				r.conds, r.narrow, words = append(r.conds, c), r.narrow || narrow, append(words, text)
			case "vmap":
				out = append(out, n.vmap(r, words, body)...)
			case "accept", "drop", "reject", "return", "jump", "goto":
				words = append(words, r.decide(kind, body))
			default:
				r.conds, words = append(r.conds, unclear), append(words, "…")
			}
		}
	}
	r.text = strings.Join(words, " ")
	return append(out, r)
}

// decide sets a rule's verdict, and puts it into words.
func (r *rule) decide(kind string, body json.RawMessage) string {
	switch kind {
	case "jump", "goto":
		var to struct {
			Target string `json:"target"`
		}
		_ = json.Unmarshal(body, &to)
		r.jump, r.noReturn = to.Target, kind == "goto"
		return kind + " " + to.Target
	}
	r.verdict = strings.ToUpper(kind)
	return kind
}

// vmap is "KEY vmap { VALUE : VERDICT, … }": a rule for each value.
func (n nftReader) vmap(r rule, before []string, body json.RawMessage) (out []rule) {
	var v struct {
		Key  json.RawMessage `json:"key"`
		Data struct {
			Set [][2]json.RawMessage `json:"set"`
		} `json:"data"`
	}
	if json.Unmarshal(body, &v) != nil || v.Data.Set == nil {
		r.verdict = other
		return []rule{r}
	}
	for _, pair := range v.Data.Set {
		var verdict map[string]json.RawMessage
		if json.Unmarshal(pair[1], &verdict) != nil {
			continue
		}
		one := r
		c, narrow, text := n.compare("==", v.Key, pair[0])
		one.conds, one.narrow = append(slices.Clone(r.conds), c), r.narrow || narrow
		for kind, body := range verdict {
			one.text = strings.Join(append(slices.Clone(before), text, one.decide(kind, body)), " ")
		}
		out = append(out, one)
	}
	return out
}

func (n nftReader) match(body json.RawMessage) (c condition, narrow bool, text string) {
	var m struct {
		Op    string          `json:"op"`
		Left  json.RawMessage `json:"left"`
		Right json.RawMessage `json:"right"`
	}
	if json.Unmarshal(body, &m) != nil {
		return unclear, false, "…"
	}
	return n.compare(m.Op, m.Left, m.Right)
}

// compare makes a condition of a field of the packet, an operator and values.
func (n nftReader) compare(op string, left, right json.RawMessage) (c condition, narrow bool, text string) {
	var l struct {
		Payload struct {
			Protocol string `json:"protocol"`
			Field    string `json:"field"`
		} `json:"payload"`
		Meta struct {
			Key string `json:"key"`
		} `json:"meta"`
		Ct struct {
			Key string `json:"key"`
		} `json:"ct"`
	}
	values, ok := n.values(right, 0)
	if json.Unmarshal(left, &l) == nil && ok && len(values) == 1 && (l.Meta.Key == "length" || l.Payload.Field == "length") {
		if least, most, known := sizes(op, values[0]); known {
			return isSize(least, most), true, "length " + op + " " + values[0]
		}
	}
	if json.Unmarshal(left, &l) != nil || !ok || op != "==" && op != "!=" && op != "in" {
		return unclear, false, "…"
	}
	field := l.Payload.Protocol + " " + l.Payload.Field
	switch {
	case l.Meta.Key != "":
		field = "meta " + l.Meta.Key
	case l.Ct.Key != "":
		field = "ct " + l.Ct.Key
	}
	c, narrow = nftCondition(field, values)
	text = strings.TrimPrefix(field, "meta ")
	if op == "!=" {
		c, text = not(c), text+" !="
	}
	if len(values) == 1 {
		text += " " + values[0]
	} else {
		text += " { " + strings.Join(values, ", ") + " }"
	}
	return c, narrow, text
}

// sizes reads a comparison with a size.
func sizes(op, value string) (least, most int, ok bool) {
	from, to, isRange := strings.Cut(value, "-")
	if !isRange {
		to = from
	}
	a, err := strconv.Atoi(from)
	b, err2 := strconv.Atoi(to)
	switch op {
	case ">":
		a, b = a+1, math.MaxInt
	case ">=":
		b = math.MaxInt
	case "<":
		a, b = 0, b-1
	case "<=":
		a = 0
	case "==", "in":
	default:
		return 0, 0, false
	}
	return a, b, err == nil && err2 == nil
}

func nftCondition(field string, values []string) (c condition, narrow bool) {
	switch field {
	case "ip saddr", "ip daddr":
		var nets []netip.Prefix
		for _, v := range values {
			p, ok := destination(v)
			if !ok {
				return unclear, true // a range of addresses
			}
			nets = append(nets, p)
		}
		return isAddr(field == "ip saddr", nets), true
	case "tcp dport", "udp dport", "th dport", "tcp sport", "udp sport", "th sport":
		var ranges [][2]uint16
		for _, v := range values {
			r, ok := portRanges(strings.ReplaceAll(v, "-", ":"))
			if !ok {
				return unclear, true
			}
			ranges = append(ranges, r...)
		}
		port := isPort(strings.HasSuffix(field, "sport"), ranges)
		proto, _, _ := strings.Cut(field, " ")
		return func(p packet) answer {
			if proto != "th" && p.proto != proto {
				return no
			}
			return port(p)
		}, true
	case "meta l4proto", "ip protocol":
		return func(p packet) answer {
			return answerOf(slices.Contains(values, p.proto) || slices.Contains(values, map[string]string{"tcp": "6", "udp": "17"}[p.proto]))
		}, false
	case "meta nfproto":
		return func(packet) answer { return answerOf(slices.Contains(values, "ipv4")) }, false
	case "meta protocol":
		return func(packet) answer { return answerOf(slices.Contains(values, "ip")) }, false
	case "ip6 saddr", "ip6 daddr":
		return func(packet) answer { return no }, false
	case "icmp type", "icmpv6 type":
		return func(packet) answer { return no }, false
	case "meta iifname", "meta oifname", "meta iif", "meta oif":
		return func(p packet) answer {
			out := no
			for _, v := range values {
				out = max(out, isDev(strings.HasPrefix(field, "meta i"), v)(p))
			}
			return out
		}, false
	case "ct state":
		return isState(values), false
	case "ct status": // such as dnat: of packets that were sent on
		return func(packet) answer { return no }, false
	}
	return unclear, false
}

// values lists what stands on the right: a value, a range, a subnet, a set of
// these, or the name of a set.
func (n nftReader) values(raw json.RawMessage, depth int) ([]string, bool) {
	var one any
	if depth > 4 || json.Unmarshal(raw, &one) != nil {
		return nil, false
	}
	switch v := one.(type) {
	case float64:
		return []string{strconv.FormatFloat(v, 'f', -1, 64)}, true
	case string:
		name, isSet := strings.CutPrefix(v, "@")
		if !isSet {
			return []string{v}, true
		}
		elem, ok := n.sets(name)
		return n.list(elem, ok, depth)
	case []any:
		var list []json.RawMessage
		return n.list(list, json.Unmarshal(raw, &list) == nil, depth)
	}
	var o struct {
		Set    []json.RawMessage `json:"set"`
		Range  []json.RawMessage `json:"range"`
		Prefix *struct {
			Addr string `json:"addr"`
			Len  int    `json:"len"`
		} `json:"prefix"`
		Elem *struct {
			Val json.RawMessage `json:"val"`
		} `json:"elem"`
	}
	switch err := json.Unmarshal(raw, &o); {
	case err != nil:
		return nil, false
	case o.Set != nil:
		return n.list(o.Set, true, depth)
	case o.Prefix != nil:
		return []string{fmt.Sprintf("%s/%d", o.Prefix.Addr, o.Prefix.Len)}, true
	case o.Elem != nil:
		return n.values(o.Elem.Val, depth+1)
	case len(o.Range) == 2:
		ends, ok := n.list(o.Range, true, depth)
		return []string{strings.Join(ends, "-")}, ok
	}
	return nil, false
}

func (n nftReader) list(raw []json.RawMessage, ok bool, depth int) (out []string, _ bool) {
	for _, r := range raw {
		v, fine := n.values(r, depth+1)
		ok = ok && fine
		out = append(out, v...)
	}
	return out, ok
}
