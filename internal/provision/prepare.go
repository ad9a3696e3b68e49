package provision

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"labctl/internal/remote"
)

// PrepareOptions says what a node shall be called and whom it shall know.
type PrepareOptions struct {
	Hostname string                // the node's name
	Peers    map[string]netip.Addr // every node's lab address, this node's too
	// Address is what the card of the lab's network gets, on a guest with
	// systemd-networkd where Vagrant was told not to; the zero value for none.
	Address  netip.Prefix
	User     string       // the SSH user, who joins the group docker
	Named    bool         // it has its name already, which stays
	Progress func(string) // nil for none
	// Clock is told how far the node's clock is ahead of this machine's, less
	// the time that the answer took; nil for none.
	Clock func(ahead time.Duration)
}

// Prepare gives the node its hostname, its address in the lab's network if
// that is left to labctl, the other nodes' names in /etc/hosts, the group docker
// with the SSH user in it, and the kernel modules that Swarm needs. It is one
// command; changed is false if all was there already. The group counts for
// connections that are opened afterwards.
func Prepare(ctx context.Context, r remote.Runner, o PrepareOptions) (changed bool, err error) {
	const step = "prepare"
	text, err := script("prepare.sh")
	if err != nil {
		return false, err
	}
	name := o.Hostname
	if o.Named {
		name = ""
	}
	address, network := "", ""
	if o.Address.IsValid() {
		address, network = o.Address.String(), o.Address.Masked().String()
	}
	argv := []string{"sudo", "-n", "sh", "-eu", "-s", "--", name, o.User, address, network}
	for _, name := range slices.SortedFunc(maps.Keys(o.Peers), func(a, b string) int {
		return cmp.Or(o.Peers[a].Compare(o.Peers[b]), cmp.Compare(a, b))
	}) {
		argv = append(argv, name+"="+o.Peers[name].String())
	}
	n := &news{progress: o.Progress, clock: func(text string) {
		if seconds, err := strconv.ParseFloat(text, 64); err == nil && o.Clock != nil {
			o.Clock(time.Until(time.UnixMicro(int64(seconds * 1e6))))
		}
	}}
	res, err := r.Run(ctx, remote.Command{Argv: argv, Stdin: strings.NewReader(text), Stdout: n})
	if err := failure(o.Hostname, step, res, err); err != nil {
		return n.changed, err
	}
	return n.changed, nil
}
