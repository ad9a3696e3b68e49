package swarm

import (
	"context"
	"fmt"
	"slices"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
)

const formAnew = "to form the swarm anew: labctl swarm leave, then labctl swarm form"

// Init makes m the first manager of a new swarm. A swarm that m manages
// already, at its own address and with the same options, is kept. Any other
// state is a *StateError: a swarm may hold services, so nothing is left here
// that a person has not told to leave.
func Init(ctx context.Context, m Member, o Options) (changed bool, err error) {
	return normal().init(ctx, m, o)
}

func (p pace) init(ctx context.Context, m Member, o Options) (bool, error) {
	info, err := p.settled(ctx, m)
	if err != nil {
		return false, err
	}
	if info.LocalNodeState != swarm.LocalNodeStateInactive {
		return false, checkLeader(m, o, info)
	}
	p.gateway(ctx, m)
	addr := m.Addr.String()
	act, cancel := context.WithTimeout(ctx, p.act)
	defer cancel()
	_, err = m.API.SwarmInit(act, client.SwarmInitOptions{
		ListenAddr:      listenAddr,
		AdvertiseAddr:   addr,
		DataPathAddr:    addr,
		DataPathPort:    uint32(o.DataPathPort),
		DefaultAddrPool: o.Pool,
		SubnetSize:      uint32(o.SubnetSize),
		Spec:            swarm.Spec{Dispatcher: swarm.DispatcherConfig{HeartbeatPeriod: o.Heartbeat}},
	})
	if err != nil {
		return false, failed(m, "swarm init", err)
	}
	// The engine answers when it leads the swarm; that it does so at its own
	// address is for Verify to see.
	s, err := p.inspect(ctx, m)
	if err != nil {
		return true, err
	}
	return true, checkOptions(m, o, s.ClusterInfo)
}

// formWrong is a first manager of another swarm than it is wanted to have.
func formWrong(m Member, format string, args ...any) error {
	return &StateError{Node: m.Name, Problem: fmt.Sprintf(format, args...), Remedy: formAnew}
}

// checkLeader says what is wrong with a first manager.
func checkLeader(m Member, o Options, info swarm.Info) error {
	switch info.LocalNodeState {
	case swarm.LocalNodeStateActive:
	case swarm.LocalNodeStateLocked:
		return locked(m)
	default:
		return formWrong(m, "its swarm state is %s%s, want active", info.LocalNodeState, detail(info))
	}
	if !info.ControlAvailable {
		return formWrong(m, "is a worker of a swarm, want it to be a manager")
	}
	if info.NodeAddr != m.Addr.String() {
		return formWrong(m, "is a manager at address %s, want %s", info.NodeAddr, m.Addr)
	}
	if info.Cluster == nil {
		return nil
	}
	return checkOptions(m, o, *info.Cluster)
}

// checkOptions says what the swarm has been given another value of.
func checkOptions(m Member, o Options, c swarm.ClusterInfo) error {
	// An engine leaves out what it does not know; 0 as a port is the default.
	if len(o.Pool) > 0 && len(c.DefaultAddrPool) > 0 && !slices.Equal(o.Pool, c.DefaultAddrPool) {
		return formWrong(m, "its swarm has the address pool %s, want %s", prefixes(c.DefaultAddrPool), prefixes(o.Pool))
	}
	if o.SubnetSize != 0 && c.SubnetSize != 0 && uint32(o.SubnetSize) != c.SubnetSize {
		return formWrong(m, "its swarm has the subnet size %d, want %d", c.SubnetSize, o.SubnetSize)
	}
	if has, want := dataPathPort(c.DataPathPort), dataPathPort(uint32(o.DataPathPort)); has != want {
		return formWrong(m, "its swarm has the data path port %d, want %d", has, want)
	}
	return nil
}

func dataPathPort(n uint32) uint32 {
	if n == 0 {
		return 4789
	}
	return n
}

func locked(m Member) error {
	return &StateError{Node: m.Name, Problem: "its swarm is locked",
		Remedy: fmt.Sprintf("unlock it with its key: labctl ssh %s -- docker swarm unlock; or %s", m.Name, formAnew)}
}

// detail is the engine's own word about a bad state.
func detail(info swarm.Info) string {
	if info.Error == "" {
		return ""
	}
	return " (" + redactText(info.Error) + ")"
}
