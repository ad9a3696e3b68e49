package doctor

import (
	"slices"

	"labctl/internal/config"
)

// here are the nodes whose VMs run on this machine: all but those for which
// lab.toml names another hypervisor.
func here(l *config.Lab) []config.Node {
	return slices.DeleteFunc(slices.Clone(l.Nodes), func(n config.Node) bool { return !n.Local() })
}

// elsewhere says that no VM runs on this machine.
func elsewhere(l *config.Lab) bool { return len(here(l)) == 0 }

// shared says whether the provider puts the lab's networks onto this host.
func (f *Facts) shared() bool {
	return f.Provider != config.Embedded && f.Provider != config.Existing &&
		slices.ContainsFunc(here(f.Lab), func(n config.Node) bool { return n.Bridge == "" })
}
