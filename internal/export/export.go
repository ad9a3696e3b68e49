// Package export writes what other programs need in order to reach a lab's
// nodes: OpenSSH's configuration, Ansible's inventory. It is pure.
package export

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"labctl/internal/remote"
)

// Lab is what is written about.
type Lab struct {
	Name       string
	KnownHosts string // the file in which the nodes' host keys are pinned, by node name
	Nodes      []remote.Endpoint
	// Proxy is the command that connects its standard input and output with a
	// node's SSH server, the node's name behind it; nil where this machine
	// reaches the nodes by itself.
	Proxy []string
}

// Alias is the second name of a node, which no other lab has.
func (l Lab) Alias(node string) string { return node + "." + l.Name }

// SSHConfig writes OpenSSH's client configuration.
func (l Lab) SSHConfig() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# The nodes of labctl's lab %q, as `labctl export ssh-config` wrote them.\n", l.Name)
	for _, n := range l.Nodes {
		fmt.Fprintf(&b, "\nHost %s %s\n", n.Name, l.Alias(n.Name))
		option := func(key, value string) { fmt.Fprintf(&b, "\t%s %s\n", key, value) }
		option("HostName", n.Host)
		option("Port", strconv.Itoa(n.Port))
		option("User", n.User)
		if s := n.OpenSSH; s != nil {
			machine(option, s, n)
			continue
		}
		option("IdentityFile", quote(tokens(n.KeyFile)))
		option("IdentitiesOnly", "yes")
		option("HostKeyAlias", n.Name)
		option("UserKnownHostsFile", quote(tokens(l.KnownHosts)))
		option("StrictHostKeyChecking", "yes")
		switch {
		case l.Proxy != nil:
			option("ProxyCommand", tokens(remote.Quote(append(l.Proxy[:len(l.Proxy):len(l.Proxy)], n.Name))))
		case n.Proxy != "":
			option("ProxyCommand", tokens(n.Proxy))
		}
	}
	return b.String()
}

// machine writes what is so of a machine that labctl did not make.
func machine(option func(key, value string), s *remote.OpenSSH, n remote.Endpoint) {
	for _, k := range s.Keys {
		option("IdentityFile", quote(tokens(k)))
	}
	if s.Only {
		option("IdentitiesOnly", "yes")
	}
	option("HostKeyAlias", s.KnownAs(n))
	var files []string
	for _, f := range s.KnownHosts {
		files = append(files, quote(tokens(f)))
	}
	option("UserKnownHostsFile", strings.Join(files, " "))
	if len(s.Proxy) > 0 {
		option("ProxyCommand", tokens(remote.Quote(s.Proxy)))
	}
}

// tokens keeps OpenSSH from reading a "%" as one of its own.
func tokens(s string) string { return strings.ReplaceAll(s, "%", "%%") }

// quote lets a path hold blanks. OpenSSH leaves the backslashes of Windows as
// they are.
func quote(s string) string { return `"` + s + `"` }

// Ansible writes an inventory in YAML, with the groups managers and workers.
// sshConfig is the file that holds SSHConfig.
func (l Lab) Ansible(sshConfig string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# The nodes of labctl's lab %q, as `labctl export ansible` wrote them.\n", l.Name)
	fmt.Fprintf(&b, "all:\n  vars:\n    ansible_ssh_common_args: %s\n  children:\n", yaml("-F "+remote.Quote([]string{sshConfig})))
	for _, role := range []string{"manager", "worker"} {
		fmt.Fprintf(&b, "    %ss:\n      hosts:\n", role)
		for _, n := range l.Nodes {
			if n.Role == role {
				fmt.Fprintf(&b, "        %s:\n          lab_address: %s\n", yaml(n.Name), yaml(n.LabIP.String()))
			}
		}
	}
	return b.String()
}

// AnsibleConfig writes an ansible.cfg that names the inventory.
func AnsibleConfig(inventory string) string {
	return "# written by `labctl export ansible --install`; `labctl destroy` removes it\n[defaults]\ninventory = " + inventory + "\n"
}

// yaml writes a string as JSON does, which YAML reads too.
func yaml(s string) string {
	data, _ := json.Marshal(s) // a string always can be written
	return string(data)
}

// marked begins the comment above a line that Include has added.
const marked = "# labctl: "

// Include returns config, the text of an OpenSSH configuration, with a line at
// its top that includes the file; below a Host line it would hold for that one
// only. What Include added before for the same file goes.
func Include(config, file, lab string) string {
	return fmt.Sprintf("%slab %q; `labctl destroy` removes these two lines\nInclude %s\n", marked, lab, quote(file)) + Exclude(config, file)
}

// Exclude returns config without what Include added for the file.
func Exclude(config, file string) string {
	var kept []string
	for line := range strings.Lines(config) {
		if strings.TrimSpace(line) != "Include "+quote(file) {
			kept = append(kept, line)
			continue
		}
		if n := len(kept); n > 0 && strings.HasPrefix(kept[n-1], marked) {
			kept = kept[:n-1]
		}
	}
	return strings.Join(kept, "")
}
