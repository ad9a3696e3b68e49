package config

import (
	"fmt"
	"net/url"
	"regexp"
)

// or fills in what a node leaves open.
func (p Place) or(all Place) Place {
	if p.URI == "" {
		p.URI = all.URI
	}
	if p.Bridge == "" {
		p.Bridge = all.Bridge
	}
	return p
}

var (
	// bridgePattern: Linux allows a network interface a name of 15 characters.
	bridgePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$`)
	// uriPattern leaves out what a shell would read: Vagrant's plugin writes
	// the parts of a URI into a command.
	uriPattern = regexp.MustCompile(`^[A-Za-z0-9_.@:/?=&%+,~-]*$`)
)

// uriHint is how a URI is written.
const uriHint = "write it like qemu+ssh://user@host.example/system, or " + LocalHypervisor

// checkHypervisors judges what says on which hypervisors the nodes lie, and
// how they come together there.
func checkHypervisors(s *source, f *file, l *Lab) {
	checkPlace := func(prefix string, p Place) {
		for _, name := range []string{"uri", "bridge", "subnet"} {
			key := prefix + "." + name
			if l.Provider == Libvirt || s.isWrong("provider") || !s.has(key) || s.isWrong(key) {
				continue
			}
			if prefix == "libvirt" {
				s.warn(key, "", "has no effect with the provider %s", l.Provider)
				continue
			}
			hint := `it belongs to provider = "libvirt"`
			if name == "subnet" {
				hint += "; the lab's own subnet stands above the first [table] of the file"
			}
			s.wrong(key, hint, "has no meaning with the provider %s", l.Provider)
		}
		if key := prefix + ".uri"; s.has(key) && !s.isWrong(key) {
			checkURI(s, key, p.URI)
		}
		if key := prefix + ".bridge"; s.has(key) && !s.isWrong(key) && !bridgePattern.MatchString(p.Bridge) {
			s.wrong(key, "write it like br0", "%q is no name of a bridge", p.Bridge)
		}
	}
	checkPlace("libvirt", f.libvirt)
	readable := !s.isWrong("libvirt.uri")
	for i, n := range f.nodes {
		checkPlace(fmt.Sprintf("nodes[%d]", i), n.Place)
		readable = readable && !s.isWrong(nodeKey(i, "uri"))
	}
	if l.Provider != Libvirt || !readable {
		return
	}
	several := len(l.Hypervisors()) > 1
	for i, n := range l.Nodes {
		key := fmt.Sprintf("nodes[%d]", i)
		switch {
		case n.Bridge != "" || s.isWrong(key+".bridge") || s.isWrong("libvirt.bridge"):
		case several:
			s.wrong(key, "set bridge to one that is there on its hypervisor and leads to the others, here or under [libvirt]",
				"%s lies on %s and others on another hypervisor, but the network that labctl makes ends at each of them", n.Name, n.Hypervisor())
		case n.Subnet.IsValid():
			s.wrong(key+".subnet", "set bridge to one that leads to the router between the subnets",
				"%s has a subnet of its own, but the network that labctl makes has no way out", n.Name)
		}
	}
}

// checkURI never repeats the URI, which may hold a password.
func checkURI(s *source, key, text string) {
	u, err := url.Parse(text)
	if err != nil || !uriPattern.MatchString(text) {
		s.wrong(key, uriHint, "cannot be read as the URI of a hypervisor")
		return
	}
	_, password := u.User.Password()
	switch {
	case u.Scheme != "qemu" && u.Scheme != "qemu+unix" && u.Scheme != "qemu+ssh":
		s.wrong(key, uriHint, "%q is no kind of hypervisor that labctl can reach", u.Scheme)
	case u.Path != "/system":
		s.wrong(key, uriHint, "names no system libvirt: its path is not /system")
	case password:
		s.wrong(key, "give the user a key there: `ssh-copy-id`", "holds a password, which libvirt does not take")
	case u.Scheme != "qemu+ssh" && u.Host != "":
		s.wrong(key, uriHint, "names a host, but not how to reach it")
	case u.Scheme == "qemu+ssh" && !hostPattern.MatchString(u.Hostname()):
		s.wrong(key, uriHint, "names no host")
	case u.Scheme == "qemu+ssh" && u.User != nil && !userPattern.MatchString(u.User.Username()):
		s.wrong(key, uriHint, "names a user that cannot be one")
	}
}

// checkSubnets judges the nodes' own subnets, beside each other and the lab's.
func checkSubnets(s *source, f *file, l *Lab) {
	if l.Provider != Libvirt {
		return
	}
	for i, n := range f.nodes {
		key := nodeKey(i, "subnet")
		if !n.Subnet.IsValid() || s.isWrong(key) {
			continue
		}
		checkSubnet(s, l, key, n.Subnet)
		for _, other := range l.Subnets() {
			if other != n.Subnet && other.Overlaps(n.Subnet) && !s.isWrong(key) {
				s.wrong(key, "take the same one, or one beside it", "%s overlaps %s, in which other nodes are", n.Subnet, other)
			}
		}
	}
}
