package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"labctl/internal/config"
	"labctl/internal/engine"
	"labctl/internal/remote"
)

// Within bounds all of Gather together.
const Within = 5 * time.Second

// margin is what is left of Within for putting the answers together.
const margin = 300 * time.Millisecond

// Options say what is examined, and through what.
type Options struct {
	Lab      *config.Lab
	StateDir string // .labctl
	Cache    string
	// Mark is what this lab's VMs carry.
	Mark string
	// Known lists the nodes whose VM Vagrant knows; Stands says that the lab
	// has VMs, perhaps half-made ones.
	Known  []string
	Stands bool
	// Choice is the provider if that is settled; else Detect is asked.
	Choice *engine.Choice
	// Quick leaves out what starts Ruby, which takes a second or more.
	Quick bool
	// Inside runs a command where the embedded engine's libvirt is; nil if the
	// engine does not run, or if this process is there.
	Inside []string
	// SubnetTaken says whether the host uses the lab's subnet, Uses lists the
	// host's addresses and routes. Nil: not asked.
	SubnetTaken func() error
	Uses        func() ([]Use, error)

	Host   remote.Runner
	Root   fs.FS                           // "/" of this machine
	Env    func(string) string             // os.Getenv
	Look   func(string) (string, error)    // exec.LookPath
	Ifaces func() ([]net.Interface, error) // net.Interfaces
	Now    func() time.Time
	Within time.Duration // 0: Within
}

// Defaults fills in this machine for what is nil.
func (o Options) Defaults() Options {
	if o.Host == nil {
		o.Host = remote.Host{Grace: margin}
	}
	if o.Root == nil {
		o.Root = os.DirFS("/")
	}
	if o.Env == nil {
		o.Env = os.Getenv
	}
	if o.Look == nil {
		o.Look = exec.LookPath
	}
	if o.Ifaces == nil {
		o.Ifaces = net.Interfaces
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Within == 0 {
		o.Within = Within
	}
	return o
}

// probe learns one thing. It returns how that is noted in the facts, so that
// one which comes too late touches nothing.
type probe struct {
	check string
	run   func(ctx context.Context, o *Options) (func(*Facts), error)
}

// Gather asks for everything side by side, for at most Within. What has given
// no answer by then, or failed, is noted as missed.
func Gather(ctx context.Context, o Options) Facts {
	o = o.Defaults()
	ctx, cancel := context.WithTimeout(ctx, o.Within-margin)
	defer cancel()
	f := Facts{Lab: o.Lab, Provider: o.Lab.Provider, Stands: o.Stands, OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), Now: o.Now()}
	for _, n := range here(o.Lab) {
		if !slices.Contains(o.Known, n.Name) {
			f.New = append(f.New, n)
		}
	}
	if o.Choice != nil {
		f.Provider, f.Accel, f.Reason = o.Choice.Provider, o.Choice.Accel, o.Choice.Reason
	}
	whoAmI(&f)

	type answer struct {
		check string
		note  func(*Facts)
		err   error
	}
	probes := probesOf(&o)
	answers := make(chan answer, len(probes))
	open := map[string]int{}
	for _, p := range probes {
		open[p.check]++
		go func() {
			note, err := p.run(ctx, &o)
			answers <- answer{p.check, note, err}
		}()
	}
	for range probes {
		select {
		case a := <-answers:
			if open[a.check]--; open[a.check] == 0 {
				delete(open, a.check)
			}
			switch {
			case a.err != nil && ctx.Err() != nil:
				f.miss(a.check, late(o.Within))
			case a.err != nil:
				f.miss(a.check, a.err.Error())
			case a.note != nil:
				a.note(&f)
			}
		case <-ctx.Done():
			for _, check := range sortedKeys(open) {
				f.miss(check, late(o.Within))
			}
			return f
		}
	}
	return f
}

func late(d time.Duration) string { return fmt.Sprintf("no answer within %v", d) }

func (f *Facts) miss(check, reason string) {
	if !slices.ContainsFunc(f.Missed, func(m Missed) bool { return m.Check == check }) {
		f.Missed = append(f.Missed, Missed{check, oneLine(reason)})
	}
}

// may says whether the lab could live on that provider.
func (o *Options) may(p config.Provider) bool {
	if o.Choice != nil {
		return o.Choice.Provider == p
	}
	return o.Lab.Provider == p || o.Lab.Provider == config.Auto
}

// probesOf lists what is worth knowing for this lab.
func probesOf(o *Options) []probe {
	if o.Lab.Provider == config.Existing || o.may(config.Existing) {
		list := []probe{{"proxy", askProxy}, {"state", askState}, {"scenarios", askScenarios}}
		if o.Choice == nil {
			list = append(list, probe{"provider", askProvider})
		}
		return list
	}
	if elsewhere(o.Lab) {
		list := []probe{{"vagrant", askVagrant}, {"proxy", askProxy}, {"state", askState}, {"scenarios", askScenarios}}
		if o.Choice == nil {
			list = append(list, probe{"provider", askProvider})
		}
		return list
	}
	list := []probe{
		{"cpu", askCPU}, {"memory", askMemory}, {"disk", askDisk}, {"vagrant", askVagrant},
		{"subnet", askSubnet}, {"vpn", askUses}, {"nameserver", askNameservers}, {"proxy", askProxy},
		{"state", askState}, {"scenarios", askScenarios},
	}
	if o.Choice == nil {
		list = append(list, probe{"provider", askProvider})
		if o.Lab.Acceleration == config.AccelAuto && o.Lab.Provider != config.VirtualBox {
			list = append(list, probe{"kvm", askAccel})
		}
	}
	if o.may(config.VirtualBox) {
		list = append(list, probe{"networks.conf", askNetworksConf}, probe{"virtualbox", askVirtualBox}, probe{"leftovers", askLeftoversVirtualBox})
		if !o.Stands {
			list = append(list, probe{"other labs", askOtherVirtualBox})
		}
	}
	if o.may(config.Libvirt) {
		list = append(list, probe{"libvirt", askLibvirt}, probe{"leftovers", askLeftovers})
		if !o.Stands {
			list = append(list, probe{"other labs", askOtherLibvirt})
		}
	}
	if o.Choice != nil && o.Choice.Provider == config.Embedded && o.Inside != nil {
		list = append(list, probe{"leftovers", askLeftovers})
	}
	if o.may(config.Libvirt) || o.may(config.Embedded) {
		list = append(list, probe{"kvm", askKVM})
	}
	return list
}

// askProvider asks the engine room which provider can be used. Unless lab.toml
// insists on KVM, that is another question than whether KVM works: the answer
// to that one can take longer than there is time.
func askProvider(ctx context.Context, o *Options) (func(*Facts), error) {
	l := *o.Lab
	insists := l.Acceleration == config.AccelKVM
	if !insists {
		l.Acceleration = config.AccelTCG
	}
	c, err := engine.Detect(ctx, &l, o.Host, o.Cache)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return func(f *Facts) {
		if err != nil {
			f.Provider = config.Auto
			for _, e := range unusable(err) {
				f.Unusable = append(f.Unusable, Unusable{e.Provider, e.Reason, e.Remedy, e})
			}
			return
		}
		f.Provider = c.Provider
		switch {
		case insists:
			f.Accel, f.Reason = c.Accel, c.Reason
		case f.Reason == "": // else askAccel was quicker and knows more
			f.Reason = plainReason(c)
		}
	}, nil
}

// plainReason leaves out what was said of the acceleration.
func plainReason(c engine.Choice) string {
	reason, _, _ := strings.Cut(c.Reason, "; it runs VMs with ")
	reason, _, _ = strings.Cut(reason, " with software emulation")
	return reason
}

// askAccel has the engine room boot its test machine.
func askAccel(ctx context.Context, o *Options) (func(*Facts), error) {
	c, err := engine.Detect(ctx, o.Lab, o.Host, o.Cache)
	if err != nil {
		return nil, ctx.Err() // askProvider says why none can be used
	}
	return func(f *Facts) { f.Accel, f.Reason = c.Accel, c.Reason }, nil
}

// unusable takes apart the joined error of Detect.
func unusable(err error) []*engine.UnusableError {
	var out []*engine.UnusableError
	switch e := err.(type) {
	case *engine.UnusableError:
		out = append(out, e)
	case interface{ Unwrap() []error }:
		for _, x := range e.Unwrap() {
			out = append(out, unusable(x)...)
		}
	}
	return out
}

func askVagrant(ctx context.Context, o *Options) (func(*Facts), error) {
	var v Vagrant
	_, err := o.Look("vagrant")
	v.Installed = err == nil
	if !v.Installed {
		return func(f *Facts) { f.Vagrant = v }, nil
	}
	libvirt := o.may(config.Libvirt) || o.may(config.Embedded)
	if libvirt {
		v.Plugin = PluginUnseen
		if version, ok := seesPlugin(o); ok {
			v.Plugin, v.PluginVersion = PluginThere, version
		}
	}
	switch {
	case o.Quick:
	case libvirt && v.Plugin == PluginUnseen && !o.may(config.VirtualBox):
		// One start of Ruby, for the question that matters more.
		res, err := o.Host.Run(ctx, remote.Command{Argv: []string{"vagrant", "plugin", "list"}, Env: vagrantEnv})
		switch {
		case err != nil || res.ExitCode != 0:
			v.Silent = why(ctx, o, res, err)
		case strings.Contains(res.Stdout, "vagrant-libvirt"):
			_, rest, _ := strings.Cut(res.Stdout, "vagrant-libvirt")
			line, _, _ := strings.Cut(rest, "\n")
			v.Plugin, v.PluginVersion = PluginThere, versionNumber.FindString(line)
		default:
			v.Plugin = PluginLacks
		}
	default:
		res, err := o.Host.Run(ctx, remote.Command{Argv: []string{"vagrant", "--version"}, Env: vagrantEnv})
		v.Version = versionNumber.FindString(res.Stdout)
		if err != nil || res.ExitCode != 0 || v.Version == "" {
			v.Version, v.Silent = "", why(ctx, o, res, err)
		}
	}
	return func(f *Facts) { f.Vagrant = v }, nil
}

var vagrantEnv = []string{"VAGRANT_CHECKPOINT_DISABLE=1", "VAGRANT_NO_COLOR=1"}

// why tells why a program gave no answer.
func why(ctx context.Context, o *Options, res remote.Result, err error) string {
	switch {
	case ctx.Err() != nil:
		return late(o.Within)
	case err != nil:
		return err.Error()
	case res.ExitCode != 0:
		return fmt.Sprintf("exit code %d", res.ExitCode)
	}
	return "its answer holds none"
}

// seesPlugin looks where Debian's package and Vagrant itself put plugins; the
// version is "" where it is not told.
func seesPlugin(o *Options) (version string, ok bool) {
	for _, pattern := range []string{
		"usr/share/rubygems-integration/*/gems/vagrant-libvirt-*",
		"opt/vagrant/embedded/gems/*/gems/vagrant-libvirt-*",
		"usr/share/vagrant-plugins/plugins.d/vagrant-libvirt*",
	} {
		if list, err := fs.Glob(o.Root, pattern); err == nil && len(list) > 0 {
			return versionNumber.FindString(path.Base(list[len(list)-1])), true
		}
	}
	home := o.Env("VAGRANT_HOME")
	if home == "" && o.Env("HOME") != "" {
		home = filepath.Join(o.Env("HOME"), ".vagrant.d")
	}
	if home == "" {
		return "", false
	}
	data, err := fs.ReadFile(o.Root, rooted(filepath.Join(home, "plugins.json")))
	if err != nil {
		return "", false
	}
	var plugins struct {
		Installed map[string]struct {
			Version string `json:"installed_gem_version"`
		} `json:"installed"`
	}
	if json.Unmarshal(data, &plugins) != nil {
		return "", false
	}
	p, ok := plugins.Installed["vagrant-libvirt"]
	return p.Version, ok
}

// rooted is an absolute path as an fs.FS of "/" wants it.
func rooted(path string) string { return strings.TrimPrefix(filepath.ToSlash(path), "/") }

func askScenarios(_ context.Context, o *Options) (func(*Facts), error) {
	var lacks []string
	for _, tool := range []string{"sh", "curl"} {
		if _, err := o.Look(tool); err != nil {
			lacks = append(lacks, tool)
		}
	}
	return func(f *Facts) { f.Missing = lacks }, nil
}

func askProxy(_ context.Context, o *Options) (func(*Facts), error) {
	env := map[string]string{}
	for _, name := range append([]string{"no_proxy", "NO_PROXY"}, proxyVariables...) {
		if v := o.Env(name); v != "" {
			env[name] = v
		}
	}
	return func(f *Facts) { f.Environment = env }, nil
}

func askSubnet(_ context.Context, o *Options) (func(*Facts), error) {
	if o.SubnetTaken == nil || o.Stands {
		return nil, nil
	}
	err := o.SubnetTaken()
	if err != nil {
		var hinted interface{ Hint() string }
		if !errors.As(err, &hinted) {
			return nil, err // the host could not be asked
		}
	}
	return func(f *Facts) { f.SubnetTaken = err }, nil
}
