package diagnose

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// readFirewall cuts what firewallScript printed.
func readFirewall(text string) ([]RuleSet, error) {
	var out []RuleSet
	for part := range strings.SplitSeq("\n"+text, "\n== ") {
		part = strings.TrimPrefix(part, "\n")
		by, body, ok := strings.Cut(part, "\n")
		switch {
		case strings.TrimSpace(part) == "":
			continue
		case by == "nft" && ok:
			lines, err := nftLines(body, out)
			if err != nil {
				return out, err
			}
			if lines != nil {
				out = append(out, RuleSet{By: by, Lines: lines})
			}
		case strings.HasPrefix(by, "iptables"):
			if lines := iptablesLines(body); lines != nil {
				out = append(out, RuleSet{By: by, Lines: lines})
			}
		default:
			return out, fmt.Errorf("the firewall's answer cannot be read: %q", clip(part, 200))
		}
	}
	return out, nil
}

// iptablesLines leaves out comments.
func iptablesLines(text string) (out []string) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line != "" && line[0] != '#' && line != "COMMIT" {
			out = append(out, line)
		}
	}
	return out
}

// nftLines leaves out what iptables has told already: its nft half keeps its
// rules in tables of known names.
func nftLines(text string, told []RuleSet) ([]string, error) {
	var all struct {
		Nftables []json.RawMessage `json:"nftables"`
	}
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return nil, fmt.Errorf("nft: %w", err)
	}
	native := slices.ContainsFunc(told, func(r RuleSet) bool { return strings.HasPrefix(r.By, "iptables") })
	var out []string
	for _, raw := range all.Nftables {
		var o nftObject
		if err := json.Unmarshal(raw, &o); err != nil {
			return nil, fmt.Errorf("nft: %w", err)
		}
		family, name := o.place()
		if !slices.Contains([]string{"ip", "inet", "netdev"}, family) ||
			native && family == "ip" && slices.Contains([]string{"filter", "nat", "mangle", "raw", "security"}, name) {
			continue
		}
		out = append(out, string(raw))
	}
	return out, nil
}

// readIptables reads the lines of iptables-save. It never fails: what it does
// not know makes a rule unclear.
func readIptables(r RuleSet) (out []*table) {
	var t *table
	for _, line := range r.Lines {
		if name, ok := strings.CutPrefix(line, "*"); ok {
			t = &table{by: r.By, name: name}
			out = append(out, t)
			continue
		}
		f := words(line)
		if t == nil || len(f) < 2 {
			continue
		}
		if name, ok := strings.CutPrefix(f[0], ":"); ok {
			c := &chain{name: name}
			if f[1] != "-" {
				c.hook, c.policy = name, f[1]
			}
			if len(f) > 2 {
				c.packets = counter(f[2])
			}
			t.chains = append(t.chains, c)
			continue
		}
		var packets uint64
		if strings.HasPrefix(f[0], "[") {
			packets = counter(f[0])
			f, line = f[1:], strings.TrimSpace(line[strings.IndexByte(line, ']')+1:])
		}
		if len(f) < 2 || f[0] != "-A" {
			continue
		}
		if c := t.chain(f[1]); c != nil {
			one := iptablesRule(t, f[2:])
			_, line, _ = strings.Cut(line, f[1])
			one.text, one.packets = strings.TrimSpace(line), packets
			c.rules = append(c.rules, one)
		}
	}
	return out
}

// counter reads "[packets:bytes]".
func counter(s string) uint64 {
	packets, _, _ := strings.Cut(strings.Trim(s, "[]"), ":")
	n, _ := strconv.ParseUint(packets, 10, 64)
	return n
}

// words splits as iptables-save writes: words with spaces stand in quotes.
func words(line string) (out []string) {
	var word strings.Builder
	quoted, any := false, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && quoted && i+1 < len(line):
			i++
			word.WriteByte(line[i])
		case c == '"':
			quoted, any = !quoted, true
		case c == ' ' && !quoted:
			if any {
				out = append(out, word.String())
			}
			word.Reset()
			any = false
		default:
			word.WriteByte(c)
			any = true
		}
	}
	if any {
		out = append(out, word.String())
	}
	return out
}

// harmless are targets that let the packet go on to the next rule.
var harmless = []string{"LOG", "NFLOG", "ULOG", "MARK", "CONNMARK", "TRACE", "CHECKSUM", "TCPMSS", "DSCP", "TOS", "TTL", "CLASSIFY",
	"SECMARK", "CONNSECMARK", "SET", "AUDIT", "CT", "NOTRACK", "RATEEST", "TEE"}

func iptablesRule(t *table, f []string) rule {
	var r rule
	negate := false
	for i := 0; i < len(f); i++ {
		word := f[i]
		if word == "!" {
			negate = true
			continue
		}
		if !strings.HasPrefix(word, "-") {
			continue // an argument of something unknown
		}
		value := ""
		if i+1 < len(f) {
			value = f[i+1]
		}
		var c condition
		switch word {
		case "-m", "--match", "--comment", "--reject-with", "--log-prefix", "--log-level", "--nflog-prefix", "--nflog-group":
			i++
			continue
		case "-j", "-g":
			switch {
			case value == accept || value == drop || value == reject || value == back:
				r.verdict = value
			case t.chain(value) != nil:
				r.jump, r.noReturn = value, word == "-g"
			case !slices.Contains(harmless, value):
				r.verdict = other
			}
			// What follows are the target's own options.
			return r
		case "-p":
			c = isProto(value)
			if value == "all" {
				c = nil
			}
		case "-s", "-d":
			r.narrow = true
			c = unclear
			if p, err := netip.ParsePrefix(value); err == nil {
				c = isAddr(word == "-s", []netip.Prefix{p})
			} else if a, err := netip.ParseAddr(value); err == nil {
				c = isAddr(word == "-s", []netip.Prefix{netip.PrefixFrom(a, a.BitLen())})
			}
		case "-i", "-o":
			c = isDev(word == "-i", value)
		case "--dport", "--sport", "--dports", "--sports":
			r.narrow = true
			c = unclear
			if ranges, ok := portRanges(value); ok {
				c = isPort(word[2] == 's', ranges)
			}
		case "--length":
			r.narrow = true
			c = unclear
			if ranges, ok := portRanges(value); ok {
				c = isSize(int(ranges[0][0]), int(ranges[0][1]))
			}
		case "--ctstate", "--state":
			c = isState(strings.Split(value, ","))
		case "--dst-type":
			// At INPUT the packet is for this node, at OUTPUT for another.
			c = func(p packet) answer {
				return answerOf(p.incoming && value == "LOCAL" || !p.incoming && value == "UNICAST")
			}
		case "--src-type":
			c = func(p packet) answer {
				return answerOf(!p.incoming && value == "LOCAL" || p.incoming && value == "UNICAST")
			}
		case "--tcp-flags":
			i++ // it has two
			c = unclear
			if i+1 < len(f) && f[i] == "FIN,SYN,RST,ACK" && f[i+1] == "SYN" {
				c = isProto("tcp")
			}
		default:
			// It may have any number of arguments.
			r.conds = append(r.conds, unclear)
			negate = false
			continue
		}
		i++
		if c != nil {
			if negate {
				c = not(c)
			}
			r.conds = append(r.conds, c)
		}
		negate = false
	}
	return r
}

// portRanges reads "80", "1:1024" and lists of these.
func portRanges(s string) (out [][2]uint16, ok bool) {
	for part := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(part, ":")
		if !isRange {
			to = from
		}
		a, err := strconv.ParseUint(from, 10, 16)
		b, err2 := strconv.ParseUint(to, 10, 16)
		if err != nil || err2 != nil {
			return nil, false
		}
		out = append(out, [2]uint16{uint16(a), uint16(b)})
	}
	return out, true
}
