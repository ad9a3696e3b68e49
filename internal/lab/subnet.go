package lab

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"
	"net"
	"net/netip"
	"os"
	"strings"
)

// SubnetTakenError is a lab subnet that the host already uses.
type SubnetTakenError struct {
	Subnet    netip.Prefix
	Interface string
	Addr      netip.Prefix
	Route     bool // Addr is where a route leads, not an address
}

func (e *SubnetTakenError) Error() string {
	if e.Route {
		return fmt.Sprintf("the lab's subnet %s overlaps the host's route to %s through the interface %s", e.Subnet, e.Addr, e.Interface)
	}
	return fmt.Sprintf("the lab's subnet %s overlaps %s of the host's interface %s", e.Subnet, e.Addr, e.Interface)
}

// Hint names the change.
func (e *SubnetTakenError) Hint() string {
	return "choose another subnet in lab.toml, for example subnet = \"192.168.56.0/24\", or set provider = \"embedded\", whose network is its own"
}

// use is an address or a route of the host.
type use struct {
	Interface string
	Addr      netip.Prefix
	Route     bool
}

// subnetFree fails if an interface of the host lies in the lab's subnet, or a
// route leads into it.
func subnetFree(subnet netip.Prefix, host []use) error {
	for _, u := range host {
		if !subnet.Overlaps(u.Addr.Masked()) {
			continue
		}
		// A route to a larger network, as to the whole of a company, still
		// serves for all but the lab.
		if u.Route && u.Addr.Bits() < subnet.Bits() {
			continue
		}
		// The lab's own bridge has the first address, also one that an earlier
		// lab has left: Vagrant takes it again.
		own := strings.HasPrefix(u.Interface, "virbr") || strings.HasPrefix(u.Interface, "vboxnet")
		if own && (u.Route || u.Addr == netip.PrefixFrom(subnet.Addr().Next(), subnet.Bits())) {
			continue
		}
		return &SubnetTakenError{Subnet: subnet, Interface: u.Interface, Addr: u.Addr, Route: u.Route}
	}
	return nil
}

// hostUses lists the addresses of the host's interfaces and, on Linux, its
// routes.
func hostUses() ([]use, error) {
	ifaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var out []use
	for _, i := range ifaces {
		addrs, err := i.Addrs()
		if err != nil {
			continue // the interface went away
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				out = append(out, use{Interface: i.Name, Addr: p})
			}
		}
	}
	table, _ := os.ReadFile("/proc/net/route") // there on Linux alone
	return append(out, routes(string(table))...), nil
}

// routes reads /proc/net/route: a head, then "IFACE DESTINATION GATEWAY FLAGS …
// MASK", addresses in hexadecimal with their bytes reversed. The default route
// is left out.
func routes(table string) []use {
	var out []use
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 8 {
			continue
		}
		to, terr := hex.DecodeString(f[1])
		mask, merr := hex.DecodeString(f[7])
		if terr != nil || merr != nil || len(to) != 4 || len(mask) != 4 {
			continue // the head
		}
		n := bits.OnesCount32(binary.BigEndian.Uint32(mask))
		if n == 0 {
			continue
		}
		addr := netip.AddrFrom4([4]byte{to[3], to[2], to[1], to[0]})
		out = append(out, use{Interface: f[0], Addr: netip.PrefixFrom(addr, n), Route: true})
	}
	return out
}
