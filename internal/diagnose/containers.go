package diagnose

import (
	"context"
	_ "embed" // for containers.pl
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"labctl/internal/remote"
)

//go:embed containers.pl
var containersScript string

// Lookup is what Docker's own name server told a container.
type Lookup struct {
	Service   string `json:"service"`   // id
	Container string `json:"container"` // the beginning of its id
	Name      string `json:"name"`      // what was asked for: all tasks of the container's own service
	Silent    bool   `json:"silent,omitempty"`
	Code      int    `json:"code,omitempty"` // of DNS: 0 for a name that is known, 3 for one that is not
	Addrs     int    `json:"addrs"`
}

// mostLookups is in how many containers of a node names are looked up, one of
// each service.
const mostLookups = 4

// lookup asks 127.0.0.11 in containers whose tasks have been running for some
// time.
func lookup(ctx context.Context, f *Facts, targets []Target) {
	if f.Swarm == nil || f.Swarm.Error != "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	var wg sync.WaitGroup
	for i, t := range targets {
		n := &f.Nodes[i]
		asked := f.Swarm.inside(n)
		if len(asked) == 0 || t.Runner == nil || !n.answered() {
			continue
		}
		wg.Go(func() {
			argv := []string{"sudo", "-n", "perl", "-e", containersScript, "--"}
			for pid, l := range asked {
				argv = append(argv, fmt.Sprintf("%d,%s", pid, l.Name))
			}
			slices.Sort(argv[6:])
			// Without an answer less is known, and nothing is guessed.
			res, err := remote.Check(ctx, t.Runner, n.Name, remote.Command{Argv: argv})
			if err != nil {
				return
			}
			n.Lookups = readLookups(res.Stdout, asked)
		})
	}
	wg.Wait()
}

// inside chooses the containers of a node, by process id.
func (s *Swarm) inside(n *Node) map[int]Lookup {
	out := map[int]Lookup{}
	for _, v := range s.Services {
		if !slices.ContainsFunc(n.Networks, func(w Network) bool {
			return w.Scope == "swarm" && w.Driver == "overlay" && !w.Ingress && slices.Contains(v.Networks, w.ID)
		}) {
			continue
		}
		i := slices.IndexFunc(s.Tasks, func(t Task) bool {
			return t.Service == v.ID && t.Node == n.Member.NodeID && t.PID > 0 && t.settled(s.Now)
		})
		if i >= 0 && len(out) < mostLookups {
			out[s.Tasks[i].PID] = Lookup{Service: v.ID, Container: s.Tasks[i].Container, Name: "tasks." + v.Name}
		}
	}
	return out
}

// settled says that a task shall run and has been running for some time.
func (t Task) settled(now time.Time) bool {
	return t.Desired == "running" && t.State == "running" && now.Sub(t.Since) >= calm
}

func readLookups(text string, asked map[int]Lookup) (out []Lookup) {
	for line := range strings.Lines(text) {
		w := strings.Fields(line)
		if len(w) < 2 {
			continue
		}
		pid, err := strconv.Atoi(w[0])
		l, ok := asked[pid]
		switch {
		case err != nil || !ok:
			continue
		case w[1] == "silent":
			l.Silent = true
		case len(w) == 3:
			l.Code, _ = strconv.Atoi(w[1])
			l.Addrs, _ = strconv.Atoi(w[2])
		default:
			continue
		}
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b Lookup) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// lookups finds containers in which names of the swarm are not found.
func (j *judge) lookups() {
	if j.Swarm == nil || j.Swarm.Error != "" {
		return
	}
	broken := slices.ContainsFunc(j.found, func(f Finding) bool { return f.Severity == Error })
	for _, n := range j.Nodes {
		if j.hurt[n.Name] || len(n.Lookups) == 0 {
			continue
		}
		var silent, unknown, short []Lookup
		for _, l := range n.Lookups {
			switch {
			case l.Silent:
				silent = append(silent, l)
			case l.Code != 0 || l.Addrs == 0:
				unknown = append(unknown, l)
			case l.Addrs < j.settledTasks(l.Service) && !broken:
				short = append(short, l) // else the other finding is why
			}
		}
		f := Finding{ID: ContainerDNS, Nodes: []string{n.Name},
			Symptom: "containers on " + n.Name + " do not find services by name"}
		for _, l := range silent {
			f.Evidence = append(f.Evidence, fmt.Sprintf("%s: 127.0.0.11 in container %s does not answer", n.Name, l.Container))
		}
		for _, l := range unknown {
			f.Evidence = append(f.Evidence, fmt.Sprintf("%s: 127.0.0.11 in container %s does not know %s, its own service", n.Name, l.Container, l.Name))
		}
		for _, l := range short {
			f.Evidence = append(f.Evidence, fmt.Sprintf("%s: 127.0.0.11 in container %s knows %d addresses of %s, and %d tasks run", n.Name, l.Container, l.Addrs, l.Name, j.settledTasks(l.Service)))
		}
		const restart = "sudo systemctl restart docker"
		switch {
		case len(f.Evidence) == 0:
			continue
		case len(silent) > 0 && len(unknown) == 0 && (len(silent) < len(n.Lookups) || len(silent) == 1):
			// The swarm starts a new task in place of it.
			f.Cause = "Docker's own name server, 127.0.0.11, cannot be reached from inside: the firewall rules in the container that lead to it are gone, or others are in the way"
			var lines []string
			for _, l := range silent {
				lines = append(lines, on(n.Name, "docker rm -f "+l.Container))
			}
			f.Remedy = strings.Join(lines, "\n")
		case len(silent) > 0:
			f.Cause = "Docker's own name server, 127.0.0.11, does not answer in the containers of " + n.Name
			f.fix(n.Name, restart)
		case len(unknown) > 0:
			f.Cause = "the engine of " + n.Name + " has lost the names of the swarm's tasks"
			f.fix(n.Name, restart)
		default:
			f.Symptom = "containers on " + n.Name + " find some tasks of a service, and never others"
			f.Cause = "the engine of " + n.Name + " has not heard of all tasks, though the ports between the nodes are open"
			f.fix(n.Name, restart)
		}
		j.add(f)
	}
}

// settledTasks counts the tasks of a service that every node must know.
func (j *judge) settledTasks(service string) int {
	count := 0
	for _, t := range j.Swarm.Tasks {
		if t.Service == service && t.settled(j.Swarm.Now) && !j.hurt[j.names[t.Node]] {
			count++
		}
	}
	return count
}
