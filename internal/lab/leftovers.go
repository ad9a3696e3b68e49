package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"labctl/internal/config"
	"labctl/internal/remote"
	"labctl/internal/vagrant"
)

var execLookPath = exec.LookPath

// LeftoverError is a VM that carries this lab's mark but that Vagrant does
// not know.
type LeftoverError struct{ Domains []string }

func (e *LeftoverError) Error() string {
	return "Vagrant does not know these VMs of this lab: " + strings.Join(e.Domains, ", ")
}

// Hint names the flag that removes them.
func (e *LeftoverError) Hint() string {
	return "was .labctl/.vagrant deleted? `labctl create --force` removes these VMs with their disks and makes them anew"
}

// ForeignVMError is a VM with the name of one of this lab's that does not
// carry its mark.
type ForeignVMError struct{ Domain, Title, Want string }

func (e *ForeignVMError) Error() string {
	return fmt.Sprintf("VM %s is not this lab's: its title is %q, not %q; rename the lab in lab.toml, or remove that VM by hand", e.Domain, e.Title, e.Want)
}

// clearLeftovers removes half-made VMs of the nodes: those that an interrupted
// `vagrant up` defined without noting their id, or without their network cards,
// which it would never give them: they would wait for an address for ever.
// Others that carry the mark are a person's, and go only with consent. Only
// libvirt has the question: for VirtualBox the id is noted before anything can
// go wrong.
func (e *Env) clearLeftovers(ctx context.Context, names []string) error {
	if e.Choice.Provider == config.VirtualBox {
		return nil
	}
	uris, on := e.onHypervisors(names)
	for _, uri := range uris {
		if err := e.clearOn(ctx, uri, on[uri]); err != nil {
			return err
		}
	}
	return nil
}

func (e *Env) clearOn(ctx context.Context, uri string, names []string) error {
	res, err := e.virsh(ctx, uri, "list", "--all", "--name")
	if err != nil {
		return err
	}
	var strange []string
	domains := strings.Fields(res.Stdout)
	for _, name := range names {
		domain := vagrant.DomainPrefix(e.Lab.Name) + name
		if !slices.Contains(domains, domain) {
			continue
		}
		if e.vagrantKnows(name) {
			if err := e.clearHalf(ctx, uri, name, domain); err != nil {
				return err
			}
			continue
		}
		if !e.Force && !slices.Contains(e.State.Booting, name) {
			strange = append(strange, domain)
			continue
		}
		if err := e.removeDomain(ctx, uri, domain); err != nil {
			return err
		}
	}
	if strange != nil {
		return &LeftoverError{strange}
	}
	return e.removeVolumes(ctx, uri, names, domains)
}

// cards is how many network cards each VM has: Vagrant's own and the lab's.
const cards = 2

// clearHalf removes a VM that Vagrant knows and has not given all its cards.
func (e *Env) clearHalf(ctx context.Context, uri, node, domain string) error {
	if !slices.Contains(e.State.Booting, node) {
		return nil
	}
	res, err := e.virsh(ctx, uri, "domiflist", domain, "--inactive")
	if err != nil || strings.Count(res.Stdout, ":") >= cards*5 { // of their MAC addresses
		return err
	}
	if err := e.removeDomain(ctx, uri, domain); err != nil {
		return err
	}
	return os.Remove(e.idFile(node))
}

// booted says whether VMs of this lab were made, or begun.
func (e *Env) booted() bool {
	ids, _ := filepath.Glob(filepath.Join(e.StateDir(), ".vagrant", "machines", "*", "*", "id"))
	return len(ids) > 0 || len(e.State.Booting) > 0
}

// mark is what this lab's VMs carry. It holds a hash of the lab's folder: on
// the system's hypervisor another folder can have a lab of the same name.
func (e *Env) mark() string { return vagrant.Mark(e.Lab.Name, e.id()) }

func (e *Env) id() string {
	sum := sha256.Sum256([]byte(e.Dir))
	return hex.EncodeToString(sum[:4])
}

func (e *Env) vagrantKnows(node string) bool {
	// Empty if Vagrant was killed as it wrote it: it does not know the VM then.
	id, err := os.ReadFile(e.idFile(node))
	return err == nil && len(bytes.TrimSpace(id)) > 0
}

// idFile is where Vagrant notes which VM is the node's.
func (e *Env) idFile(node string) string {
	return filepath.Join(e.StateDir(), ".vagrant", "machines", node, "libvirt", "id")
}

func (e *Env) removeDomain(ctx context.Context, uri, domain string) error {
	virsh := func(args ...string) (remote.Result, error) {
		return e.Host.Run(ctx, virshCommand(uri, args...))
	}
	res, err := virsh("desc", domain, "--title")
	if err != nil {
		return err
	}
	if title := strings.TrimSpace(res.Stdout); title != e.mark() {
		return &ForeignVMError{Domain: domain, Title: title, Want: e.mark()}
	}
	if _, err := virsh("destroy", domain); err != nil { // fails if it is off
		return err
	}
	_, err = e.virsh(ctx, uri, "undefine", domain, "--remove-all-storage", "--nvram")
	return err
}

// removeVolumes removes disks whose VM was never defined: Vagrant refuses to
// make a volume that exists.
func (e *Env) removeVolumes(ctx context.Context, uri string, names, domains []string) error {
	res, err := e.Host.Run(ctx, virshCommand(uri, "vol-list", "default"))
	if err != nil || res.ExitCode != 0 {
		return err // no pool yet: no volumes
	}
	for _, name := range names {
		domain := vagrant.DomainPrefix(e.Lab.Name) + name
		volume := domain + ".img"
		if !slices.Contains(strings.Fields(res.Stdout), volume) || (slices.Contains(domains, domain) && e.vagrantKnows(name)) {
			continue
		}
		if !e.Force && !slices.Contains(e.State.Booting, name) {
			return fmt.Errorf("volume %s is left from an earlier lab of this name; `labctl create --force` removes it", volume)
		}
		if _, err := e.virsh(ctx, uri, "vol-delete", volume, "default"); err != nil {
			return err
		}
	}
	return nil
}
