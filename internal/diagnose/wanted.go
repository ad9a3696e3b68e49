package diagnose

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"labctl/internal/remote"
)

// The Engine API hides the subnet that was asked for as long as a network has
// not got it. Two other places on a manager know more: the engine's log says
// why, and the swarm's own control socket, which the engine itself speaks
// with, knows the wish. Both are only read, and only when such a network is
// there. The socket wants the node's own certificate: root may read it where
// it lies, and it goes through a pipe, never into a file or an argument.
const (
	refusedScript = `journalctl -u docker --no-pager -q -o cat | grep 'Failed allocation for network' | tail -n 50
`

	wantedScript = `certs=/var/lib/docker/swarm/certificates
printf '\000\000\000\000\000' | curl -sS --fail --noproxy '*' --max-time 10 --http2 \
	--unix-socket /run/docker/swarm/control.sock \
	--cacert "$certs/swarm-root-ca.crt" --cert "$certs/swarm-node.crt" --key /dev/fd/3 \
	-H 'content-type: application/grpc' -H 'te: trailers' --data-binary @- \
	https://swarm-manager/docker.swarmkit.v1.Control/ListNetworks 3<<END | base64
$(sed '/: /d; /^$/d' "$certs/swarm-node.key")
END
`
)

// unallocated tells a swarm network that has got no addresses.
func (w Network) unallocated() bool { return w.Scope == "swarm" && w.Driver == "" }

// askWanted completes the networks that have no addresses yet. That it cannot
// is no error: Judge then says less.
func (n *Node) askWanted(ctx context.Context, r remote.Runner) {
	if !slices.ContainsFunc(n.Networks, Network.unallocated) {
		return
	}
	if res, err := remote.Check(ctx, r, n.Name, asRoot(refusedScript)); err == nil {
		for line := range strings.Lines(res.Stdout) {
			for _, w := range n.Networks {
				if w.unallocated() && strings.Contains(line, w.ID) && !slices.Contains(n.RefusedNets, w.ID) && strings.Contains(line, "overlaps") {
					n.RefusedNets = append(n.RefusedNets, w.ID)
				}
			}
		}
	}
	res, err := remote.Check(ctx, r, n.Name, asRoot(wantedScript))
	if err != nil {
		return
	}
	data, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(res.Stdout, "\n", ""))
	if err != nil {
		return
	}
	wanted, err := readWanted(data)
	if err != nil {
		return
	}
	for i, w := range n.Networks {
		if w.unallocated() {
			n.Networks[i].Wanted = wanted[w.ID]
		}
	}
}

func asRoot(script string) remote.Command {
	return remote.Command{Argv: []string{"sudo", "-n", "sh", "-eu"}, Stdin: strings.NewReader(script)}
}

// readWanted reads the answer of the swarm's ListNetworks: for each network
// id the subnets of its specification. The frame of gRPC stands in front.
func readWanted(data []byte) (map[string][]netip.Prefix, error) {
	if len(data) < 5 || data[0] != 0 {
		return nil, fmt.Errorf("no gRPC answer: %d bytes", len(data))
	}
	out := map[string][]netip.Prefix{}
	err := fields(data[5:], func(num uint64, network []byte) error {
		if num != 1 {
			return nil
		}
		var id string
		var subnets []netip.Prefix
		err := fields(network, func(num uint64, value []byte) error {
			switch num {
			case 1:
				id = string(value)
			case 3: // the specification
				var err error
				subnets, err = specSubnets(value)
				return err
			}
			return nil
		})
		out[id] = subnets
		return err
	})
	return out, err
}

// specSubnets reads spec.ipam.configs[].subnet.
func specSubnets(spec []byte) (out []netip.Prefix, err error) {
	err = fields(spec, func(num uint64, ipam []byte) error {
		if num != 5 {
			return nil
		}
		return fields(ipam, func(num uint64, config []byte) error {
			if num != 3 {
				return nil
			}
			return fields(config, func(num uint64, subnet []byte) error {
				if p, err := netip.ParsePrefix(string(subnet)); num == 2 && err == nil {
					out = append(out, p.Masked())
				}
				return nil
			})
		})
	})
	return out, err
}

// fields walks the fields of one protobuf message and hands over those that
// hold bytes: strings and messages.
func fields(msg []byte, each func(num uint64, value []byte) error) error {
	for len(msg) > 0 {
		key, n := varint(msg)
		if n == 0 {
			return errMessage
		}
		msg = msg[n:]
		size, n := uint64(0), 0
		switch key & 7 {
		case 0:
			if _, n = varint(msg); n == 0 {
				return errMessage
			}
		case 1:
			size = 8
		case 2:
			if size, n = varint(msg); n == 0 {
				return errMessage
			}
		case 5:
			size = 4
		default:
			return errMessage
		}
		msg = msg[n:]
		if size > uint64(len(msg)) {
			return errMessage
		}
		if key&7 == 2 {
			if err := each(key>>3, msg[:size]); err != nil {
				return err
			}
		}
		msg = msg[size:]
	}
	return nil
}

var errMessage = fmt.Errorf("not a protobuf message")

// varint reads one number; n is 0 if there is none.
func varint(b []byte) (v uint64, n int) {
	for i := 0; i < len(b) && i < 10; i++ {
		v |= uint64(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}
