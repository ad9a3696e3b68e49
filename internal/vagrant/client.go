package vagrant

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"labctl/internal/config"
	"labctl/internal/remote"
)

// Client runs Vagrant for one lab: its boxes through go-vagrant, its VMs
// through run, which says why.
type Client struct {
	Dir      string // folder of the Vagrantfile and of .vagrant
	Provider config.Provider
	Log      io.Writer // everything that `vagrant up` prints; nil for nowhere
	// Host runs virsh, where the provider has it: it answers twenty times
	// faster than Vagrant. Nil: Vagrant is asked.
	Host remote.Runner
	// URI tells the hypervisor of a node's VM; nil: this machine's own has all.
	URI func(node string) string
	// Calls counts how often Vagrant was started; nil: nobody counts.
	Calls *atomic.Int64

	grace time.Duration // see patience; 0 is the default
	query time.Duration // see queryTimeout; 0 is the default
}

// State is a VM's state.
type State string

// The states that labctl tells apart; every other state of a provider is
// passed on in Vagrant's own word.
const (
	NotCreated State = "not created"
	Running    State = "running"
	PowerOff   State = "powered off"
)

const (
	// defaultQuery bounds status and ssh-config: 2 s when the host is idle.
	defaultQuery   = 2 * time.Minute
	destroyTimeout = 5 * time.Minute
	// defaultGrace is what an interrupted Vagrant gets to release its locks.
	defaultGrace = 8 * time.Second
)

// Error is a Vagrant command that failed.
type Error struct {
	Command string // "up", "status", …
	Message string // what Vagrant said
	Cause   error
}

func (e *Error) Error() string {
	s := "vagrant " + e.Command + " failed"
	if line := gist(e.Message); line != "" {
		s += ": " + line
	} else if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// preambles are the lines with which Vagrant begins the message of a failure
// that happened to one of several machines.
var preambles = []string{
	"An error occurred while executing multiple actions in parallel",
	"Any errors that occurred are shown below",
	"An unexpected error occurred when executing the action on the",
	"An error occurred while executing the action on the",
	"machine. Please report this as a bug",
	"machine. Please handle this error then try again",
}

// gist is the first line of a message that says something.
func gist(message string) string {
	for line := range strings.Lines(message) {
		line = strings.TrimSpace(line)
		if line != "" && !slices.ContainsFunc(preambles, func(p string) bool { return strings.Contains(line, p) }) {
			return line
		}
	}
	return ""
}

func (e *Error) Unwrap() error { return e.Cause }

// rubyFrame is a line of a Ruby stack trace.
var rubyFrame = regexp.MustCompile("\\.rb:\\d+:in [`']")

// Output returns Vagrant's message, without the stack traces that it adds to
// what it takes for a bug of its own; vagrant.log has them.
func (e *Error) Output() string {
	lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(e.Message), "\n"), rubyFrame.MatchString)
	return strings.TrimSpace(strings.Join(lines, "\n"))
}

// NotReady says that the VM has no address for SSH: it is off, or booting.
func (e *Error) NotReady() bool { return strings.Contains(e.Message, "not yet ready for SSH") }

// Hint gives the remedy for the messages that have one.
func (e *Error) Hint() string {
	for _, k := range known {
		if strings.Contains(e.Message, k.text) {
			return k.hint
		}
	}
	return ""
}

// known maps words of Vagrant's messages to remedies.
var known = []struct{ text, hint string }{
	{"is a public_network referencing host device", "the bridge that lab.toml names must be there on that hypervisor before: `ip -br link show type bridge` lists those that are"},
	{"already taken", "a VM of that name exists, but Vagrant does not know it (its .vagrant folder was deleted): `labctl create --force` removes what carries this lab's mark and creates it again"},
	{"already exists", "a volume of that name is left from an earlier lab: `labctl create --force` removes what carries this lab's mark and creates it again"},
	{"192.168.33", "VirtualBox 6.1.28 and later allow host-only addresses outside 192.168.56.0/21 only if /etc/vbox/networks.conf has the line `* 192.168.33.0/24`"},
	{"remote catalog", "the box cannot be downloaded: check box.name and box.url in lab.toml and the network"},
	{"is locked", "another Vagrant works on this VM, perhaps one that a killed labctl started: let it end, then try again"},
	{"Cannot allocate memory", "not enough memory for the VMs: lower memory in lab.toml or close other programs"},
}

// env is what every Vagrant gets besides labctl's own environment.
func (c *Client) env() []string {
	return []string{
		"VAGRANT_DEFAULT_PROVIDER=" + c.vagrantProvider(),
		c.dotfile(),
		"VAGRANT_CWD=" + c.Dir,
		// No question to a server about a newer Vagrant.
		"VAGRANT_CHECKPOINT_DISABLE=1",
		"VAGRANT_NO_COLOR=1",
	}
}

func (c *Client) dotfile() string { return "VAGRANT_DOTFILE_PATH=" + filepath.Join(c.Dir, ".vagrant") }

// vagrantProvider is the provider's name in Vagrant: the embedded engine is
// libvirt to it.
func (c *Client) vagrantProvider() string {
	if c.Provider == config.VirtualBox {
		return "virtualbox"
	}
	return "libvirt"
}

// Status returns the state of every VM of the Vagrantfile; a node that is not
// in it has none. A lab that was never rendered has no VMs and is no error.
func (c *Client) Status(ctx context.Context) (map[string]State, error) {
	if _, err := os.Stat(filepath.Join(c.Dir, "Vagrantfile")); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if c.direct() {
		return c.domainStates(ctx)
	}
	out := map[string]State{}
	err := c.ask(ctx, c.queryTimeout(), "no answer within", func(m message) {
		if m.kind != "state" || len(m.data) == 0 {
			return
		}
		switch word := m.data[0]; word {
		case "not_created":
			out[m.target] = NotCreated
		case "poweroff", "shutoff", "off":
			out[m.target] = PowerOff
		default:
			out[m.target] = State(word)
		}
	}, "status")
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Endpoint asks how a running node is reached over SSH. A VM that does not run
// is an *OffError, one that is not there a *NoVMError.
func (c *Client) Endpoint(ctx context.Context, n config.Node) (remote.Endpoint, error) {
	if c.direct() { // it tells at once, and Vagrant after two seconds
		if err := c.off(ctx, n.Name); err != nil {
			return remote.Endpoint{}, err
		}
	}
	ep, err := c.askEndpoint(ctx, n)
	var said *Error
	if errors.As(err, &said) && said.NotReady() && !c.direct() {
		if off := c.off(ctx, n.Name); off != nil {
			return remote.Endpoint{}, off
		}
	}
	return ep, err
}

// off is an error if the node's VM does not run. That its state cannot be told
// is none.
func (c *Client) off(ctx context.Context, node string) error {
	states, err := c.Status(ctx)
	if err != nil || states[node] == Running {
		return nil
	}
	if states[node] == "" || states[node] == NotCreated {
		return &NoVMError{Node: node}
	}
	return &OffError{Node: node, State: states[node]}
}

// OffError is a node whose VM does not run, where it must.
type OffError struct {
	Node  string
	State State // "powered off", "paused", …
}

func (e *OffError) Error() string { return fmt.Sprintf("%s: its VM is %s", e.Node, e.State) }

// Hint says what brings it up.
func (e *OffError) Hint() string { return "`labctl create` starts it" }

func (c *Client) askEndpoint(ctx context.Context, n config.Node) (remote.Endpoint, error) {
	text := ""
	err := c.ask(ctx, c.queryTimeout(), "no answer within", func(m message) {
		if m.target == n.Name && m.kind == "ssh-config" {
			text = strings.Join(m.data, ",")
		}
	}, "ssh-config", n.Name)
	if err != nil {
		return remote.Endpoint{}, err
	}
	ep := remote.Endpoint{Name: n.Name, Role: string(n.Role), LabIP: n.IP}
	proxy := ""
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		value = strings.TrimSpace(value)
		if key != "ProxyCommand" {
			value = strings.Trim(value, `"`) // a path may hold blanks
		}
		switch key {
		case "HostName":
			ep.Host = value
		case "Port":
			ep.Port, _ = strconv.Atoi(value) // 0 is refused below
		case "User":
			ep.User = value
		case "ProxyCommand": // through the hypervisor's host
			proxy = value
		case "IdentityFile":
			if ep.KeyFile == "" { // the first is the one that SSH tries first
				ep.KeyFile = value
			}
		}
	}
	if ep.Host == "" || ep.Port == 0 || ep.User == "" || ep.KeyFile == "" {
		return remote.Endpoint{}, &Error{Command: "ssh-config", Message: "no address and key for " + n.Name + " in the answer\n" + text}
	}
	if proxy != "" {
		ep.Proxy = remote.ProxyCommand(proxy, n.Name, ep)
	}
	return ep, nil
}

// Destroy destroys every VM of the Vagrantfile.
func (c *Client) Destroy(ctx context.Context) error {
	return c.ask(ctx, destroyTimeout, "not done within", func(message) {}, "destroy", "--force")
}
