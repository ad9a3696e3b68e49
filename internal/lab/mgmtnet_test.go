package lab

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/config"
	"labctl/internal/remote"
)

// nets is a host on which virsh knows some networks.
type nets struct {
	known string
	asked []string
	xml   string
}

func (n *nets) Run(_ context.Context, c remote.Command) (remote.Result, error) {
	n.asked = append(n.asked, strings.Join(c.Argv, " "))
	if strings.Contains(n.asked[len(n.asked)-1], "net-define") {
		text, err := io.ReadAll(c.Stdin)
		n.xml = string(text)
		return remote.Result{Argv: c.Argv}, err
	}
	return remote.Result{Argv: c.Argv, Stdout: n.known}, nil
}

func TestDefineManagement(t *testing.T) {
	const list = "virsh -q -c qemu:///system net-list --all --name"
	e := onEngine(t)
	host := &nets{known: "default\n"}
	e.Host = host
	if err := e.defineManagement(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{list, "virsh -q -c qemu:///system net-define /dev/stdin"}, host.asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	want := `<network xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0' ipv6='yes'>
  <name>lab-mgmt</name>
  <bridge stp='off' delay='0'/>
  <forward mode='nat'/>
  <ip address='192.168.121.1' netmask='255.255.255.0'><dhcp><range start='192.168.121.2' end='192.168.121.254'/></dhcp></ip>
  <dnsmasq:options><dnsmasq:option value='no-ping'/></dnsmasq:options>
</network>
`
	if diff := cmp.Diff(want, host.xml); diff != "" {
		t.Errorf("network (-want +got):\n%s", diff)
	}
	// Where it is, it stays as it is; another provider's is Vagrant's own.
	host = &nets{known: "default\nlab-mgmt\n"}
	e.Host = host
	if err := e.defineManagement(t.Context()); err != nil || !cmp.Equal([]string{list}, host.asked) {
		t.Errorf("%v, asked %q", err, host.asked)
	}
	host = &nets{}
	e.Host, e.Choice.Provider = host, config.Libvirt
	if err := e.defineManagement(t.Context()); err != nil || host.asked != nil {
		t.Errorf("libvirt: %v, asked %q", err, host.asked)
	}
}
