package provision

import (
	"context"
	"net/netip"
	"strings"

	"labctl/internal/remote"
)

// ConfigureNetwork gives the node its address in the lab's network, on a
// guest with systemd-networkd where Vagrant was told not to. changed is false
// if the node had it.
func ConfigureNetwork(ctx context.Context, r remote.Runner, node string, addr netip.Prefix) (changed bool, err error) {
	text, err := script("network.sh")
	if err != nil {
		return false, err
	}
	n := &news{}
	res, err := r.Run(ctx, remote.Command{
		Argv:  []string{"sudo", "-n", "sh", "-eu", "-s", "--", addr.String()},
		Stdin: strings.NewReader(text), Stdout: n,
	})
	return n.changed, failure(node, "configure network", res, err)
}
