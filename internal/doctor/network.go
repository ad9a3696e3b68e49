package doctor

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"labctl/internal/config"
	"labctl/internal/vagrant"
)

func judgeSubnet(f *Facts) []Finding {
	switch {
	case !f.shared() && f.Provider != config.Embedded:
		return []Finding{fine("subnet", "%s lies on bridges that are there already", f.Lab.Subnet)}
	case !f.shared():
		return []Finding{fine("subnet", "%s is in the embedded engine's own network", f.Lab.Subnet)}
	case f.Stands:
		return []Finding{fine("subnet", "%s is on this host because of the lab's own VMs", f.Lab.Subnet)}
	case f.SubnetTaken != nil:
		x := found("subnet", Problem, "", "%s", f.SubnetTaken.Error())
		if h, ok := f.SubnetTaken.(interface{ Hint() string }); ok {
			x.Remedy = h.Hint()
		}
		x.Cause = f.SubnetTaken
		return []Finding{x}
	}
	return []Finding{fine("subnet", "%s is free on this host", f.Lab.Subnet)}
}

func judgeOtherLab(f *Facts) []Finding {
	o := f.OtherLab
	if o == nil || !f.shared() || f.Stands {
		return nil
	}
	remedy := fmt.Sprintf("set another subnet in lab.toml, for example subnet = %q, or destroy the other lab", FreeSubnet(f.Lab, f.Uses, o.Subnet))
	switch {
	case o.Name == "":
		return []Finding{found("other labs", Warning, remedy, "the network %s of %s has addresses of the lab's subnet, %s", o.Net, f.Provider, o.Subnet)}
	case o.Name == f.Lab.Name:
		return []Finding{found("other labs", Problem, "rename this lab in lab.toml, or destroy the other one, in its folder",
			"a lab of the same name, %s, in another folder has the network %s, %s", o.Name, o.Net, o.Subnet)}
	}
	return []Finding{found("other labs", Problem, remedy, "lab %q has the subnet %s on this host already (network %s)", o.Name, o.Subnet, o.Net)}
}

// FreeSubnet names a /24 that neither the host nor lab.toml nor taken has.
func FreeSubnet(l *config.Lab, uses []Use, taken ...netip.Prefix) string {
	taken = append(append(taken, l.Subnet), l.Swarm.DefaultAddressPool...)
	for _, u := range uses {
		taken = append(taken, u.Addr.Masked())
	}
	for third := 56; third < 120; third++ {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(third), 0}), 24)
		if !slices.ContainsFunc(taken, p.Overlaps) {
			return p.String()
		}
	}
	return usualRange.Addr().String() + "/24"
}

// judgeManagement: libvirt puts the management network onto this host, and
// refuses to if something is there. Its address follows from the lab's name.
func judgeManagement(f *Facts) []Finding {
	if f.Provider != config.Libvirt || f.Stands {
		return nil
	}
	m := vagrant.ManagementSubnet(f.Lab, f.Provider)
	for _, u := range f.Uses {
		// A bridge of libvirt is one that an earlier lab has left, and is taken
		// again. A route to a larger network is none into this one.
		if !u.Addr.Overlaps(m) || u.Route && u.Addr.Bits() < m.Bits() || strings.HasPrefix(u.Interface, "virbr") {
			continue
		}
		what := "of the host's interface " + u.Interface
		if u.Route {
			what = "to which the host has a route through " + u.Interface
		}
		return []Finding{found("management", Problem, "rename the lab in lab.toml: the management network's address follows from its name",
			"the management network %s overlaps %s %s", m, u.Addr, what)}
	}
	return nil
}

func judgeTunnels(f *Facts) []Finding {
	if !f.shared() || f.Stands {
		return nil
	}
	for _, u := range f.Uses {
		// A default route, or half of one, is narrower than no lab's subnet.
		if !u.Tunnel || !u.Route || u.Addr.Bits() < 2 || u.Addr.Bits() >= f.Lab.Subnet.Bits() || !u.Addr.Overlaps(f.Lab.Subnet) {
			continue
		}
		return []Finding{found("vpn", Warning, fmt.Sprintf("if the nodes do not answer while the VPN is up: subnet = %q in lab.toml", FreeSubnet(f.Lab, f.Uses)),
			"the route to %s through the tunnel %s covers the lab's subnet %s, and a VPN client may insist on it", u.Addr, u.Interface, f.Lab.Subnet)}
	}
	return nil
}

func judgeNameservers(f *Facts) []Finding {
	if !f.shared() || f.Stands {
		return nil
	}
	var out []Finding
	for _, a := range f.Nameservers {
		if f.Lab.Subnet.Contains(a) {
			out = append(out, found("nameserver", Problem, fmt.Sprintf("set subnet = %q in lab.toml", FreeSubnet(f.Lab, f.Uses)),
				"the host's nameserver %s lies in the lab's subnet %s: the host would look for it among the nodes", a, f.Lab.Subnet))
		}
	}
	return out
}

// proxyVariables are those that catch plain HTTP, which is how scenarios ask
// the nodes from this host.
var proxyVariables = []string{"http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"}

func judgeProxy(f *Facts) []Finding {
	name := ""
	for _, v := range proxyVariables {
		if f.Environment[v] != "" {
			name = v
			break
		}
	}
	if name == "" {
		return nil
	}
	spared := f.Environment["no_proxy"]
	if spared == "" {
		spared = f.Environment["NO_PROXY"]
	}
	var caught []string
	for _, n := range f.Lab.Nodes {
		if !spares(spared, n.IP) {
			caught = append(caught, n.IP.String())
		}
	}
	if caught == nil {
		return []Finding{fine("proxy", "%s is set, and no_proxy spares the nodes", name)}
	}
	list := strings.Join(caught, ",")
	if spared != "" {
		list = spared + "," + list
	}
	return []Finding{found("proxy", Warning, "export no_proxy="+list,
		"%s is set and no_proxy does not name %s: what asks the nodes from this host would ask the proxy", name, strings.Join(caught, ", "))}
}

// spares says whether a no_proxy has this address. A range counts: curl reads
// it since 7.86.
func spares(list string, a netip.Addr) bool {
	for _, w := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		if w == "*" || w == a.String() {
			return true
		}
		if p, err := netip.ParsePrefix(w); err == nil && p.Contains(a) {
			return true
		}
	}
	return false
}

func judgeLeftovers(f *Facts) []Finding {
	if f.Provider == config.VirtualBox && len(f.VirtualBoxLeftovers) > 0 {
		var remove []string
		for _, name := range f.VirtualBoxLeftovers {
			remove = append(remove, "VBoxManage unregistervm "+name+" --delete")
		}
		return []Finding{found("leftovers", Problem, "was .labctl/.vagrant deleted? power them off, then "+strings.Join(remove, "; "),
			"these VMs have this lab's mark, but Vagrant does not know them and cannot make others of their name: %s", strings.Join(f.VirtualBoxLeftovers, ", "))}
	}
	if len(f.Leftovers) == 0 {
		return nil
	}
	return []Finding{found("leftovers", Warning, "`labctl create --force` removes them and makes these VMs anew, `labctl destroy` takes them all down",
		"this lab's mark is on what Vagrant does not know: %s", strings.Join(f.Leftovers, ", "))}
}

// sortedKeys helps to keep findings in an order that does not change.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
