package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"labctl/internal/config"
	"labctl/internal/remote"
	"labctl/internal/vagrant"
)

// Exists says whether this folder holds anything of a lab, be it the rest of
// one whose destruction was cut short.
func (e *Env) Exists() bool {
	entries, err := os.ReadDir(e.StateDir())
	return err == nil && slices.ContainsFunc(entries, func(f os.DirEntry) bool { return f.Name() != "lock" })
}

// Destroy removes the lab: VMs, volumes, networks, the embedded engine and
// the state folder. The caller holds the lab's lock, whose file goes last.
func (e *Env) Destroy(ctx context.Context) error {
	if e.existing() {
		gone := e.gone()
		e.leaving, e.Lab = true, e.AsMade()
		return runSteps(ctx, e, e.giveBackSteps(gone))
	}
	if err := e.nameAll(); err != nil {
		return err
	}
	e.Lab = e.AsMade()
	steps := []Step{{Name: "destroy VMs", Run: destroyVMs}}
	last := "destroy VMs"
	if e.Choice.Provider == config.Libvirt {
		steps = append(steps, Step{Name: "remove networks", After: []string{last}, Run: removeNetworks})
		last = "remove networks"
	}
	if e.Choice.Provider == config.Embedded {
		steps = append(steps, Step{Name: "stop engine", After: []string{last}, Run: stopEngine})
		last = "stop engine"
	}
	if _, err := os.Stat(e.exportsFile()); err == nil {
		steps = append(steps, Step{Name: "remove exports", After: []string{last}, Run: removeExports})
		last = "remove exports"
	}
	return runSteps(ctx, e, append(steps, Step{Name: "remove state", After: []string{last}, Run: removeState}))
}

func destroyVMs(ctx context.Context, e *Env, say func(string)) (bool, error) {
	if _, err := os.Stat(filepath.Join(e.StateDir(), "Vagrantfile")); errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if _, err := e.Vagrant().EndOrphans(ctx); err != nil && ctx.Err() == nil && e.Log != nil {
		e.Log.WithError(err).Warn("destroying all the same")
	}
	say("vagrant destroy")
	err := e.Vagrant().Destroy(ctx)
	if e.Choice.Provider == config.Embedded && ctx.Err() == nil {
		// Whatever Vagrant could not remove dies with the engine.
		if err != nil && e.Log != nil {
			e.Log.WithError(err).Warn("vagrant destroy failed; the engine takes its VMs along")
		}
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if e.Choice.Provider == config.Libvirt {
		// Half-made VMs, which Vagrant does not know. Those of another folder's
		// lab of the same name, and their disks, are not ours and stay.
		e.Force = true
		for _, n := range e.Lab.Nodes {
			var foreign *ForeignVMError
			if err := e.clearLeftovers(ctx, []string{n.Name}); err != nil && !errors.As(err, &foreign) {
				return false, err
			}
		}
	}
	return true, nil
}

// nameAll makes the Vagrantfile name every VM that Vagrant knows: it destroys
// no other. lab.toml may name fewer by now, or the file may be gone.
func (e *Env) nameAll() error {
	if len(e.standing()) == 0 {
		return nil
	}
	_, err := os.Stat(filepath.Join(e.StateDir(), "Vagrantfile"))
	if err == nil && len(e.gone()) == 0 {
		return nil
	}
	err = e.writeVagrantfile(e.AsMade().Nodes...)
	if err != nil && e.Choice.Provider == config.Embedded {
		return nil // the box may be gone from the cache; the engine takes its VMs along
	}
	return err
}

// removeNetworks removes the lab's own libvirt networks, which
// vagrant-libvirt leaves behind where a VM never came up.
func removeNetworks(ctx context.Context, e *Env, say func(string)) (changed bool, err error) {
	uris, _ := e.onHypervisors(nodesOf(e.Lab))
	for _, uri := range uris {
		removed, err := e.removeNetworksOn(ctx, uri, say)
		changed = changed || removed
		if err != nil {
			return changed, err
		}
	}
	return changed, nil
}

func (e *Env) removeNetworksOn(ctx context.Context, uri string, say func(string)) (bool, error) {
	virsh := func(args ...string) (remote.Result, error) { return e.virsh(ctx, uri, args...) }
	domains, err := virsh("list", "--all", "--name")
	if err != nil {
		return false, err
	}
	if strings.Contains("\n"+domains.Stdout, "\n"+vagrant.DomainPrefix(e.Lab.Name)) {
		say("kept: a lab of the same name in another folder uses them")
		return false, nil
	}
	res, err := virsh("net-list", "--all", "--name")
	if err != nil {
		return false, err
	}
	active, err := virsh("net-list", "--name")
	if err != nil {
		return false, err
	}
	changed := false
	for _, name := range []string{vagrant.LabNetwork(e.Lab.Name), vagrant.ManagementNetwork(e.Lab.Name)} {
		if !hasWord(res.Stdout, name) {
			continue
		}
		changed = true
		if hasWord(active.Stdout, name) {
			if _, err := virsh("net-destroy", name); err != nil {
				return true, err
			}
		}
		if _, err := virsh("net-undefine", name); err != nil {
			return true, err
		}
	}
	return changed, nil
}

func hasWord(text, word string) bool {
	for _, w := range strings.Fields(text) {
		if w == word {
			return true
		}
	}
	return false
}

func stopEngine(ctx context.Context, e *Env, say func(string)) (bool, error) {
	say("ending libvirtd and what is left in its namespaces")
	if err := e.Engine().Stop(ctx); err != nil {
		return false, err
	}
	return true, os.RemoveAll(e.Engine().Dir)
}

func removeState(_ context.Context, e *Env, _ func(string)) (bool, error) {
	return true, os.RemoveAll(e.StateDir())
}
