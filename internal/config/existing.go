package config

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// fillExisting fills in what the nodes of the provider existing leave open: a
// machine's address in the lab's network is the one that SSH connects to,
// unless the file says otherwise, and the lab's network is the smallest that
// holds them all; where none up to a /16 does, that of the first.
func fillExisting(l *Lab) {
	for i := range l.Nodes {
		n := &l.Nodes[i]
		if a, err := netip.ParseAddr(n.Address); err == nil && a.Is4() && !n.IP.IsValid() {
			n.IP = a
		}
		n.Login = n.Login.or(l.SSH.Login)
	}
	if l.Subnet.IsValid() {
		return
	}
	for _, n := range l.Nodes {
		switch {
		case !n.IP.IsValid():
		case !l.Subnet.IsValid():
			l.Subnet = netip.PrefixFrom(n.IP, 24).Masked()
		default:
			wider := l.Subnet
			for !wider.Contains(n.IP) {
				wider = netip.PrefixFrom(wider.Addr(), wider.Bits()-1).Masked()
			}
			if wider.Bits() >= widestSubnet { // else they lie in several
				l.Subnet = wider
			}
		}
	}
	if !l.Subnet.IsValid() {
		l.Subnet = defaultSubnet // no address at all, which is told elsewhere
	}
}

// or fills in what a node leaves open.
func (l Login) or(all Login) Login {
	if l.User == "" {
		l.User = all.User
	}
	if l.Port == 0 {
		l.Port = all.Port
	}
	if l.Key == "" {
		l.Key = all.Key
	}
	if l.Jump == "" {
		l.Jump = all.Jump
	}
	return l
}

// forVMs are the keys that say what VMs are made of.
var forVMs = []string{"acceleration", "cpus", "memory", "box.name", "box.version", "box.url"}

// checkExisting judges what the provider existing needs and what it has no use
// for.
func checkExisting(s *source, f *file, l *Lab) {
	const noUse = "has no effect with the provider existing"
	for _, key := range forVMs {
		if s.has(key) {
			s.warn(key, "", noUse)
		}
	}
	if len(f.nodes) == 0 {
		key := "provider"
		for _, k := range []string{"managers", "workers"} {
			if s.has(k) {
				key = k
			}
		}
		s.wrong(key, "list them under [[nodes]], each with its address", "machines that are there already cannot be counted up")
		return
	}
	owner := map[netip.Addr]int{}
	for i, n := range f.nodes {
		for _, name := range []string{"cpus", "memory"} {
			if s.has(nodeKey(i, name)) {
				s.warn(nodeKey(i, name), "", noUse)
			}
		}
		ip, key := l.Nodes[i].IP, nodeKey(i, "ip")
		if n.Address == "" && !s.isWrong(nodeKey(i, "address")) {
			s.wrong(fmt.Sprintf("nodes[%d]", i), "set address to what `ssh` would be given", "%s has no address", l.Nodes[i].Name)
			continue
		}
		if !ip.IsValid() {
			if !s.isWrong(key) {
				s.wrong(nodeKey(i, "address"), "set ip as well", "%q is a name: at which address the other nodes reach this one is not known", n.Address)
			}
			continue
		}
		if !s.has(key) {
			key = nodeKey(i, "address")
		}
		k, taken := owner[ip]
		switch {
		case taken:
			s.wrong(key, "give each node its own ip", "%s is already the address of nodes[%d]", ip, k)
		case ip.IsLoopback() || ip.IsMulticast() || ip.IsUnspecified() || ip.IsLinkLocalUnicast():
			s.wrong(key, "set ip to the one at which the other nodes reach it", "%s is no address at which other machines reach this one", ip)
		case s.has("subnet") && f.subnet.IsValid() && !f.subnet.Contains(ip):
			s.wrong(key, "correct one of the two, or leave subnet out", "%s is outside the subnet %s", ip, f.subnet)
		default:
			checkDockerNetworks(s, l, key, ip)
		}
		if !taken {
			owner[ip] = i
		}
	}
}

// checkDockerNetworks finds a machine's address in networks that Docker makes
// on every node, which would then be taken for its own.
func checkDockerNetworks(s *source, l *Lab, key string, ip netip.Addr) {
	for _, o := range occupied[1:] { // VirtualBox is not there
		if o.prefix.Contains(ip) {
			s.wrong(key, "", "%s lies in %s, %s: Docker on the other nodes would look for it there", ip, o.prefix, o.what)
			return
		}
	}
	if l.Swarm.DefaultAddressPool == nil && enginePool.Contains(ip) && !s.isWrong("swarm.default-address-pool") {
		s.wrong(key, `set swarm.default-address-pool to a network that is free there, as in ["172.20.0.0/16"]`,
			"%s lies in %s, from which Docker takes the ingress and overlay networks", ip, enginePool)
	}
}

var (
	// hostPattern is a host name, an address, or an alias of ~/.ssh/config.
	hostPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:%-]*$`)
	userPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@\\-]*$`)
	jumpPattern = regexp.MustCompile(`^([A-Za-z0-9_][A-Za-z0-9_.\\-]*@)?[A-Za-z0-9_\[][A-Za-z0-9_.:%\]-]*(,([A-Za-z0-9_][A-Za-z0-9_.\\-]*@)?[A-Za-z0-9_\[][A-Za-z0-9_.:%\]-]*)*$`)
)

// checkLogins judges the keys that are there for existing machines alone.
// What they hold becomes arguments of ssh, so none may look like an option.
func checkLogins(s *source, f *file, l *Lab) {
	checkLogin := func(prefix string, login Login) {
		given := func(name, value string, pattern *regexp.Regexp, hint string) {
			key := prefix + "." + name
			switch {
			case !s.has(key) || s.isWrong(key):
			case l.Provider != Existing && prefix == "ssh" && !s.isWrong("provider"):
				s.warn(key, "", "has no effect with the provider %s", l.Provider)
			case l.Provider != Existing && !s.isWrong("provider"):
				s.wrong(key, `it belongs to provider = "existing"`, "has no meaning with the provider %s", l.Provider)
			case value == "":
				s.wrong(key, hint, "is empty")
			case strings.ContainsFunc(value, unprintable):
				s.wrong(key, "", "holds a character that cannot be printed")
			case pattern != nil && !pattern.MatchString(value):
				s.wrong(key, hint, "%q cannot be read", value)
			}
		}
		given("user", login.User, userPattern, "write it like debian")
		given("key", login.Key, nil, "write it like ~/.ssh/id_ed25519")
		given("jump", login.Jump, jumpPattern, "write it like user@bastion.example:22")
		given("port", fmt.Sprint(login.Port), nil, "")
		if key := prefix + ".port"; s.has(key) {
			checkNumber(s, key, login.Port, 65535)
		}
		if prefix == "ssh" {
			given("config", f.ssh.Config, nil, "write it like ~/.ssh/config")
			given("known-hosts", f.ssh.KnownHosts, nil, "write it like known_hosts")
		}
	}
	checkLogin("ssh", f.ssh.Login)
	for i, n := range f.nodes {
		checkLogin(fmt.Sprintf("nodes[%d]", i), n.Login)
		key := nodeKey(i, "address")
		switch {
		case !s.has(key) || s.isWrong(key):
		case l.Provider != Existing && !s.isWrong("provider"):
			s.wrong(key, `it belongs to provider = "existing"; a VM's address is its ip`, "has no meaning with the provider %s", l.Provider)
		case !hostPattern.MatchString(n.Address):
			s.wrong(key, "write it like 203.0.113.5 or pc17.example", "%q is no host name or address", n.Address)
		}
	}
}
