package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/moby/moby/client"
	"github.com/sirupsen/logrus"

	"labctl/internal/config"
	"labctl/internal/dockerapi"
	"labctl/internal/engine"
	"labctl/internal/existing"
	"labctl/internal/provision"
	"labctl/internal/remote"
	"labctl/internal/swarm"
	"labctl/internal/ui"
	"labctl/internal/vagrant"
)

// Env is what the steps of one command share: the lab, where its state lies,
// and the connections that are kept open until Close.
type Env struct {
	Lab     *config.Lab
	Dir     string // folder of lab.toml
	Cache   string // the user's cache folder, shared by labs
	Version string // of labctl
	Force   bool   // consent to remove leftovers that carry the lab's mark
	// Rebuild names the nodes whose VMs Apply makes anew.
	Rebuild []string
	// Purge has Destroy remove Docker from machines that labctl did not make,
	// if labctl installed it there.
	Purge bool
	// BootWithin bounds `vagrant up`; 0 is bootDeadline or, with software
	// emulation, bootDeadlineTCG.
	BootWithin time.Duration
	// Parallel is on how many nodes labctl works at a time; 0 is
	// defaultParallel. It does not bound how many VMs Vagrant boots.
	Parallel int
	// NoCache has a new lab made from the plain box, though one with Docker in
	// it is there, or could be made.
	NoCache bool
	Host    remote.Runner
	// Warnings are what lab.toml gave rise to without being wrong.
	Warnings []config.Problem
	Sink     ui.Sink
	Log      *logrus.Logger
	// VagrantLog receives all that `vagrant up` prints.
	VagrantLog io.Writer

	State  *State
	Choice engine.Choice // the zero value until Choose

	mu     sync.Mutex
	conns  map[string]*remote.Conn
	apis   map[string]*client.Client
	bundle *provision.Bundle
	boot   bootRun
	free   sync.Map // bool: whether nodes were seen to be in no swarm
	inTime sync.Map // nodes whose clock was right when they were prepared
	// leaving has machines that are not this lab's passed over, not refused.
	leaving bool
	facts   map[string]existing.Facts // of connected machines that are not labctl's, by node
	counts  counts
	peerMap map[string]netip.Addr // see peers
	peersOf *config.Lab
}

// StateDir is .labctl beside lab.toml.
func (e *Env) StateDir() string { return filepath.Join(e.Dir, ".labctl") }

// Engine is this lab's embedded engine, whether it is used or not.
func (e *Env) Engine() engine.Embedded {
	return engine.Embedded{Dir: filepath.Join(e.StateDir(), "engine"), Cache: e.Cache}
}

// Vagrant returns the client for this lab's Vagrantfile.
func (e *Env) Vagrant() *vagrant.Client {
	return &vagrant.Client{Dir: e.StateDir(), Provider: e.Choice.Provider, Log: e.VagrantLog, Host: e.Host, URI: e.hypervisor, Calls: &e.counts.vagrant}
}

// Event shows and logs one piece of news.
func (e *Env) Event(ev ui.Event) {
	ev.Time = time.Now()
	if e.Sink != nil {
		e.Sink.Event(ev)
	}
	if e.Log == nil {
		return
	}
	entry := e.Log.WithFields(logrus.Fields{"node": ev.Node, "step": ev.Step, "state": ev.State, "elapsed": ev.Elapsed.Round(time.Millisecond).String()})
	switch ev.State {
	case ui.Failed:
		entry.Error(ev.Detail)
	case ui.Progress:
		entry.Debug(ev.Detail)
	default:
		entry.Info(ev.Detail)
	}
}

// Choose settles the provider: the one that the lab already lives on, else
// what Detect finds.
func (e *Env) Choose(ctx context.Context) error {
	if e.State.Provider != "" {
		if e.Lab.Provider != config.Auto && e.Lab.Provider != e.State.Provider {
			return &ProviderChangedError{Was: e.State.Provider, Now: e.Lab.Provider}
		}
		e.Choice = engine.Choice{Provider: e.State.Provider, Accel: e.State.Accel, CPU: e.State.CPU, Reason: "the lab was created on it"}
		return nil
	}
	c, err := engine.Detect(ctx, e.Lab, e.Host, e.Cache)
	if err != nil {
		return err
	}
	e.Choice = c
	return nil
}

// ProviderChangedError is a lab.toml that names another provider than the one
// on which the lab lives.
type ProviderChangedError struct{ Was, Now config.Provider }

func (e *ProviderChangedError) Error() string {
	return fmt.Sprintf("lab.toml: provider is %q, but this lab lives on %q", e.Now, e.Was)
}

// Hint says how to change it.
func (e *ProviderChangedError) Hint() string {
	return "`labctl destroy` first, with the provider set back, then create it anew"
}

// connectWithin is how long a node whose VM runs may take to answer SSH.
const connectWithin = 3 * time.Minute

// bootedWithin is that time for an emulated node after a boot: Vagrant takes a
// VM for booted that runs, though it may be in the midst of the boot that a
// killed create began.
const bootedWithin = 10 * time.Minute

// answerWithin is how long a node may take to answer SSH.
func (e *Env) answerWithin() time.Duration {
	switch {
	case e.existing():
		return existingWithin
	case e.boot.ready != nil && e.Choice.Accel == config.AccelTCG:
		return bootedWithin
	}
	return connectWithin
}

func (e *Env) dialOptions() remote.DialOptions {
	return remote.DialOptions{KnownHosts: e.knownHosts(), Counter: &e.counts.ssh}
}

// knownHosts is where the nodes' host keys are pinned.
func (e *Env) knownHosts() string { return filepath.Join(e.StateDir(), "known_hosts") }

// Connect returns the open connection to a node; the first call dials. The
// address at which the node answered last time comes first, since asking
// Vagrant takes longer than all the rest.
func (e *Env) Connect(ctx context.Context, n config.Node, say func(string)) (*remote.Conn, error) {
	if c := e.Runner(n.Name); c != nil {
		return c, nil
	}
	if e.existing() {
		return e.connectExisting(ctx, n, say)
	}
	if c := e.redial(ctx, n); c != nil {
		return c, nil
	}
	return e.connectAnew(ctx, n, say)
}

// connectAnew asks how the node is reached now.
func (e *Env) connectAnew(ctx context.Context, n config.Node, say func(string)) (*remote.Conn, error) {
	ep, err := e.endpoint(ctx, n, say)
	if err != nil {
		return nil, err
	}
	return e.dial(ctx, n, ep, say)
}

// endpointPause lies between two questions to Vagrant, each of which takes it
// two seconds.
const endpointPause = 2 * time.Second

// boxUser is who may log in on nodes of labctl's own box.
const boxUser = "vagrant"

// endpoint asks Vagrant how a node is reached. A VM that runs may not have
// got its address yet, after a reset for example.
func (e *Env) endpoint(ctx context.Context, n config.Node, say func(string)) (remote.Endpoint, error) {
	if e.existing() {
		return existing.Endpoint(ctx, e.Host, e.Lab.SSH, n, e.Dir)
	}
	if e.ownBox() { // all but the address is known
		addr, err := e.boot.at(n.Name), error(nil)
		if addr == "" {
			addr, err = e.Vagrant().Address(ctx, n.Name)
		}
		if err == nil {
			return remote.Endpoint{Name: n.Name, Role: string(n.Role), LabIP: n.IP, Host: addr, Port: 22, User: boxUser, KeyFile: e.keyFile()}, nil
		}
	}
	deadline := time.Now().Add(e.answerWithin())
	for {
		ep, err := e.Vagrant().Endpoint(ctx, n)
		if err == nil {
			if e.ownBox() {
				ep.KeyFile = e.keyFile()
			}
			return ep, nil
		}
		var said *vagrant.Error
		if !errors.As(err, &said) || !said.NotReady() || time.Now().After(deadline) {
			return ep, err
		}
		say("waiting for the VM to get an address")
		select {
		case <-ctx.Done():
			return ep, err // which says more than the end of ctx
		case <-time.After(endpointPause):
		}
	}
}

func (e *Env) dial(ctx context.Context, n config.Node, ep remote.Endpoint, say func(string)) (*remote.Conn, error) {
	c, err := remote.DialWait(ctx, ep, e.dialOptions(), e.answerWithin(), say)
	if err != nil {
		return nil, err
	}
	e.keep(n, c)
	if !e.existing() {
		e.remember(n, ep)
	}
	return c, nil
}

func (e *Env) keep(n config.Node, c *remote.Conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conns == nil {
		e.conns = map[string]*remote.Conn{}
	}
	e.conns[n.Name] = c
}

// reconnect replaces a node's connection by a new one, which has the groups
// that the user has got meanwhile.
func (e *Env) reconnect(ctx context.Context, n config.Node, say func(string)) error {
	ep := e.Runner(n.Name).Endpoint()
	e.hangUp(n.Name)
	e.dropLent(ctx)
	_, err := e.dial(ctx, n, ep, say)
	return err
}

// ConnectAll connects to the nodes, side by side.
func (e *Env) ConnectAll(ctx context.Context, nodes []config.Node) error {
	var wg sync.WaitGroup
	errs := make([]error, len(nodes))
	for i, n := range nodes {
		wg.Go(func() {
			_, err := e.Connect(ctx, n, func(reason string) {
				e.Event(ui.Event{Node: n.Name, Step: "connect", State: ui.Progress, Detail: reason})
			})
			if err != nil {
				errs[i] = &StepError{Step: "connect", Node: n.Name, Err: err}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// API returns the Engine client of a connected node.
func (e *Env) API(n config.Node) (*client.Client, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c := e.apis[n.Name]; c != nil {
		return c, nil
	}
	conn := e.conns[n.Name]
	if conn == nil {
		return nil, fmt.Errorf("%s: not connected", n.Name)
	}
	c, err := dockerapi.Open(conn)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", n.Name, err)
	}
	if e.apis == nil {
		e.apis = map[string]*client.Client{}
	}
	e.apis[n.Name] = c
	return c, nil
}

// Runner returns the open connection to a node, nil if there is none.
func (e *Env) Runner(name string) *remote.Conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.conns[name]
}

// member is a connected node as the swarm room wants it.
func (e *Env) member(n config.Node) (swarm.Member, error) {
	api, err := e.API(n)
	if err != nil {
		return swarm.Member{}, err
	}
	return swarm.Member{Name: n.Name, Role: n.Role, Addr: n.IP, API: api}, nil
}

func (e *Env) members() ([]swarm.Member, error) {
	var out []swarm.Member
	for _, n := range e.Lab.Nodes {
		m, err := e.member(n)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

// emulatedHeartbeat is twice Docker's own. A node without KVM that starts
// containers can be silent for longer than the fifteen seconds after which the
// managers would take it for dead and move its healthy tasks away.
const emulatedHeartbeat = 10 * time.Second

func (e *Env) swarmOptions() swarm.Options {
	heartbeat := time.Duration(0)
	if e.Choice.Accel == config.AccelTCG {
		heartbeat = emulatedHeartbeat
	}
	return swarm.Options{Heartbeat: heartbeat, Pool: e.Lab.Swarm.DefaultAddressPool, SubnetSize: e.Lab.Swarm.SubnetSize, DataPathPort: e.Lab.Swarm.DataPathPort}
}

// Close closes every connection.
func (e *Env) Close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, a := range e.apis {
		_ = a.Close()
	}
	for _, c := range e.conns {
		_ = c.Close()
	}
	e.apis, e.conns = nil, nil
}

// writeFile writes a file of the state folder through a temporary name, so
// that a kill never leaves half of it.
func writeFile(name string, data []byte) error {
	if err := os.WriteFile(name+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}
