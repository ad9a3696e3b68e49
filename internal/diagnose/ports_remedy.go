package diagnose

import (
	"fmt"
	"strings"
)

func (c culprit) program() string {
	if c.table.by == "nft" {
		return "nft"
	}
	return "iptables" + strings.TrimPrefix(c.table.by, "iptables")
}

// place names a chain as its program does.
func (c culprit) place(in *chain) string {
	if c.table.by == "nft" {
		return c.table.family + " " + c.table.name + " " + in.name
	}
	return c.table.name + " " + in.name
}

// evidence shows the rule, or the chain that lets nothing else through.
func (c culprit) evidence() string {
	if c.rule == nil {
		return fmt.Sprintf("%s: %s, chain %s: no rule lets it through, and what is left is stopped", c.node, c.program(), c.place(c.base))
	}
	return fmt.Sprintf("%s: %s, chain %s: %s (%s so far)", c.node, c.program(), c.place(c.chain), c.rule.text, count(int(c.rule.packets), "packet"))
}

// letThrough is what to type so that a port is open again: away with the rule
// that is about it; but before a chain that stops all the rest comes a rule
// that lets the nodes through.
func (j *judge) letThrough(b blocked) []string {
	c := b.by
	chainName := c.base.name
	if c.rule != nil {
		chainName = c.chain.name
	}
	for _, t := range c.table.chains {
		if strings.HasPrefix(t.name, "ufw-") && (c.rule == nil || strings.HasPrefix(chainName, "ufw-")) {
			if !c.packet.incoming {
				return []string{on(c.node, fmt.Sprintf("sudo ufw prepend allow out to %s", j.Subnet))}
			}
			return []string{on(c.node, fmt.Sprintf("sudo ufw prepend allow from %s", j.Subnet))}
		}
	}
	if c.table.name == "firewalld" {
		return []string{on(c.node, fmt.Sprintf("sudo firewall-cmd --zone=trusted --add-source=%s", j.Subnet))}
	}
	ends, nftEnds := "-s "+j.Subnet.String(), "ip saddr "+j.Subnet.String()
	if !c.packet.incoming {
		ends, nftEnds = "-d "+j.Subnet.String(), "ip daddr "+j.Subnet.String()
	}
	port := "dport"
	if c.packet.dport == 0 {
		port = "sport"
	}
	switch {
	case c.table.by == "nft" && c.rule != nil:
		return []string{on(c.node, fmt.Sprintf("sudo nft delete rule %s handle %d", c.place(c.chain), c.rule.handle))}
	case c.table.by == "nft":
		return []string{on(c.node, fmt.Sprintf("sudo nft insert rule %s %s %s %s %d accept", c.place(c.base), nftEnds, b.proto, port, b.port))}
	}
	program := "sudo " + c.program()
	if c.table.name != "filter" {
		program += " -t " + c.table.name
	}
	if c.rule != nil {
		return []string{on(c.node, fmt.Sprintf("%s -D %s %s", program, c.chain.name, c.rule.text))}
	}
	return []string{on(c.node, fmt.Sprintf("%s -I %s %s -p %s --%s %d -j ACCEPT", program, c.base.name, ends, b.proto, port, b.port))}
}
