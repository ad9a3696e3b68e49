package scenario

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"labctl/internal/config"
)

// hostName is what $NODE holds in a block @host.
const hostName = "host"

// wellKnown are the variables that labctl sets for every block, besides
// LAB_IP_<NODE>.
var wellKnown = []string{"MANAGER_IP", "WORKER_IP", "LAB_IP", "LAB_IPS", "NODES", "NODE", "LAB", "LABCTL", "LAB_FILE"}

// hostOnly are those of them that only a block @host has: the labctl that
// runs, and its lab.toml.
var hostOnly = []string{"LABCTL", "LAB_FILE"}

// inherited are variables that a shell has anywhere.
var inherited = []string{"HOME", "PATH", "PWD", "OLDPWD", "USER", "LOGNAME", "SHELL", "IFS", "PPID", "OPTIND", "OPTARG", "LINENO", "TMPDIR"}

// reserved tells whether a parameter or a saved value may not have the name.
func reserved(name string) bool {
	return slices.Contains(wellKnown, name) || slices.Contains(inherited, name) ||
		strings.HasPrefix(name, "LAB_IP_") || strings.HasPrefix(name, "LD_") ||
		slices.Contains([]string{"ENV", "TERM", "LANG", "PS1", "PS2", "PS4"}, name)
}

// ipVar is the variable that holds a node's lab address.
func ipVar(node string) string {
	return "LAB_IP_" + strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToUpper(node))
}

// check says why a value does not fit; nil if it does.
func (p Param) check(value string) error {
	if strings.ContainsAny(value, "\x00\n\r") {
		return errors.New("must be one line")
	}
	if !p.Int {
		return nil
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != value {
		return fmt.Errorf("must be a whole number, not %q", value)
	}
	if p.Min != nil && n < *p.Min {
		return fmt.Errorf("must be at least %d, not %d", *p.Min, n)
	}
	if p.Max != nil && n > *p.Max {
		return fmt.Errorf("must be at most %d, not %d", *p.Max, n)
	}
	return nil
}

// values resolves the parameters: set beats config, which beats the head.
// The keys of the answer are variable names.
func (d *Document) values(config, set map[string]string) (map[string]string, error) {
	out := map[string]string{}
	var names []string
	for _, p := range d.Head.Params {
		out[p.Var()] = p.Default
		names = append(names, p.Name)
	}
	var problems []Problem
	for _, from := range []struct {
		name   string
		values map[string]string
	}{{"lab.toml [scenario]", config}, {"--set", set}} {
		for _, key := range slices.Sorted(maps.Keys(from.values)) {
			i := slices.IndexFunc(d.Head.Params, func(p Param) bool { return p.Name == key })
			if i < 0 {
				reason := fmt.Sprintf("%s has no parameter %q", d.File, key)
				if len(names) > 0 {
					reason += ": it must be " + oneOf(names)
				}
				problems = append(problems, Problem{File: from.name, Reason: reason, Suggest: nearest(key, names)})
				continue
			}
			p := d.Head.Params[i]
			if err := p.check(from.values[key]); err != nil {
				problems = append(problems, Problem{File: from.name, Reason: fmt.Sprintf("%s %v", key, err)})
				continue
			}
			out[p.Var()] = from.values[key]
		}
	}
	return out, refusals(problems)
}

// labVars are the variables that are the same for every block of a run.
func labVars(lab string, nodes []Node) map[string]string {
	vars := map[string]string{"LAB": lab}
	var names, ips []string
	for _, n := range nodes {
		names, ips = append(names, n.Name), append(ips, n.LabIP.String())
		vars[ipVar(n.Name)] = n.LabIP.String()
		for role, name := range map[config.Role]string{config.Manager: "MANAGER_IP", config.Worker: "WORKER_IP"} {
			if _, there := vars[name]; n.Role == role && !there {
				vars[name] = n.LabIP.String()
			}
		}
	}
	vars["NODES"], vars["LAB_IPS"] = strings.Join(names, " "), strings.Join(ips, " ")
	return vars
}

// environ is a map of variables as a Command takes it, in a fixed order.
func environ(layers ...map[string]string) []string {
	all := merge(layers...)
	out := make([]string, 0, len(all))
	for _, k := range slices.Sorted(maps.Keys(all)) {
		out = append(out, k+"="+all[k])
	}
	return out
}

// merge lays maps of variables one over the other.
func merge(layers ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, l := range layers {
		maps.Copy(all, l)
	}
	return all
}
