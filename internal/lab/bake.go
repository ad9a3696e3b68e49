package lab

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/client"

	labassets "labctl"
	"labctl/internal/apt"
	"labctl/internal/box"
	"labctl/internal/config"
	"labctl/internal/provision"
	"labctl/internal/remote"
	"labctl/internal/vagrant"
)

// nodeBox returns the box that nodes are made from: the one that the lab's
// nodes have, so that they stay alike; for a new lab the baked one, else the
// one with Docker's packages, else the plain one. ok is false if none is in the
// cache. It builds nothing.
func (e *Env) nodeBox() (b box.Box, what string, ok bool, err error) {
	c, err := e.contents()
	if err != nil {
		return box.Box{}, "", false, err
	}
	made, err := e.madeBoxes(c)
	if err != nil {
		return box.Box{}, "", false, err
	}
	for _, m := range made {
		if takesMade(m.Name, e.boxInUse(), e.NoCache) {
			return m.Box, m.what, true, nil
		}
	}
	b, ok, err = box.Find(e.BoxOptions(nil))
	return b, "", ok, err
}

// madeBox is a box that is made from the plain one.
type madeBox struct {
	box.Box
	what string // in words
}

// madeBoxes are those that are in the cache, the best first.
func (e *Env) madeBoxes(c contents) ([]madeBox, error) {
	var out []madeBox
	for _, k := range []struct {
		find func(box.Options, string) (box.Box, bool, error)
		what string
	}{
		{box.FindBaked, "the baked box %s, which has Docker in it"},
		{box.FindInstalled, "the box %s, in which this machine has installed Docker's packages"},
	} {
		b, ok, err := k.find(e.BoxOptions(nil), c.text)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, madeBox{b, fmt.Sprintf(k.what, b.Name)})
		}
	}
	return out, nil
}

// takesMade says whether nodes are made from the box of that name, which was
// made from the plain one. used is the box of the nodes that there are, "" for
// none.
func takesMade(made, used string, noCache bool) bool {
	if used != "" {
		return used == made
	}
	return !noCache
}

// tellBox says so if new nodes will not be made from the plain box.
func (e *Env) tellBox(say func(string)) error {
	if !e.ownBox() || e.boxInUse() != "" {
		return nil
	}
	_, what, _, err := e.nodeBox()
	if what != "" {
		say("from " + what + "; --no-cache takes the plain one")
	}
	return err
}

// installBox installs Docker's packages in the plain box, unless a new lab will
// be made from a box that has them: once at the speed of this machine's
// processor, not on each node at that of an emulated one. What needs a running
// Docker is done on the nodes.
func installBox(ctx context.Context, e *Env, say func(string)) (bool, error) {
	if !e.ownBox() || e.NoCache || e.boxInUse() != "" {
		return false, nil
	}
	c, err := e.contents()
	if err != nil || c.bundle == "" {
		return false, err
	}
	if made, err := e.madeBoxes(c); err != nil || len(made) > 0 {
		return false, err
	}
	b, err := e.findBundle(ctx) // which verifies it
	if err != nil || b == nil || b.Dir != c.bundle {
		return false, err
	}
	daemon, err := provision.DaemonJSON(e.Lab.Docker.RegistryMirror)
	if err != nil {
		return false, err
	}
	settings, err := provision.SettingsFiles(daemon)
	if err != nil {
		return false, err
	}
	o := provision.Options{Source: e.Lab.Docker.Source, Version: e.Lab.Docker.Version, RegistryMirror: e.Lab.Docker.RegistryMirror}
	finish, err := o.BoxScript()
	if err != nil {
		return false, err
	}
	made, err := box.Install(ctx, box.InstallOptions{
		Options: e.BoxOptions(say), Contents: c.text, Packages: b.Dir, Files: settings, Finish: finish,
	})
	if err != nil && ctx.Err() == nil {
		err = &NoDockerBoxError{err}
	}
	return made.Built, err
}

// NoDockerBoxError is a box that could not be given Docker's packages.
type NoDockerBoxError struct{ Err error }

func (e *NoDockerBoxError) Error() string { return e.Err.Error() }

// Unwrap returns why.
func (e *NoDockerBoxError) Unwrap() error { return e.Err }

// Hint says how to do without, after the hint of why.
func (e *NoDockerBoxError) Hint() string {
	why := ""
	var h interface{ Hint() string }
	if errors.As(e.Err, &h) {
		why = h.Hint() + "; "
	}
	return why + "`labctl create --no-cache` installs Docker on each node instead"
}

// boxInUse is the name of the box that the lab's nodes were made from, as
// Vagrant noted it; "" if there are none.
func (e *Env) boxInUse() string {
	for _, n := range e.Lab.Nodes {
		var meta struct{ Name string }
		data, err := os.ReadFile(filepath.Join(e.StateDir(), ".vagrant", "machines", n.Name, "libvirt", "box_meta"))
		if err == nil && json.Unmarshal(data, &meta) == nil && e.vagrantKnows(n.Name) {
			return meta.Name
		}
	}
	return ""
}

// contents is what create puts into a node that a box can hold.
type contents struct {
	// text is all that decides what Docker is installed, and how. Names,
	// addresses and the proxy are not among it, since baking takes them out.
	text   string
	bundle string // the folder of Docker's packages; "" if they come from elsewhere
}

func (e *Env) contents() (contents, error) {
	d := e.Lab.Docker
	var out contents
	c := struct{ Source, Version, Mirror, Bundle, Scripts string }{
		Source: string(d.Source), Version: d.Version, Mirror: d.RegistryMirror,
	}
	if d.Source == config.SourceAuto || d.Source == config.SourceBundle {
		system, err := apt.ReadSystem(apt.OSRelease)
		if err != nil {
			return contents{}, err
		}
		b, err := provision.FindBundle(e.Cache, cmp.Or(e.Lab.Box.Release, system.Codename), "")
		if err != nil {
			return contents{}, err
		}
		if b != nil {
			// It is named by what is in it.
			c.Source, c.Bundle, out.bundle = string(config.SourceBundle), filepath.Base(b.Dir), b.Dir
		}
	}
	h := sha256.New()
	err := fs.WalkDir(labassets.Files, "provision", func(path string, f fs.DirEntry, err error) error {
		if err != nil || f.IsDir() {
			return err
		}
		data, err := labassets.Files.ReadFile(path)
		_, _ = fmt.Fprintf(h, "%s %d\n%s", path, len(data), data)
		return err
	})
	if err != nil {
		return contents{}, err
	}
	c.Scripts = fmt.Sprintf("%x", h.Sum(nil))
	text, err := json.Marshal(c)
	out.text = string(text)
	return out, err
}

// CannotBakeError is a lab whose nodes cannot become a box.
type CannotBakeError struct{ Reason, Remedy string }

func (e *CannotBakeError) Error() string { return "bake: " + e.Reason }

// Hint says what to do instead.
func (e *CannotBakeError) Hint() string { return e.Remedy }

// Bake makes a box of a finished node, which goes on running: later labs with
// the same inputs are made from it. It stands still while its disk is copied.
// Of a box that is in the cache nothing is made, unless force. The error is a
// *CannotBakeError if the lab is not one to bake from.
func (e *Env) Bake(ctx context.Context, n config.Node, force bool) (box.Box, error) {
	if err := e.canBake(); err != nil {
		return box.Box{}, err
	}
	var made box.Box
	err := runSteps(ctx, e, []Step{
		{Name: "connect", Node: n.Name, Run: connect(n)},
		{Name: "examine", Node: n.Name, After: []string{key("connect", n.Name)}, Run: examine(n)},
		{Name: "bake", Node: n.Name, After: []string{key("examine", n.Name)}, Run: func(ctx context.Context, e *Env, say func(string)) (_ bool, err error) {
			made, err = e.bake(ctx, n, force, say)
			return made.Built, err
		}},
		// The next create finds it there.
		{Name: "add box", After: []string{key("bake", n.Name)}, Run: func(ctx context.Context, e *Env, _ func(string)) (bool, error) {
			return e.Vagrant().AddBox(ctx, made.Name, made.Path)
		}},
	})
	return made, err
}

// canBake looks at the lab without asking a node.
func (e *Env) canBake() error {
	switch {
	case e.Choice.Provider != config.Embedded:
		return &CannotBakeError{
			fmt.Sprintf("it is there for the embedded engine only, and this lab lives on %s", e.Choice.Provider),
			"`vagrant package` makes a box of one of its VMs; name that as box.name and box.url in lab.toml",
		}
	case !e.ownBox():
		return &CannotBakeError{
			"lab.toml names the box " + e.Lab.Box.Name + ", and only labctl's own can be baked",
			"remove box.name from lab.toml, then make a new lab",
		}
	}
	c, err := e.contents()
	if err != nil {
		return err
	}
	plain, _, err := box.Find(e.BoxOptions(nil))
	if err != nil {
		return err
	}
	made, err := e.madeBoxes(c)
	if err != nil {
		return err
	}
	used := e.boxInUse()
	of := func(m madeBox) bool { return used == m.Name }
	if used == "" || used != plain.Name && !slices.ContainsFunc(made, of) {
		return &CannotBakeError{
			fmt.Sprintf("the nodes were made from the box %q, and labctl makes another one by now", used),
			"`labctl destroy` and `labctl create` make the lab anew",
		}
	}
	return nil
}

// examine looks whether the node is as create leaves it.
func examine(n config.Node) func(context.Context, *Env, func(string)) (bool, error) {
	return func(ctx context.Context, e *Env, _ func(string)) (bool, error) {
		res, err := e.Runner(n.Name).Run(ctx, remote.Command{Argv: []string{"sudo", "-n", "test", "-s", "/var/lib/labctl/docker.mark"}})
		if err != nil {
			return false, err
		}
		if res.ExitCode != 0 {
			return false, &CannotBakeError{"Docker is not installed whole", "`labctl create` does what is missing"}
		}
		api, err := e.API(n)
		if err != nil {
			return false, err
		}
		list, err := api.ContainerList(ctx, client.ContainerListOptions{All: true})
		if err != nil {
			return false, err
		}
		if len(list.Items) > 0 {
			var names []string
			for _, c := range list.Items {
				names = append(names, strings.TrimPrefix(strings.Join(c.Names, " "), "/"))
			}
			return false, &CannotBakeError{"there are containers: " + strings.Join(names, ", "), "`labctl reset` brings the lab back to what create left, which is what a box should hold"}
		}
		return false, nil
	}
}

func (e *Env) bake(ctx context.Context, n config.Node, force bool, say func(string)) (box.Box, error) {
	c, err := e.contents()
	if err != nil {
		return box.Box{}, err
	}
	o := box.BakeOptions{Options: e.BoxOptions(say), Contents: c.text}
	o.Force = force
	o.Disk = func(ctx context.Context, file string) (err error) {
		if _, err := remote.Check(ctx, e.Runner(n.Name), n.Name, remote.Command{Argv: []string{"sync"}}); err != nil {
			return err
		}
		return e.copyDisk(ctx, n, file)
	}
	return box.Bake(ctx, o)
}

// copyDisk is a shell's work and not Go's, so that the node goes on even if
// labctl is killed meanwhile: the trap lets it. A paused QEMU has written all
// that it holds of the disk, and --force-share reads past its lock.
const copyDisk = `domain=$1 file=$2
virsh() { command virsh -q -c qemu:///system "$@"; }
disk=$(virsh domblklist "$domain" --details | awk '$2 == "disk" { print $4; exit }')
[ -n "$disk" ] || { echo "$domain has no disk" >&2; exit 1; }
umask 077
trap 'virsh resume "$domain" >/dev/null' EXIT
trap 'exit 130' HUP INT TERM
virsh suspend "$domain" >/dev/null
qemu-img convert --force-share -O raw "$disk" "$file"
`

// resumeWithin bounds setting a paused node going again.
const resumeWithin = 30 * time.Second

// copyDisk copies the disk of a running node as of one moment, during which it
// stands still, and sets its clock afterwards.
func (e *Env) copyDisk(ctx context.Context, n config.Node, file string) error {
	err := pausedCopy(ctx, e.Host, vagrant.DomainPrefix(e.Lab.Name)+n.Name, file)
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), resumeWithin)
	defer cancel()
	return errors.Join(err, setClock(late, e.Runner(n.Name), n.Name))
}

// pausedCopy pauses a domain while it copies its disk to file. The domain goes
// on whatever happens.
func pausedCopy(ctx context.Context, host remote.Runner, domain, file string) error {
	_, err := remote.Check(ctx, host, "host", remote.Script(copyDisk, domain, file))
	if err == nil {
		return nil
	}
	// The shell may have been killed before its trap ran.
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), resumeWithin)
	defer cancel()
	virsh := func(args ...string) (remote.Result, error) {
		return remote.Check(late, host, "host", remote.Command{Argv: append([]string{"virsh", "-q", "-c", "qemu:///system"}, args...)})
	}
	state, serr := virsh("domstate", domain)
	if serr == nil && strings.TrimSpace(state.Stdout) == "paused" {
		_, serr = virsh("resume", domain)
	}
	return errors.Join(err, serr)
}
