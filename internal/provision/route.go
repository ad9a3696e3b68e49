package provision

import (
	"context"
	"net/netip"
	"strings"

	"labctl/internal/remote"
)

// Route lets the node reach other networks through a router, now and after
// every boot. changed is false if it did.
func Route(ctx context.Context, r remote.Runner, node string, via netip.Addr, to []netip.Prefix) (changed bool, err error) {
	text, err := script("route.sh")
	if err != nil {
		return false, err
	}
	argv := []string{"sudo", "-n", "sh", "-eu", "-s", "--", via.String()}
	for _, p := range to {
		argv = append(argv, p.String())
	}
	n := &news{}
	res, err := r.Run(ctx, remote.Command{Argv: argv, Stdin: strings.NewReader(text), Stdout: n})
	return n.changed, failure(node, "set routes", res, err)
}
