package lab

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"labctl/internal/config"
)

// MadeNode is what a node's VM was made with.
type MadeNode struct {
	Name     string      `json:"name"`
	Role     config.Role `json:"role"`
	IP       netip.Addr  `json:"ip"`
	CPUs     int         `json:"cpus"`
	MemoryMB int         `json:"memory"`        // MiB
	Box      string      `json:"box,omitempty"` // name and version in lab.toml; "" for the provider's default
	// Address and Login are how a machine that labctl did not make is reached.
	Address string       `json:"address,omitempty"`
	Login   config.Login `json:"login,omitzero"`
	config.Place
}

func made(l *config.Lab, n config.Node) MadeNode {
	if l.Provider == config.Existing {
		return MadeNode{Name: n.Name, Role: n.Role, IP: n.IP, Address: n.Address, Login: n.Login}
	}
	return MadeNode{Name: n.Name, Role: n.Role, IP: n.IP, CPUs: n.CPUs, MemoryMB: n.MemoryMB, Box: strings.TrimSpace(l.Box.Name + " " + l.Box.Version), Place: n.Place}
}

func (m MadeNode) node() config.Node {
	return config.Node{Name: m.Name, Role: m.Role, IP: m.IP, CPUs: m.CPUs, MemoryMB: m.MemoryMB, Address: m.Address, Login: m.Login, Place: m.Place}
}

// Change is one difference between the lab that stands and lab.toml.
type Change struct {
	Node   string `json:"node,omitempty"` // "" for the lab as a whole
	Text   string `json:"text"`
	Remedy string `json:"remedy,omitempty"`
	// Stops says that create cannot go on with it.
	Stops bool `json:"stops"`
}

// Error lets a change be the reason why create does not go on.
func (c *Change) Error() string { return c.Text }

// Hint returns the remedy.
func (c *Change) Hint() string { return c.Remedy }

// standing returns what is known of every VM that Vagrant knows, in the order
// in which they were made; what an older labctl has made counts as lab.toml
// has it, and with its name alone if lab.toml does not have it. Machines that
// labctl did not make stand once they have been taken over.
func (e *Env) standing() []MadeNode {
	if e.State.Provider == config.Existing {
		return slices.Clone(e.State.Nodes)
	}
	ids, _ := filepath.Glob(filepath.Join(e.StateDir(), ".vagrant", "machines", "*", "*", "id"))
	var out []MadeNode
	known := func(name string) bool {
		return slices.ContainsFunc(out, func(m MadeNode) bool { return m.Name == name })
	}
	has := map[string]bool{}
	for _, id := range ids {
		has[filepath.Base(filepath.Dir(filepath.Dir(id)))] = true
	}
	for _, m := range e.State.Nodes {
		if has[m.Name] && !known(m.Name) {
			out = append(out, m)
		}
	}
	for _, n := range e.Lab.Nodes {
		if has[n.Name] && !known(n.Name) {
			out = append(out, made(e.Lab, n))
		}
	}
	for _, id := range ids {
		if name := filepath.Base(filepath.Dir(filepath.Dir(id))); !known(name) {
			out = append(out, MadeNode{Name: name})
		}
	}
	return out
}

// gone returns the nodes that stand and that lab.toml does not name.
func (e *Env) gone() []MadeNode {
	return slices.DeleteFunc(e.standing(), func(m MadeNode) bool {
		_, named := e.Lab.Node(m.Name)
		return named
	})
}

// knownNodes are the names of lab.toml's nodes that have a VM.
func (e *Env) knownNodes() []string {
	var out []string
	for _, m := range e.standing() {
		if _, named := e.Lab.Node(m.Name); named {
			out = append(out, m.Name)
		}
	}
	return out
}

// Changes tells how lab.toml differs from the lab that stands; nothing if none
// does. New nodes are no difference: create makes them. prune says that nodes
// which lab.toml does not name shall go.
func (e *Env) Changes(prune bool) []Change {
	stand := e.standing()
	if len(stand) == 0 {
		return nil
	}
	// What is made anew has no past.
	out := changes(e.State.Lab, e.State.Subnet, stand, e.Lab, prune)
	return slices.DeleteFunc(out, func(c Change) bool { return c.Node != "" && slices.Contains(e.Rebuild, c.Node) })
}

// New are the nodes of lab.toml that create makes for a lab that stands.
func (e *Env) New() []config.Node {
	known := e.knownNodes()
	if len(e.standing()) == 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(e.Lab.Nodes), func(n config.Node) bool { return slices.Contains(known, n.Name) })
}

// anew is how one node is made anew, without the others. The first manager
// keeps the swarm: without it there would be a new one.
func anew(l *config.Lab, name string) string {
	const all = "`labctl destroy` and `labctl create` make the whole lab anew"
	switch managers := l.Managers(); {
	case l.Provider == config.Existing:
		return fmt.Sprintf("to take it in anew: take %s out of lab.toml, `labctl create --prune`, put it back, `labctl create`", name)
	case name != managers[0].Name:
		return fmt.Sprintf("`labctl create --rebuild %s` makes it anew", name)
	case len(managers) > 1:
		return fmt.Sprintf("list %s as the first manager, then `labctl create --rebuild %s` makes it anew; or %s", managers[1].Name, name, all)
	}
	return all
}

// changes compares what stands with lab.toml. It is pure.
func changes(name string, subnet netip.Prefix, stand []MadeNode, l *config.Lab, prune bool) []Change {
	var out []Change
	add := func(node string, stops bool, remedy, format string, args ...any) {
		out = append(out, Change{Node: node, Stops: stops, Remedy: remedy, Text: fmt.Sprintf(format, args...)})
	}
	const back = "set it back, or `labctl destroy`, then `labctl create`"
	if name != "" && name != l.Name {
		add("", true, back, "lab.toml: name is %q, but the lab that stands here is %q", l.Name, name)
	}
	machines := l.Provider == config.Existing
	if subnet.IsValid() && subnet != l.Subnet && !machines { // theirs is what holds them all
		add("", true, back, "lab.toml: subnet is %s, but the lab that stands here has %s", l.Subnet, subnet)
		return out // every address differs, too
	}
	box := strings.TrimSpace(l.Box.Name + " " + l.Box.Version)
	leader := l.Managers()[0]
	led, managers := false, []string{}
	for _, m := range stand {
		if m.Role == config.Manager {
			managers = append(managers, m.Name)
			led = led || m.Name == leader.Name
		}
		n, named := l.Node(m.Name)
		if !named {
			taken := slices.IndexFunc(l.Nodes, func(n config.Node) bool { return m.IP.IsValid() && n.IP == m.IP })
			switch {
			case taken >= 0 && !prune:
				add(m.Name, true, "`labctl create --prune` removes "+m.Name+" first, or give "+l.Nodes[taken].Name+" another address",
					"%s shall have %s, which %s has; it stands, though lab.toml does not name it", l.Nodes[taken].Name, m.IP, m.Name)
			case !prune:
				goes := "`labctl create --prune` removes it"
				if machines {
					goes = "`labctl create --prune` takes it out of the swarm and gives it back"
				}
				add(m.Name, false, goes, "%s stands, but lab.toml does not name it: it stays as it is", m.Name)
			}
			continue
		}
		if m.IP.IsValid() && m.IP != n.IP {
			add(n.Name, true, "set it back; "+anew(l, n.Name), "%s stands with the address %s, lab.toml says %s", n.Name, m.IP, n.IP)
		}
		differs := func(what string, is, want any) {
			add(n.Name, false, anew(l, n.Name), "%s stands with %s %v, lab.toml says %v: it keeps what it has", n.Name, what, is, want)
		}
		if m.Hypervisor() != n.Hypervisor() {
			add(n.Name, true, "set it back; "+anew(l, n.Name), "%s stands on %s, lab.toml says %s", n.Name, m.Hypervisor(), n.Hypervisor())
		}
		if m.Bridge != n.Bridge {
			differs("bridge", word(m.Bridge), word(n.Bridge))
		}
		if m.CPUs != 0 && m.CPUs != n.CPUs {
			differs("cpus", m.CPUs, n.CPUs)
		}
		if m.MemoryMB != 0 && m.MemoryMB != n.MemoryMB {
			differs("memory", m.MemoryMB, n.MemoryMB)
		}
		if m.Box != box && !machines {
			differs("box", word(m.Box), word(box))
		}
		if m.Role != "" && m.Role != n.Role {
			add(n.Name, false, "", "%s is a %s and becomes a %s", n.Name, m.Role, n.Role)
		}
	}
	if len(managers) > 0 && !led {
		// Any other node would form a swarm of its own.
		one := managers[0]
		if len(managers) > 1 {
			one = "one of " + strings.Join(managers, ", ")
		}
		add(leader.Name, true, fmt.Sprintf("list %s as the first manager; or `labctl destroy`, then `labctl create`", one),
			"%s is the first manager of lab.toml, but no manager of the swarm that stands", leader.Name)
	}
	return out
}

func word(s string) string {
	if s == "" {
		return "(the default)"
	}
	return s
}

// noteNodes writes down what VMs that do not exist yet are going to be made
// with, and what those that exist were made with. Machines that labctl did not
// make are added when they are taken over.
func (e *Env) noteNodes() bool {
	before := append([]MadeNode{}, e.State.Nodes...)
	name, subnet := e.State.Lab, e.State.Subnet
	stand := e.standing()
	nodes := stand
	for i, m := range nodes {
		if n, named := e.Lab.Node(m.Name); named && e.existing() {
			nodes[i].Address, nodes[i].Login = n.Address, n.Login // by what it is reached now
		}
	}
	for _, n := range e.Lab.Nodes {
		if !e.existing() && !slices.ContainsFunc(stand, func(m MadeNode) bool { return m.Name == n.Name }) {
			nodes = append(nodes, made(e.Lab, n))
		}
	}
	e.State.Lab, e.State.Subnet, e.State.Nodes = e.Lab.Name, e.Lab.Subnet, nodes
	if e.existing() {
		e.State.SSH = e.Lab.SSH
	}
	return name != e.State.Lab || subnet != e.State.Subnet || !slices.Equal(before, nodes)
}

// rolesDiffer says whether create gives nodes other roles than they had.
func (e *Env) rolesDiffer() bool {
	return slices.ContainsFunc(e.State.Nodes, func(m MadeNode) bool {
		n, named := e.Lab.Node(m.Name)
		return named && n.Role != m.Role
	})
}

// noteRoles writes down the roles that create has given to nodes.
func (e *Env) noteRoles() error {
	changed := false
	for i, m := range e.State.Nodes {
		if n, ok := e.Lab.Node(m.Name); ok && n.Role != m.Role {
			e.State.Nodes[i].Role, changed = n.Role, true
		}
	}
	if !changed {
		return nil
	}
	return e.State.Save()
}

// Apply makes of the lab that stands the one that lab.toml describes: Create,
// and with prune the removal of nodes that it does not name. Those whose
// address is wanted by a new node go first, and so do those of Rebuild.
func (e *Env) Apply(ctx context.Context, prune bool) error {
	if old := e.rebuilt(); len(old) > 0 {
		if err := e.remove(ctx, old); err != nil {
			return err
		}
		e.noteNodes()
		if err := e.State.Save(); err != nil {
			return err
		}
	}
	if prune && slices.ContainsFunc(e.gone(), func(m MadeNode) bool {
		return slices.ContainsFunc(e.Lab.Nodes, func(n config.Node) bool { return n.IP == m.IP })
	}) {
		if err := e.Prune(ctx); err != nil {
			return err
		}
	}
	if err := e.Create(ctx); err != nil {
		return err
	}
	if prune && len(e.gone()) > 0 {
		if err := e.Prune(ctx); err != nil {
			return err
		}
		if !e.existing() { // which has no snapshots
			if err := runSteps(ctx, e, []Step{{Name: "snapshot", Run: pristine}}); err != nil {
				return err
			}
		}
	}
	return e.noteRoles()
}

// Remembered returns the lab as it was made, for a lab.toml that is gone or
// cannot be read; false if this labctl's state does not say.
func (s *State) Remembered() (*config.Lab, bool) {
	if s.Lab == "" || len(s.Nodes) == 0 || !s.Subnet.IsValid() {
		return nil, false
	}
	l := config.Default()
	l.Name, l.Subnet, l.SSH, l.Nodes = s.Lab, s.Subnet, s.SSH, nil
	if s.Provider != "" {
		l.Provider = s.Provider
	}
	for _, m := range s.Nodes {
		l.Nodes = append(l.Nodes, m.node())
	}
	return l, true
}

// AsMade is the lab with all the nodes that stand, named in lab.toml or not,
// under the name that their VMs have.
func (e *Env) AsMade() *config.Lab {
	l := *e.Lab
	l.Nodes = slices.Clone(l.Nodes)
	if e.State.Lab != "" {
		l.Name = e.State.Lab
	}
	if e.State.Subnet.IsValid() {
		l.Subnet = e.State.Subnet
	}
	for _, m := range e.standing() {
		i := slices.IndexFunc(l.Nodes, func(n config.Node) bool { return n.Name == m.Name })
		if i < 0 {
			l.Nodes = append(l.Nodes, m.node())
		} else {
			l.Nodes[i].Place = m.Place
		}
	}
	return &l
}

// forgetNode drops what is noted of a node whose VM is gone.
func (e *Env) forgetNode(name string) error {
	e.State.Nodes = slices.DeleteFunc(e.State.Nodes, func(m MadeNode) bool { return m.Name == name })
	_ = os.Remove(e.endpointFile(config.Node{Name: name}))
	_ = os.RemoveAll(filepath.Join(e.StateDir(), ".vagrant", "machines", name))
	return e.State.Save()
}
