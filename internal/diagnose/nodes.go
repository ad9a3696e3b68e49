package diagnose

import (
	"fmt"
	"slices"
	"strings"

	"labctl/internal/config"
)

// nodes finds machines that are off or silent, and engines that are. Several
// of which the same is true are one finding; if they are so many managers that
// the swarm has no leader any more, that is the finding.
func (j *judge) nodes() {
	var groups []Finding
	for _, n := range j.Nodes {
		f, ok := j.silent(n)
		if !ok {
			continue
		}
		i := slices.IndexFunc(groups, func(g Finding) bool { return g.ID == f.ID && g.Cause == f.Cause })
		if i >= 0 {
			g := &groups[i]
			g.Nodes = append(g.Nodes, f.Nodes...)
			g.Evidence = append(g.Evidence, f.Evidence...)
			g.Fix = append(g.Fix, f.Fix...)
			if f.Remedy != g.Remedy {
				g.Remedy += "\n" + f.Remedy
			}
			continue
		}
		groups = append(groups, f)
	}
	lost := j.lostQuorum(groups)
	for _, g := range groups {
		if lost != nil && slices.ContainsFunc(g.Nodes, j.manages) {
			lost.Nodes = append(lost.Nodes, g.Nodes...)
			lost.Cause += "; " + named(g)
			lost.Evidence = append(lost.Evidence, g.Evidence...)
			lost.Fix = append(lost.Fix, g.Fix...)
			if !strings.Contains(lost.Remedy, g.Remedy) {
				lost.Remedy = strings.TrimPrefix(lost.Remedy+"\n"+g.Remedy, "\n")
			}
			continue
		}
		g.Cause = named(g)
		g.Symptom = strings.ReplaceAll(g.Symptom, "NODES", enumerate(g.Nodes))
		j.add(g)
	}
	if lost != nil {
		j.add(*lost)
	}
	for _, n := range j.Nodes {
		if n.Unreachable == "" && n.HostError != "" {
			j.add(Finding{ID: HostMute, Severity: Warning, Nodes: []string{n.Name},
				Symptom:  n.Name + " does not tell its addresses and routes",
				Cause:    "a command on the node failed, so overlaps on this node cannot be seen",
				Evidence: []string{n.Name + ": " + oneLine(n.HostError)},
				Remedy:   on(n.Name, "sudo -n ip -j addr")})
		}
	}
}

// named puts the nodes of a group into its cause, where it says NODES.
func named(g Finding) string {
	cause := g.Cause
	if len(g.Nodes) == 1 {
		cause = strings.Replace(cause, "the VMs of NODES are", "the VM of NODES is", 1)
	}
	return strings.ReplaceAll(cause, "NODES", enumerate(g.Nodes))
}

// manages tells the managers, of lab.toml or in fact.
func (j *judge) manages(name string) bool {
	return slices.ContainsFunc(j.Nodes, func(n Node) bool {
		return n.Name == name && (n.Role == config.Manager || n.Member.Manager)
	})
}

// lostQuorum makes a finding of managers that do not answer, if those are what
// the swarm lacks; nil if not.
func (j *judge) lostQuorum(groups []Finding) *Finding {
	if j.Swarm == nil || j.Swarm.Error == "" {
		return nil
	}
	silent, all := 0, 0
	for _, n := range j.Nodes {
		if !j.manages(n.Name) {
			continue
		}
		all++
		if slices.ContainsFunc(groups, func(g Finding) bool { return slices.Contains(g.Nodes, n.Name) }) {
			silent++
		}
	}
	if all < 2 || silent == 0 || all-silent > all/2 {
		return nil
	}
	return &Finding{ID: NoLeader,
		Symptom:  "the managers answer no question about the swarm and change nothing; services that run go on running",
		Cause:    fmt.Sprintf("the swarm has lost its quorum: of %s %d must work, and %d do", count(all, "manager"), all/2+1, all-silent),
		Evidence: []string{j.Swarm.By + ": " + oneLine(j.Swarm.Error)}}
}

// silent is a node that does not answer, or whose engine does not. Its cause
// has NODES for the node's name.
func (j *judge) silent(n Node) (f Finding, ok bool) {
	f = Finding{Severity: Error, Nodes: []string{n.Name}}
	hurt := j.hurt[n.Name]
	if n.Unreachable != "" || n.DockerError != "" || n.lacksContainerd() {
		j.hurt[n.Name] = true
	}
	switch {
	case n.Unreachable != "" && n.VM != "" && n.VM != "running":
		f.ID = VMOff
		f.Symptom = "nothing runs on NODES: the node list says Down after a while, and tasks move to other nodes"
		f.Cause = "the VMs of NODES are " + n.VM
		f.Evidence = []string{fmt.Sprintf("%s: its VM is %s", n.Name, n.VM)}
		f.Remedy = "labctl create"
	case n.Unreachable != "":
		f.ID = NodeUnreachable
		f.Symptom = "labctl cannot reach NODES"
		f.Cause = "the VMs of NODES are still starting, or cannot be reached over the network"
		if n.VM == "" {
			f.Cause = "the VMs of NODES are off, still starting, or cannot be reached over the network"
		}
		f.Evidence = []string{n.Name + ": " + oneLine(n.Unreachable)}
		f.Remedy = "labctl status\nlabctl create"
	case n.DockerError == "" && !n.lacksContainerd():
		return f, false
	case hurt:
		return f, false // a full disk, say, is the cause
	default:
		j.engine(n, &f)
	}
	return f, true
}

// lacksContainerd tells an engine whose containerd is gone. It goes on to
// answer most questions.
func (n Node) lacksContainerd() bool {
	if n.System == nil || n.System.OwnContainerd {
		return false
	}
	c := n.System.unit("containerd")
	return c.Load == "loaded" && (c.Active == "inactive" || c.Active == "failed")
}

// engine says why an engine does not answer, or runs nothing.
func (j *judge) engine(n Node, f *Finding) {
	f.Evidence = []string{n.Name + ": " + oneLine(n.DockerError)}
	f.Symptom = "Docker on NODES does not answer"
	if n.DockerError == "" {
		c := n.System.unit("containerd")
		f.Symptom = "no container starts on NODES, though Docker answers"
		f.Evidence = []string{fmt.Sprintf("%s: containerd.service is %s (%s)", n.Name, c.Active, c.Sub)}
	}
	s := n.System
	if s == nil {
		s = &System{}
	}
	docker, containerd := s.unit("docker"), s.unit("containerd")
	for _, p := range s.CPU.Stopped {
		f.ID = EngineFrozen
		f.Cause = p.Name + " of NODES is stopped by a signal: it is there, and does nothing"
		f.Evidence = []string{fmt.Sprintf("%s: %s (process %s) is in state T", n.Name, p.Name, ints(p.PIDs))}
		f.fix(n.Name, "sudo kill -CONT "+strings.ReplaceAll(ints(p.PIDs), ",", ""))
		return
	}
	if docker.Name != "" && docker.Active != "active" {
		f.Evidence = []string{fmt.Sprintf("%s: docker.service is %s (%s)", n.Name, docker.Active, docker.Sub)}
		if k := len(s.DockerLog); docker.Active != "inactive" && k > 0 {
			f.Evidence = append(f.Evidence, n.Name+": "+oneLine(lastError(s.DockerLog)))
		}
	}
	start := "sudo systemctl start docker"
	switch {
	case docker.Load == "masked" || s.unit("docker.socket").Load == "masked":
		f.ID, f.Cause = EngineStopped, "the services of Docker on NODES are masked, so that they cannot start"
		f.fix(n.Name, "sudo systemctl unmask docker.service docker.socket && "+start)
	case docker.Load == "not-found":
		f.ID, f.Cause = EngineStopped, "Docker is not installed on NODES"
		f.Remedy = "labctl create"
	case s.Daemon.Error != "" && docker.Active != "active":
		f.ID, f.Cause = EngineStopped, "Docker on NODES does not start, since /etc/docker/daemon.json is not valid JSON: "+s.Daemon.Error
		f.Remedy = on(n.Name, "sudo cat /etc/docker/daemon.json") + "   (mend it; or put it aside:)\n" +
			onShell(n.Name, "sudo mv /etc/docker/daemon.json /etc/docker/daemon.json.broken && sudo systemctl reset-failed docker && "+start)
	case containerd.Name != "" && containerd.Active != "active" && docker.Active != "active":
		f.ID, f.Cause = EngineStopped, "containerd and Docker are stopped on NODES"
		f.fix(n.Name, "sudo systemctl start containerd docker")
	case docker.Name != "" && docker.Active == "inactive":
		f.ID, f.Cause = EngineStopped, "Docker is stopped on NODES"
		f.fix(n.Name, start)
	case docker.Name != "" && docker.Active != "active":
		f.ID, f.Cause = EngineStopped, "Docker on NODES starts and ends again: the last evidence says why"
		f.Remedy = on(n.Name, "sudo journalctl -u docker -n 50") + "\n" + onShell(n.Name, "sudo systemctl reset-failed docker && "+start)
	case containerd.Name != "" && containerd.Active != "active" && !s.OwnContainerd:
		f.ID, f.Cause = ContainerdStopped, "containerd is stopped on NODES, and Docker runs no container without it"
		f.fix(n.Name, "sudo systemctl start containerd && sudo systemctl restart docker")
	default:
		f.ID = EngineSilent
		f.Cause = "the engine of NODES is still starting or hangs, or the SSH user may not speak to it"
		f.Remedy = on(n.Name, "sudo systemctl restart docker.socket docker") + "\n" + on(n.Name, "sudo journalctl -u docker -n 50")
	}
}

// lastError is the last line that says why the engine ended, or the last one.
func lastError(lines []string) string {
	for i := len(lines) - 1; i >= 0; i-- {
		if l := strings.ToLower(lines[i]); strings.Contains(l, "failed to start daemon") || strings.Contains(l, "unable to configure") || strings.Contains(l, "level=fatal") {
			return lines[i]
		}
	}
	return lines[len(lines)-1]
}
