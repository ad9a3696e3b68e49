package lab

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"labctl/internal/config"
	"labctl/internal/vagrant"
)

// Doomed is what Destroy would remove, and what it would keep though it has to
// do with the lab.
type Doomed struct {
	Lab      string          `json:"lab"`
	Provider config.Provider `json:"provider,omitempty"`
	Items    []Item          `json:"goes"`
	Kept     []Item          `json:"kept"`
}

// Item is one thing of a lab.
type Item struct {
	Kind string `json:"kind"` // "VM", "volume", "network", "process", "folder", "file", "line", "Docker context"
	Name string `json:"name"`
	Note string `json:"note,omitempty"`
}

// Doom lists what Destroy would remove. It asks, and changes nothing.
func (e *Env) Doom(ctx context.Context) (Doomed, error) {
	d := Doomed{Lab: e.AsMade().Name, Provider: e.State.Provider, Items: []Item{}}
	add := func(kind, name, note string) { d.Items = append(d.Items, Item{kind, name, note}) }
	if e.Choice.Provider != config.Existing {
		for _, m := range e.standing() {
			add("VM", e.vmName(m.Name), onHost(m.Hypervisor()))
		}
	}
	switch e.Choice.Provider {
	case config.Existing:
		for _, n := range e.AsMade().Nodes {
			add("labctl's things", "on "+n.Name, "swarm, services, networks, images, entries of /etc/hosts; the machine itself stays")
		}
	case config.Libvirt:
		uris, on := e.onHypervisors(nodesOf(e.AsMade()))
		for _, uri := range uris {
			there := func(kind, name, note string) { add(kind, name, joinNotes(note, onHost(uri))) }
			if err := e.doomLibvirt(ctx, uri, on[uri], there); err != nil {
				return d, err
			}
		}
	case config.Embedded:
		st, err := e.Engine().Status()
		if err != nil {
			return d, err
		}
		for _, p := range st.Processes {
			add("process", p, "of the embedded engine")
		}
		if e.Engine().Exists() {
			add("folder", e.Engine().Dir, "the embedded engine, with the VMs' disks and networks")
		}
	}
	x, err := e.readExports()
	if err != nil {
		return d, err
	}
	if x.DockerContext != "" {
		add("Docker context", x.DockerContext, "")
	}
	if x.SSHConfig != "" {
		add("line", "Include "+e.SSHConfigFile(), "in "+x.SSHConfig)
	}
	if x.AnsibleConfig != "" {
		add("file", x.AnsibleConfig, "")
	}
	add("folder", e.StateDir(), "the lab's state")
	artifacts := e.Lab.Artifacts
	if !filepath.IsAbs(artifacts) {
		artifacts = filepath.Join(e.Dir, artifacts)
	}
	d.Kept = []Item{{"folder", artifacts, "the evidence of earlier commands"}, {"folder", e.Cache, "boxes and bundles, which all labs share"}}
	return d, nil
}

// vmName is what the provider calls a node's VM.
func (e *Env) vmName(node string) string {
	if e.Choice.Provider == config.VirtualBox {
		return e.AsMade().Name + "-" + node
	}
	return vagrant.DomainPrefix(e.AsMade().Name) + node
}

// doomLibvirt asks for what Vagrant does not know: half-made VMs with the
// lab's mark, their volumes, and the networks unless another lab uses them.
func (e *Env) doomLibvirt(ctx context.Context, uri string, nodes []string, add func(kind, name, note string)) error {
	virsh := func(args ...string) (string, error) {
		res, err := e.virsh(ctx, uri, args...)
		return res.Stdout, err
	}
	list, err := virsh("list", "--all", "--name")
	if err != nil {
		return err
	}
	domains := strings.Fields(list)
	ours := map[string]bool{} // domains
	for _, m := range e.standing() {
		ours[e.vmName(m.Name)] = true
	}
	for _, n := range nodes {
		domain := e.vmName(n)
		if ours[domain] || !slices.Contains(domains, domain) {
			continue
		}
		title, err := virsh("desc", domain, "--title")
		if err != nil {
			return err
		}
		if strings.TrimSpace(title) != e.mark() {
			continue
		}
		ours[domain] = true
		add("VM", domain, "half made: Vagrant does not know it")
	}
	if volumes, err := virsh("vol-list", "default"); err == nil { // no pool: no volumes
		for _, n := range nodes {
			volume := e.vmName(n) + ".img"
			if hasWord(volumes, volume) && (ours[e.vmName(n)] || !slices.Contains(domains, e.vmName(n))) {
				add("volume", volume, "")
			}
		}
	}
	for _, d := range domains {
		if strings.HasPrefix(d, vagrant.DomainPrefix(e.AsMade().Name)) && !ours[d] {
			return nil // a lab of the same name in another folder uses the networks
		}
	}
	networks, err := virsh("net-list", "--all", "--name")
	if err != nil {
		return err
	}
	for _, name := range []string{vagrant.LabNetwork(e.AsMade().Name), vagrant.ManagementNetwork(e.AsMade().Name)} {
		if hasWord(networks, name) {
			add("network", name, "")
		}
	}
	return nil
}

// String writes the item on one line.
func (i Item) String() string {
	s := fmt.Sprintf("%s %s", i.Kind, i.Name)
	if i.Note != "" {
		s += ": " + i.Note
	}
	return s
}
