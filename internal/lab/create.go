package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"labctl/internal/box"
	"labctl/internal/config"
	"labctl/internal/dockerapi"
	"labctl/internal/provision"
	"labctl/internal/swarm"
	"labctl/internal/vagrant"
)

// PrepareHost does what needs the host's own network: it builds the box and
// the bundle unless they are cached, puts the one into the other, and starts
// the embedded engine. It
// belongs before Create, and for another provider does next to nothing.
func (e *Env) PrepareHost(ctx context.Context) error {
	steps := []Step{{Name: "preflight", Run: preflight}}
	if e.Choice.Provider == config.Embedded {
		steps = append(steps,
			Step{Name: "box", After: []string{"preflight"}, Run: buildBox},
			Step{Name: "bundle", After: []string{"preflight"}, Run: buildBundle},
			Step{Name: "docker box", After: []string{"box", "bundle"}, Run: installBox},
			Step{Name: "engine", After: []string{"preflight"}, Run: startEngine},
		)
		if e.ownBox() {
			steps = append(steps, Step{Name: "key", After: []string{"preflight"}, Run: labKey})
		}
	}
	return runSteps(ctx, e, steps)
}

// Create makes the lab, or what of it is missing.
func (e *Env) Create(ctx context.Context) error {
	err := runSteps(ctx, e, createSteps(e.Lab))
	// The nodes can be ready before Vagrant has ended, which must not be left
	// behind: it still holds its locks.
	if failed := e.boot.wait(); err == nil && failed != nil {
		err = &StepError{Step: "boot", Err: failed}
	}
	return err
}

// createSteps is the whole of `labctl create` once the host is ready.
func createSteps(l *config.Lab) []Step {
	leader := l.Managers()[0]
	if l.Provider == config.Existing {
		return takeOverSteps(l)
	}
	steps := []Step{{Name: "render", Run: render}}
	for _, n := range l.Nodes {
		steps = append(steps,
			Step{Name: "boot", Node: n.Name, After: []string{"render"}, Waits: true, Run: boot(n)},
			Step{Name: "connect", Node: n.Name, After: []string{key("boot", n.Name)}, Run: connect(n)},
			Step{Name: "prepare", Node: n.Name, After: []string{key("connect", n.Name)}, Run: prepare(n)},
			Step{Name: "install docker", Node: n.Name, After: []string{key("prepare", n.Name)}, Run: installDocker(n)},
		)
	}
	steps = append(steps, Step{Name: "swarm init", Node: leader.Name, After: []string{key("install docker", leader.Name)}, Run: swarmInit(leader)})
	steps = append(steps, joinSteps(l, key("swarm init", leader.Name), "install docker")...)
	return append(steps, Step{Name: "snapshot", After: []string{"verify"}, Run: pristine})
}

// BoxOptions are the inputs of the embedded engine's box.
func (e *Env) BoxOptions(say func(string)) box.Options {
	return box.Options{Release: e.Lab.Box.Release, Mirror: e.Lab.Box.Mirror, CacheDir: e.Cache, Progress: say, Host: e.Host}
}

// BundleOptions are the inputs of the offline bundle.
func (e *Env) BundleOptions(say func(string)) provision.BundleOptions {
	return provision.BundleOptions{Release: e.Lab.Box.Release, Mirror: e.Lab.Box.Mirror, Version: e.Lab.Docker.Version, CacheDir: e.Cache, Progress: say, Host: e.Host}
}

// ownBox says whether the nodes come from the box that labctl builds, inside
// of which labctl does what Vagrant does in others.
func (e *Env) ownBox() bool { return e.Choice.Provider == config.Embedded && e.Lab.Box.Name == "" }

func buildBox(ctx context.Context, e *Env, say func(string)) (bool, error) {
	if e.Lab.Box.Name != "" {
		say("lab.toml names " + e.Lab.Box.Name)
		return false, nil
	}
	b, err := box.Build(ctx, e.BoxOptions(say))
	return b.Built, err
}

func buildBundle(ctx context.Context, e *Env, say func(string)) (bool, error) {
	if s := e.Lab.Docker.Source; s != config.SourceAuto && s != config.SourceBundle {
		say("lab.toml takes Docker from " + string(s))
		return false, nil
	}
	b, err := provision.BuildBundle(ctx, e.BundleOptions(say))
	if err != nil {
		return false, err
	}
	return b.Built, nil
}

// labKey makes the lab's SSH key, which the Vagrantfile names: half a second of
// arithmetic, beside what takes longer.
func labKey(_ context.Context, e *Env, _ func(string)) (bool, error) {
	_, missing := os.Stat(e.keyFile())
	_, err := e.ownKey()
	return missing != nil, err
}

func startEngine(ctx context.Context, e *Env, say func(string)) (bool, error) {
	say("starting libvirtd in a network namespace of its own")
	return e.Engine().Start(ctx)
}

// renderOptions resolves the box for the chosen provider.
func (e *Env) renderOptions() (vagrant.RenderOptions, error) {
	o := vagrant.RenderOptions{Provider: e.Choice.Provider, Accel: e.Choice.Accel, CPU: e.Choice.CPU, LabID: e.id(), Version: e.Version}
	if e.ownBox() {
		o.OwnNetwork = true
		o.KeyFiles = []string{e.keyFile(), wellKnownKeyFile()}
	}
	if e.Choice.Provider == config.Embedded {
		o.ConsoleDir = filepath.Join(e.StateDir(), "console")
		if e.Lab.Box.Name == "" {
			b, _, ok, err := e.nodeBox()
			if err != nil {
				return o, err
			}
			if !ok {
				return o, errors.New("the embedded engine's box is not built: labctl box build")
			}
			o.BoxName, o.BoxURL = b.Name, vagrant.FileURL(b.Path)
		}
	}
	return o, nil
}

// Render returns the Vagrantfile for the chosen provider.
func (e *Env) Render() ([]byte, error) {
	o, err := e.renderOptions()
	if err != nil {
		return nil, err
	}
	return vagrant.Render(e.Lab, o)
}

func render(_ context.Context, e *Env, say func(string)) (bool, error) {
	want, err := e.Render()
	if err != nil {
		return false, err
	}
	if err := e.tellBox(say); err != nil {
		return false, err
	}
	if e.Choice.Provider == config.Embedded {
		if err := os.MkdirAll(filepath.Join(e.StateDir(), "console"), 0o700); err != nil {
			return false, err
		}
	}
	name := filepath.Join(e.StateDir(), "Vagrantfile")
	if have, err := os.ReadFile(name); err == nil && bytes.Equal(have, want) {
		return false, nil
	}
	return true, writeFile(name, want)
}

func connect(n config.Node) func(context.Context, *Env, func(string)) (bool, error) {
	return func(ctx context.Context, e *Env, say func(string)) (bool, error) {
		if e.existing() {
			return false, e.look(ctx, n, e.leaving, say)
		}
		say("asking Vagrant for the SSH address")
		if e.ownBox() {
			return e.connectOwn(ctx, n, say)
		}
		_, err := e.Connect(ctx, n, say)
		return false, err
	}
}

func prepare(n config.Node) func(context.Context, *Env, func(string)) (bool, error) {
	return func(ctx context.Context, e *Env, say func(string)) (bool, error) {
		c := e.Runner(n.Name)
		o := provision.PrepareOptions{Hostname: n.Name, Peers: e.peers(), User: c.Endpoint().User, Named: e.existing(), Progress: say, Clock: e.clockOfPrepare(n)}
		if e.ownBox() {
			o.Address = netip.PrefixFrom(n.IP, e.Lab.SubnetOf(n).Bits())
		}
		if e.existing() {
			if err := e.takeOver(ctx, n); err != nil {
				return false, err
			}
		}
		changed, err := provision.Prepare(ctx, c, o)
		if err != nil {
			return changed, err
		}
		routed, err := e.route(ctx, n)
		if err != nil || !changed || e.ownBox() {
			return changed || routed, err
		}
		// The group docker reaches only sessions of a new connection. In
		// labctl's own box the user is in it from the start.
		return true, e.reconnect(ctx, n, say)
	}
}

// engineWithin is how long an installed dockerd may take to answer.
const engineWithin = 2 * time.Minute

func installDocker(n config.Node) func(context.Context, *Env, func(string)) (bool, error) {
	return func(ctx context.Context, e *Env, say func(string)) (bool, error) {
		b, err := e.findBundle(ctx)
		if err != nil {
			return false, err
		}
		d := e.Lab.Docker
		changed, err := provision.Install(ctx, e.Runner(n.Name), provision.Options{
			Node: n.Name, Source: d.Source, Bundle: b, Version: d.Version,
			RegistryMirror: d.RegistryMirror, Proxy: d.Proxy, Peers: e.peers(), Theirs: e.theirDocker(n), Progress: say,
			Begin: e.outdate,
		})
		if err != nil {
			return false, err
		}
		api, err := e.API(n)
		if err != nil {
			return false, err
		}
		if err := dockerapi.Wait(ctx, n.Name, api, engineWithin, say); err != nil || e.existing() || n.Name == e.Lab.Managers()[0].Name {
			return changed, err
		}
		m, err := e.member(n)
		if err != nil {
			return changed, err
		}
		free, err := swarm.Ahead(ctx, m)
		e.free.Store(n.Name, free)
		return changed, err
	}
}

// peers maps every node's name to its lab address. It is the same map for all of
// a lab's nodes, of which there can be hundreds.
func (e *Env) peers() map[string]netip.Addr {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.peersOf != e.Lab {
		e.peersOf, e.peerMap = e.Lab, map[string]netip.Addr{}
		for _, p := range e.Lab.Nodes {
			e.peerMap[p.Name] = p.IP
		}
	}
	return e.peerMap
}

// findBundle returns the bundle of Docker's packages, verified; nil if they come
// from elsewhere.
func (e *Env) findBundle(ctx context.Context) (*provision.Bundle, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.bundle != nil {
		return e.bundle, nil
	}
	switch e.Lab.Docker.Source {
	case config.SourceAuto, config.SourceBundle:
	default:
		return nil, nil
	}
	if e.Choice.Provider == config.Embedded {
		// The very one that PrepareHost made, though newer ones of another
		// release or version lie in the cache; it is only looked up here.
		b, err := provision.BuildBundle(ctx, e.BundleOptions(nil))
		if err != nil {
			return nil, err
		}
		e.bundle = b
		return b, nil
	}
	b, err := provision.FindBundle(e.Cache, e.Lab.Box.Release, "")
	if err != nil {
		return nil, err
	}
	if b == nil && e.Lab.Docker.Source == config.SourceBundle {
		return nil, errors.New("lab.toml: docker.source is \"bundle\", but none was built: labctl bundle build")
	}
	if b != nil {
		if err := b.Verify(); err != nil {
			return nil, err
		}
	}
	e.bundle = b
	return b, nil
}

func swarmInit(n config.Node) func(context.Context, *Env, func(string)) (bool, error) {
	return func(ctx context.Context, e *Env, say func(string)) (bool, error) {
		m, err := e.member(n)
		if err != nil {
			return false, err
		}
		set, err := e.matchClock(ctx, n, say)
		if err != nil {
			return set, err
		}
		changed, err := e.noted(ctx, m, n, func() (bool, error) { return swarm.Init(ctx, m, e.swarmOptions()) })
		return set || changed, err
	}
}

func swarmJoin(leader, n config.Node) func(context.Context, *Env, func(string)) (bool, error) {
	return func(ctx context.Context, e *Env, say func(string)) (bool, error) {
		l, err := e.member(leader)
		if err != nil {
			return false, err
		}
		m, err := e.member(n)
		if err != nil {
			return false, err
		}
		set, err := e.matchClock(ctx, n, say)
		if err != nil {
			return set, err
		}
		free, _ := e.free.LoadAndDelete(n.Name)
		changed, err := e.noted(ctx, m, n, func() (bool, error) { return swarm.Join(ctx, l, m, free == true) })
		return set || changed, err
	}
}

// verifyWithin is how long the nodes may take to become Ready after the last
// has joined: seconds, more under emulation.
const verifyWithin = 2 * time.Minute

func verify(ctx context.Context, e *Env, say func(string)) (bool, error) {
	all, err := e.members()
	if err != nil {
		return false, err
	}
	i := slices.IndexFunc(all, func(m swarm.Member) bool { return m.Role == config.Manager })
	if _, err := swarm.Verify(ctx, all[i], all, verifyWithin, say); err != nil {
		return false, err
	}
	removed, err := swarm.PruneFormer(ctx, all[i], all, e.State.Former)
	if err != nil || len(removed) == 0 {
		return false, err
	}
	say(fmt.Sprintf("removed %d entries of former members", len(removed)))
	return true, e.State.Change(func(s *State) { s.Former = nil })
}
