package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// anotherSubnet is what to type to give a network other addresses.
func (j *judge) anotherSubnet(o overlay) string {
	lines := j.again(o, []netip.Prefix{j.freeSubnet()}, "")
	return strings.Replace(lines, ":", ", with any subnet that is free:", 1)
}

// again is what to type to create a network anew.
func (j *judge) again(o overlay, subnets []netip.Prefix, options string) string {
	var lines []string
	manager := "a manager"
	if j.Swarm != nil {
		manager = j.Swarm.By
	} else if i := slices.IndexFunc(j.Nodes, func(n Node) bool { return n.Member.Manager }); i >= 0 {
		manager = j.Nodes[i].Name
	}
	services := j.services(o)
	if len(services) > 0 {
		lines = append(lines, "docker service rm "+strings.Join(services, " "))
	}
	kind := ""
	if o.Ingress {
		kind = "--ingress "
	}
	for _, s := range subnets {
		kind += "--subnet " + s.String() + " "
	}
	lines = append(lines, "docker network rm "+o.Name, fmt.Sprintf("docker network create -d overlay %s%s%s", kind, options, o.Name))
	if len(services) > 0 {
		lines = append(lines, "and create "+strings.Join(services, ", ")+" again")
	}
	return "on " + manager + ":\n" + strings.Join(lines, "\n")
}

// freeSubnet proposes one that nothing known overlaps.
func (j *judge) freeSubnet() netip.Prefix {
	taken := []netip.Prefix{j.Subnet}
	for _, o := range j.overlays {
		taken = append(append(taken, o.Subnets...), o.Wanted...)
	}
	for _, n := range j.Nodes {
		for _, w := range n.Networks {
			taken = append(taken, w.Subnets...)
		}
		for _, r := range n.Routes {
			taken = append(taken, r.Dst)
		}
		for _, a := range n.Nameservers {
			taken = append(taken, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	var p netip.Prefix
	for i := range 256 * 200 {
		p = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(20 + i/256), byte(i % 256), 0}), 24)
		if !overlap([]netip.Prefix{p}, taken) {
			break
		}
	}
	return p
}
