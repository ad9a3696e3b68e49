package vagrant

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"labctl/internal/config"
	"labctl/internal/remote"
)

// virshTimeout bounds a question to libvirt, which answers in a tenth of a
// second when the host is idle.
const virshTimeout = time.Minute

// direct says whether libvirt is asked about VMs that exist, instead of
// Vagrant, which needs more than a second to start.
func (c *Client) direct() bool {
	return c.Host != nil && (c.Provider == config.Libvirt || c.Provider == config.Embedded)
}

// domain returns the UUID that Vagrant noted for a node, "" if it has none.
func (c *Client) domain(node string) (string, error) {
	data, err := os.ReadFile(filepath.Join(c.Dir, ".vagrant", "machines", node, "libvirt", "id"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(data)), err
}

// domains returns the UUIDs of nodes that must all be there.
func (c *Client) domains(nodes []string) (map[string]string, error) {
	out := map[string]string{}
	for _, n := range nodes {
		id, err := c.domain(n)
		if err != nil {
			return nil, err
		}
		if id == "" {
			return nil, &NoVMError{Node: n}
		}
		out[n] = id
	}
	return out, nil
}

// NoVMError is a node without a VM, where one is needed.
type NoVMError struct{ Node string }

func (e *NoVMError) Error() string { return e.Node + ": there is no VM" }

// Hint says how to make it.
func (e *NoVMError) Hint() string { return "`labctl create` makes the VMs that are missing" }

func (c *Client) virsh(ctx context.Context, node string, args ...string) (string, error) {
	return c.within(ctx, virshTimeout, node, c.uri(node), args...)
}

// long is virsh for what copies a VM's memory.
func (c *Client) long(ctx context.Context, node string, args ...string) (string, error) {
	return c.within(ctx, snapshotTimeout, node, c.uri(node), args...)
}

// uri is the hypervisor of a node's VM.
func (c *Client) uri(node string) string {
	if c.URI == nil {
		return config.LocalHypervisor
	}
	return c.URI(node)
}

func (c *Client) within(ctx context.Context, d time.Duration, node, uri string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	res, err := remote.Check(ctx, c.Host, node, remote.Command{Argv: append([]string{"virsh", "-q", "-c", uri}, args...)})
	return strings.TrimSpace(res.Stdout), err
}

// domainStates asks libvirt for the state of every VM that Vagrant noted. One
// that is gone behind Vagrant's back is NotCreated.
func (c *Client) domainStates(ctx context.Context) (map[string]State, error) {
	ids, err := filepath.Glob(filepath.Join(c.Dir, ".vagrant", "machines", "*", "libvirt", "id"))
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	nodes, uris := map[string]string{}, map[string]bool{} // UUIDs by node, hypervisors
	for _, file := range ids {
		node := filepath.Base(filepath.Dir(filepath.Dir(file)))
		if nodes[node], err = c.domain(node); err != nil {
			return nil, err
		}
		uris[c.uri(node)] = true
	}
	var mu sync.Mutex
	known := map[string]map[string]State{} // by hypervisor
	err = each(slices.Sorted(maps.Keys(uris)), func(uri string) error {
		list, err := c.hypervisorStates(ctx, uri)
		mu.Lock()
		defer mu.Unlock()
		known[uri] = list
		return err
	})
	if err != nil {
		return nil, err
	}
	out := map[string]State{}
	for node, id := range nodes {
		if out[node] = known[c.uri(node)][id]; out[node] == "" {
			out[node] = NotCreated
		}
	}
	return out, nil
}

// hypervisorStates returns the states of all VMs of a hypervisor, by UUID. One
// virsh asks both questions: to start it takes longer than to answer.
func (c *Client) hypervisorStates(ctx context.Context, uri string) (map[string]State, error) {
	text, err := c.within(ctx, virshTimeout, "host", uri, "list --all --uuid --name; list --all")
	if err != nil {
		return nil, err
	}
	ids := map[string]string{} // by name
	out := map[string]State{}
	for line := range strings.Lines(text) {
		switch f := strings.Fields(line); {
		case len(f) == 2: // UUID, name
			ids[f[1]] = f[0]
		case len(f) > 2 && ids[f[1]] != "": // number or "-", name, state
			state := State(strings.Join(f[2:], " ")) // "running", "paused", "crashed", …
			if state == "shut off" {
				state = PowerOff
			}
			out[ids[f[1]]] = state
		}
	}
	return out, nil
}

// Address asks libvirt for the address that its DHCP server gave to a VM that
// runs, which is the one on the management network. While the VM boots it may
// be that of its last run. It is for libvirt only.
func (c *Client) Address(ctx context.Context, node string) (string, error) {
	ids, err := c.domains([]string{node})
	if err != nil {
		return "", err
	}
	state, err := c.virsh(ctx, node, "domstate", ids[node])
	if err != nil {
		return "", err
	}
	if state != string(Running) {
		return "", fmt.Errorf("%s: its VM is %s", node, state)
	}
	out, err := c.virsh(ctx, node, "domifaddr", ids[node], "--source", "lease")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) { // interface, MAC, protocol, address with prefix
		if f := strings.Fields(line); len(f) == 4 && f[2] == "ipv4" {
			addr, _, _ := strings.Cut(f[3], "/")
			return addr, nil
		}
	}
	return "", fmt.Errorf("%s: libvirt has given it no address yet", node)
}

// each runs f for every name, of a node for example, side by side, and joins
// what went wrong.
func each(names []string, f func(name string) error) error {
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	for i, n := range names {
		wg.Go(func() {
			errs[i] = f(n)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
