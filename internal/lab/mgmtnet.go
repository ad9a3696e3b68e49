package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"labctl/internal/config"
	"labctl/internal/remote"
	"labctl/internal/vagrant"
)

// managementXML is the network that Vagrant would define itself, with one
// difference: dnsmasq does not ping each address for three seconds, one VM
// after the other, before it offers it. Here nobody else can have taken it.
const managementXML = `<network xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0' ipv6='yes'>
  <name>%s</name>
  <bridge stp='off' delay='0'/>
  <forward mode='nat'/>
  <ip address='%s' netmask='%s'><dhcp><range start='%s' end='%s'/></dhcp></ip>
  <dnsmasq:options><dnsmasq:option value='no-ping'/></dnsmasq:options>
</network>
`

// defineManagement defines the network over which Vagrant reaches the VMs of
// an embedded engine, unless it is there. Vagrant then takes it.
func (e *Env) defineManagement(ctx context.Context) error {
	if e.Choice.Provider != config.Embedded {
		return nil
	}
	virsh := func(stdin string, args ...string) (remote.Result, error) {
		return remote.Check(ctx, e.Host, "host", remote.Command{
			Argv: append([]string{"virsh", "-q", "-c", "qemu:///system"}, args...), Stdin: strings.NewReader(stdin),
		})
	}
	// A name of a lab is a DNS label, which XML takes as it is.
	name := vagrant.ManagementNetwork(e.Lab.Name)
	have, err := virsh("", "net-list", "--all", "--name")
	if err != nil || hasWord(have.Stdout, name) {
		return err
	}
	_, err = virsh(managementNetwork(name, vagrant.ManagementSubnet(e.Lab, config.Embedded)), "net-define", "/dev/stdin")
	return err
}

// managementNetwork describes the network: the host has the first address of
// the subnet, DHCP the others, as Vagrant has it.
func managementNetwork(name string, subnet netip.Prefix) string {
	first := subnet.Masked().Addr().Next()
	last := first.As4()
	last[3] = 254 // every such subnet is a /24
	mask := net.IP(net.CIDRMask(subnet.Bits(), 32)).String()
	return fmt.Sprintf(managementXML, name, first, mask, first.Next(), netip.AddrFrom4(last))
}
