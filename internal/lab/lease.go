package lab

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"labctl/internal/vagrant"
)

// lease is what the embedded engine's libvirt notes of an address that its DHCP
// server has given.
type lease struct {
	IP     string `json:"ip-address"`
	MAC    string `json:"mac-address"`
	Expiry int64  `json:"expiry-time"`
}

// leases returns those of all networks by card. A file that is just being
// written is read at the next look.
func (e *Env) leases() map[string]lease {
	out := map[string]lease{}
	files, _ := filepath.Glob(filepath.Join(e.Engine().Dir, "lib", "dnsmasq", "*.status"))
	for _, f := range files {
		var list []lease
		if data, err := os.ReadFile(f); err != nil || json.Unmarshal(data, &list) != nil {
			continue
		}
		for _, l := range list {
			out[l.MAC] = l
		}
	}
	return out
}

// leaseEvery is how often the leases are looked at: a file of this machine.
// Vagrant looks every one to three seconds, which are the node's busiest.
const leaseEvery = 100 * time.Millisecond

// awaitLease calls found when a node that boots has got an address, unless ctx
// ends before. A lease from before does not count.
func (e *Env) awaitLease(ctx context.Context, node string, found func(host string)) {
	mac := vagrant.ManagementMAC(e.id(), node)
	before := e.leases()[mac]
	tick := time.NewTicker(leaseEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if l, ok := e.leases()[mac]; ok && l != before {
				found(l.IP)
				return
			}
		}
	}
}
