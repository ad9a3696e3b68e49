package engine

import (
	"context"

	"labctl/internal/remote"
)

// ForwardAtOnce lets the bridges of an embedded engine pass packets as soon as
// a VM is plugged in. libvirt turns the spanning tree protocol on, with which
// the kernel keeps a new port silent for four seconds; in a namespace without
// loops, and where VMs are plugged in anew at every revert, that is only lost
// time. It must run inside the engine: the host's own bridges are not ours.
func ForwardAtOnce(ctx context.Context, host remote.Runner) error {
	_, err := remote.Check(ctx, host, "host", remote.Script(`ip -o link show type bridge | while IFS=': ' read -r _ name _; do
  ip link set dev "$name" type bridge stp_state 0
done`))
	return err
}
