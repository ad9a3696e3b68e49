// Package existing is for machines that are there already, which labctl did
// not make: how SSH reaches them, and what labctl noted on them of what it has
// made there.
package existing

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"labctl/internal/config"
	"labctl/internal/remote"
)

// Options are the ssh command's that lab.toml gives for a node; the same for
// asking, for a person, and for `labctl ssh`. dir is the folder of lab.toml.
func Options(s config.SSH, n config.Node, dir string) []string {
	var out []string
	if s.Config != "" {
		out = append(out, "-F", path(s.Config, dir))
	}
	if n.Login.Port != 0 {
		out = append(out, "-p", strconv.Itoa(n.Login.Port))
	}
	if n.Login.User != "" {
		out = append(out, "-l", n.Login.User)
	}
	if n.Login.Key != "" {
		out = append(out, "-o", "IdentitiesOnly=yes", "-i", path(n.Login.Key, dir))
	}
	if n.Login.Jump != "" {
		out = append(out, "-J", n.Login.Jump)
	}
	return out
}

// path reads a path of lab.toml: "~/" is the user's home, and what is not
// absolute lies beside lab.toml.
func path(p, dir string) string {
	if rest, ok := strings.CutPrefix(p, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(dir, p)
}

// Endpoint asks OpenSSH's client how it would reach a node: that honours the
// user's configuration whatever it holds.
func Endpoint(ctx context.Context, host remote.Runner, s config.SSH, n config.Node, dir string) (remote.Endpoint, error) {
	if n.Address == "" {
		return remote.Endpoint{}, fmt.Errorf("%s: lab.toml does not give its address any more", n.Name)
	}
	argv := append([]string{"ssh"}, Options(s, n, dir)...)
	argv = append(argv, n.Address)
	ask := slices.Insert(slices.Clone(argv), 1, "-G")
	res, err := remote.Check(ctx, host, "host", remote.Command{Argv: ask})
	if err != nil {
		return remote.Endpoint{}, fmt.Errorf("%s: %w", n.Name, err)
	}
	ep := remote.Endpoint{Name: n.Name, Role: string(n.Role), LabIP: n.IP, OpenSSH: &remote.OpenSSH{Line: remote.Quote(argv), Scan: true}}
	o := ep.OpenSSH
	var global []string
	proxy := ""
	for line := range strings.Lines(res.Stdout) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if value == "none" {
			continue
		}
		switch key {
		case "hostname":
			ep.Host = value
		case "port":
			ep.Port, _ = strconv.Atoi(value) // ssh has read it as a number
		case "user":
			ep.User = value
		case "hostkeyalias":
			o.Alias = value
		case "identityfile":
			o.Keys = append(o.Keys, path(value, dir))
		case "identitiesonly":
			o.Only = value == "yes"
		case "identityagent":
			o.Agent = agentSocket(value, dir)
		case "userknownhostsfile":
			for _, f := range strings.Fields(value) {
				o.KnownHosts = append(o.KnownHosts, path(f, dir))
			}
		case "globalknownhostsfile":
			global = strings.Fields(value)
		case "proxyjump":
			o.Proxy, o.Scan = jump(s, value, dir), false
		case "proxycommand":
			proxy, o.Scan = value, false
		}
	}
	if n.Login.Key != "" { // ssh leaves out one that it cannot read
		o.Keys, o.Only = []string{path(n.Login.Key, dir)}, true
	}
	if s.KnownHosts != "" {
		o.KnownHosts = append([]string{path(s.KnownHosts, dir)}, o.KnownHosts...)
	}
	o.KnownHosts = append(o.KnownHosts, global...)
	if o.Agent == "" && !strings.Contains(res.Stdout, "\nidentityagent ") {
		o.Agent = os.Getenv("SSH_AUTH_SOCK")
	}
	if proxy != "" {
		o.Proxy = []string{"sh", "-c", "exec " + remote.ProxyCommand(proxy, n.Address, ep)}
	}
	if len(o.Proxy) > 0 && o.Proxy[0] == "ssh" {
		target := "[" + ep.Host + "]:" + strconv.Itoa(ep.Port)
		o.Proxy = slices.Insert(o.Proxy, len(o.Proxy)-2, "-W", target)
	}
	return ep, nil
}

func agentSocket(value, dir string) string {
	if value == "SSH_AUTH_SOCK" {
		return os.Getenv(value)
	}
	if name, ok := strings.CutPrefix(value, "$"); ok {
		return os.Getenv(strings.Trim(name, "{}"))
	}
	return path(value, dir)
}

// jump is the command with which OpenSSH itself goes through jump hosts, the
// last of them first in line; nobody is there to answer a question.
func jump(s config.SSH, hosts, dir string) []string {
	list := strings.Split(hosts, ",")
	argv := []string{"ssh", "-o", "BatchMode=yes"}
	if s.Config != "" {
		argv = append(argv, "-F", path(s.Config, dir))
	}
	if s.KnownHosts != "" {
		argv = append(argv, "-o", `GlobalKnownHostsFile="`+path(s.KnownHosts, dir)+`" /etc/ssh/ssh_known_hosts`)
	}
	if len(list) > 1 {
		argv = append(argv, "-J", strings.Join(list[:len(list)-1], ","))
	}
	return append(argv, "--", "ssh://"+list[len(list)-1])
}
