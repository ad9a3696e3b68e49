package config

import (
	"fmt"
	"net/netip"
	"slices"
)

// occupied are networks that every lab's nodes already know, and what for.
var occupied = []struct {
	prefix netip.Prefix
	what   string
}{
	{netip.MustParsePrefix("10.0.2.0/24"), "VirtualBox's NAT network"},
	{netip.MustParsePrefix("172.17.0.0/16"), "Docker's bridge docker0"},
	{netip.MustParsePrefix("172.18.0.0/16"), "Docker's bridge docker_gwbridge"},
}

// enginePool is what Docker cuts overlay networks from unless told otherwise,
// and the ingress network, 10.0.0.0/24, is the first of them.
var enginePool = netip.MustParsePrefix("10.0.0.0/8")

// Limits of the nodes' own network: /29 has room for five nodes beside the
// host, and nothing larger than /16 is needed.
const (
	widestSubnet    = 16
	narrowestSubnet = 29
)

// checkSubnet judges a network of nodes that key gives, the lab's or one of a
// node's own.
func checkSubnet(s *source, l *Lab, key string, n netip.Prefix) {
	if s.isWrong(key) {
		return
	}
	switch a := n.Addr(); {
	case n.Bits() > narrowestSubnet:
		s.wrong(key, "take a /24", "%s is too small for a lab", n)
		return
	case a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() || a.As4()[0] == 0 || a.As4()[0] >= 240:
		s.wrong(key, "choose another one, as 192.168.33.0/24", "%s is not for hosts", n)
		return
	case n.Bits() < widestSubnet:
		s.wrong(key, "take a /24", "%s is larger than a /%d", n, widestSubnet)
		return
	}
	for _, o := range occupied {
		if o.prefix.Overlaps(n) {
			s.wrong(key, "choose another one, as 192.168.33.0/24", "%s overlaps %s, %s", n, o.prefix, o.what)
			return
		}
	}
	if l.Swarm.DefaultAddressPool == nil && enginePool.Overlaps(n) && !s.isWrong("swarm.default-address-pool") {
		s.wrong(key, "choose another one, or set swarm.default-address-pool",
			"%s overlaps %s, from which Docker takes the ingress and overlay networks", n, enginePool)
		return
	}
	if !n.Addr().IsPrivate() {
		s.warn(key, "choose one like 192.168.33.0/24",
			"%s is not a private network: the real hosts of that range are out of reach while the lab stands", n)
	}
}

func checkPools(s *source, l *Lab) {
	pools := l.Swarm.DefaultAddressPool
	keyOf := func(i int) string { return fmt.Sprintf("swarm.default-address-pool[%d]", i) }
	size, sizeKey := l.Swarm.SubnetSize, "swarm.subnet-size"
	if size < 8 || size > narrowestSubnet {
		s.wrong(sizeKey, "take 24", "%d is not a prefix length between 8 and %d", size, narrowestSubnet)
	}
pools:
	for i, p := range pools {
		key := keyOf(i)
		if !p.IsValid() || s.isWrong(key) {
			continue
		}
		for _, o := range occupied {
			if o.prefix.Overlaps(p) {
				s.wrong(key, "choose another one, as 10.20.0.0/16", "%s overlaps %s, %s", p, o.prefix, o.what)
				continue pools
			}
		}
		for k, earlier := range pools[:i] {
			if earlier.IsValid() && earlier.Overlaps(p) {
				s.wrong(key, "keep one of the two", "%s overlaps %s, %s", p, earlier, keyOf(k))
				continue pools
			}
		}
		switch {
		case slices.ContainsFunc(l.Nodes, func(n Node) bool { return !l.Subnet.Contains(n.IP) && p.Contains(n.IP) }) && (l.Provider == Existing || len(l.Subnets()) > 1):
			s.wrong(key, "choose another one, as 10.20.0.0/16", "%s holds the address of a node: containers could not reach it", p)
		case !s.isWrong("subnet") && p.Overlaps(l.Subnet):
			s.wrong(key, "choose another one, as 10.20.0.0/16",
				"%s overlaps the nodes' own subnet %s: containers could not reach the nodes", p, l.Subnet)
		case !s.isWrong(sizeKey) && size < p.Bits():
			s.wrong(key, fmt.Sprintf("take a larger pool, or a swarm.subnet-size between %d and %d", p.Bits(), narrowestSubnet),
				"%s is too small for networks of /%d", p, size)
		}
	}
}

// checkAddresses judges the addresses that the file itself gives. Where the
// subnet is wrong anyway, none is blamed for being outside of it.
func checkAddresses(s *source, f *file, l *Lab) {
	owner := map[netip.Addr]int{}
	for i, n := range f.nodes {
		key := nodeKey(i, "ip")
		if !n.IP.IsValid() {
			continue
		}
		subnet, subnetKey := l.SubnetOf(n), "subnet"
		readable := !s.has(subnetKey) || f.subnet.IsValid()
		if own := nodeKey(i, "subnet"); s.has(own) {
			subnetKey, readable = own, n.Subnet.IsValid()
		}
		first, last := hostRange(subnet)
		hint := fmt.Sprintf("choose an address between %s and %s", first, last)
		if subnet.Bits() >= 24 && first.IsValid() && last.IsValid() {
			hint = fmt.Sprintf("choose an address between .%d and .%d", first.As4()[3], last.As4()[3])
		}
		k, taken := owner[n.IP]
		switch {
		case taken:
			s.wrong(key, "give each node its own address", "%s is already the address of nodes[%d]", n.IP, k)
		case !readable:
		case !subnet.Contains(n.IP):
			if !s.isWrong(subnetKey) {
				s.wrong(key, hint, "%s is outside the subnet %s", n.IP, subnet)
			}
		case n.IP == subnet.Addr():
			s.wrong(key, hint, "%s is the address of the subnet %s itself", n.IP, subnet)
		case n.IP == subnet.Addr().Next():
			s.wrong(key, hint, "%s is the host's own address in the subnet %s", n.IP, subnet)
		case n.IP == broadcast(subnet):
			s.wrong(key, hint, "%s is the broadcast address of the subnet %s", n.IP, subnet)
		}
		if !taken {
			owner[n.IP] = i
		}
	}
}

// checkDataPathPort returns the port if swarm init takes it, else the default.
func checkDataPathPort(s *source, key string, port int) int {
	switch {
	case port < 1024 || port > 49151:
		s.wrong(key, fmt.Sprintf("the usual one is %d", defaultDataPathPort), "%d is not between 1024 and 49151", port)
	case port == 2377 || port == 7946:
		s.wrong(key, fmt.Sprintf("the usual one is %d", defaultDataPathPort), "%d is used by Swarm itself", port)
	default:
		return port
	}
	return defaultDataPathPort
}
