package diagnose

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// swarm finds what is wrong with the swarm's members, each cause once.
func (j *judge) swarm() {
	for _, n := range j.Nodes {
		if n.answered() {
			j.member(n)
		}
	}
	if j.Swarm == nil {
		return
	}
	if j.managersLeft() {
		return
	}
	if j.Swarm.Error != "" {
		told := slices.ContainsFunc(j.found, func(f Finding) bool { return f.ID == NoLeader || f.ID == CertificateExpired })
		for _, n := range j.Nodes {
			told = told || j.manages(n.Name) && j.hurt[n.Name]
		}
		if !told && !j.managersApart() {
			j.add(Finding{ID: NoLeader, Nodes: []string{j.Swarm.By},
				Symptom:  "the manager answers no question about the swarm",
				Cause:    "the swarm has no leader: more than half of its managers must be up and reach each other by port 2377/tcp",
				Evidence: []string{j.Swarm.By + ": " + oneLine(j.Swarm.Error)},
				Remedy:   "labctl status\nlabctl create"})
		}
		return
	}
	for _, m := range j.Swarm.Members {
		j.listed(m)
	}
}

// managersLeft finds a manager that is alone, since the others have left its
// swarm. That they are no members is no finding of its own then: they could not
// join it again before it has a leader. A leader answers for some ten seconds
// more, and says in its node list who the managers are.
func (j *judge) managersLeft() bool {
	i := slices.IndexFunc(j.Nodes, func(n Node) bool { return n.Name == j.Swarm.By })
	if i < 0 {
		return false
	}
	by := j.Nodes[i]
	managers := by.Member.Managers
	symptom, ev := "the manager answers no question about the swarm and changes nothing; services that run go on running", []string{by.Name + ": " + oneLine(j.Swarm.Error)}
	if j.Swarm.Error == "" {
		managers, ev = nil, nil
		symptom = "the manager will answer no question about the swarm in some seconds, and change nothing; services that run go on running"
		for _, m := range j.Swarm.Members {
			if m.Reachability != "" {
				managers = append(managers, m.Addr)
			}
		}
	}
	var left []string
	leave := "" // what a failed try to join again has left
	for _, n := range j.Nodes {
		if n.answered() && n.Member.State != "active" && n.Member.State != "locked" && slices.Contains(managers, n.IP) {
			left = append(left, n.Name)
			if n.Member.State != "inactive" {
				leave += on(n.Name, "docker swarm leave --force") + "\n"
			}
			ev = append(ev, fmt.Sprintf("%s: is one of the managers that %s knows, and its swarm state is %q", n.Name, by.Name, n.Member.State))
		}
	}
	all := len(managers)
	if left == nil || len(left) != all-1 {
		return false
	}
	j.found = slices.DeleteFunc(j.found, func(f Finding) bool { return f.ID == NotInSwarm && slices.Contains(left, f.Nodes[0]) })
	j.add(Finding{ID: NoLeader, Nodes: []string{by.Name},
		Symptom:  symptom,
		Cause:    fmt.Sprintf("the swarm has lost its quorum: of %s %d must work, and %s left it", count(all, "manager"), all/2+1, has(left)),
		Evidence: ev,
		Remedy: on(by.Name, "docker swarm init --force-new-cluster --advertise-addr "+by.IP.String()) + "\n" +
			on(by.Name, "sudo systemctl restart docker") + "\n" + leave + "labctl swarm form"})
	return true
}

// has names nodes that have done something.
func has(nodes []string) string {
	if len(nodes) == 1 {
		return nodes[0] + " has"
	}
	return enumerate(nodes) + " have"
}

// member is what a node says of its own part in the swarm.
func (j *judge) member(n Node) {
	nodes := []string{n.Name}
	s := n.System
	if s == nil {
		s = &System{}
	}
	switch {
	case s.Cert != nil && s.Now.After(s.Cert.Until) && !j.hurt[n.Name]:
		j.hurt[n.Name] = true
		j.add(Finding{ID: CertificateExpired, Nodes: nodes,
			Symptom:  n.Name + " is Down in the node list, and cannot come back by itself",
			Cause:    fmt.Sprintf("the certificate by which the swarm knows %s ended at %s", n.Name, s.Cert.Until.Format(time.RFC3339)),
			Evidence: []string{fmt.Sprintf("%s: swarm-node.crt is valid from %s until %s", n.Name, s.Cert.From.Format(time.RFC3339), s.Cert.Until.Format(time.RFC3339))},
			Remedy:   on(n.Name, "docker swarm leave --force") + "\nlabctl swarm form"})
	case n.Member.State == "locked":
		j.add(Finding{ID: NotInSwarm, Nodes: nodes,
			Symptom:  n.Name + " takes no part in the swarm since its engine was started again",
			Cause:    "the swarm is locked: its managers want the unlock key whenever they start",
			Evidence: []string{fmt.Sprintf("%s: swarm state %q", n.Name, n.Member.State)},
			Remedy:   "labctl ssh " + n.Name + " -- docker swarm unlock   (it asks for the key; `docker swarm unlock-key` on another manager tells it)"})
	case n.Member.State != "active":
		if j.hurt[n.Name] {
			return
		}
		why := []string{fmt.Sprintf("%s: swarm state %q", n.Name, n.Member.State)}
		if n.Member.Error != "" {
			why = append(why, n.Name+": "+oneLine(n.Member.Error))
		}
		f := Finding{ID: NotInSwarm, Nodes: nodes,
			Symptom:  n.Name + " gets no tasks",
			Cause:    n.Name + " is not an active member of a swarm",
			Evidence: why, Remedy: "labctl swarm form"}
		if n.Member.State != "inactive" {
			f.Remedy = on(n.Name, "docker swarm leave --force") + "\n" + f.Remedy
		}
		j.hurt[n.Name] = true
		j.add(f)
	case j.elsewhere(n):
		j.hurt[n.Name] = true
		j.add(Finding{ID: OtherSwarm, Nodes: nodes,
			Symptom:  n.Name + " gets no tasks of this swarm, though its engine says that it is an active member",
			Cause:    fmt.Sprintf("%s is in another swarm than %s", n.Name, j.Swarm.By),
			Evidence: []string{fmt.Sprintf("%s: the node list has no %s, which is what %s calls itself", j.Swarm.By, n.Member.NodeID, n.Name)},
			Remedy:   on(n.Name, "docker swarm leave --force") + "\nlabctl swarm form"})
	default:
		j.advertised(n, s.Swarm)
	}
}

// elsewhere tells a member of a swarm that the managers do not know.
func (j *judge) elsewhere(n Node) bool {
	return j.Swarm != nil && j.Swarm.Error == "" && n.Member.NodeID != "" && j.Swarm.By != n.Name &&
		!slices.ContainsFunc(j.Swarm.Members, func(m SwarmMember) bool { return m.ID == n.Member.NodeID })
}

// advertised finds addresses by which a node is not to be reached.
func (j *judge) advertised(n Node, file SwarmFile) {
	f := Finding{ID: WrongAddress, Nodes: []string{n.Name},
		Symptom: "containers on " + n.Name + " and on other nodes do not reach each other",
		Remedy:  on(n.Name, "docker swarm leave --force") + "\nlabctl swarm form"}
	if n.Member.Manager {
		f.Remedy = "labctl swarm leave\nlabctl swarm form"
	}
	switch {
	case n.Member.Addr.IsValid() && n.Member.Addr != n.IP:
		f.Cause = fmt.Sprintf("%s joined the swarm with the address %s instead of %s, and the others send their packets there", n.Name, n.Member.Addr, n.IP)
		f.Evidence = []string{fmt.Sprintf("%s: advertises %s, lab.toml says %s", n.Name, n.Member.Addr, n.IP)}
	case file.DataPath != "" && file.DataPath != n.IP.String() && !(n.labDev() != "" && file.DataPath == n.labDev()):
		f.Cause = fmt.Sprintf("%s joined the swarm with the data path address %s instead of %s, and the others send the packets of overlays there", n.Name, file.DataPath, n.IP)
		f.Evidence = []string{fmt.Sprintf("%s: docker-state.json has the data path address %s, lab.toml says %s", n.Name, file.DataPath, n.IP)}
	default:
		return
	}
	j.hurt[n.Name] = true
	j.add(f)
}

// listed judges a line of the node list.
func (j *judge) listed(m SwarmMember) {
	i := slices.IndexFunc(j.Nodes, func(n Node) bool { return n.Member.NodeID == m.ID && m.ID != "" })
	if i < 0 {
		j.stranger(m)
		return
	}
	n := j.Nodes[i]
	switch {
	case m.State != "ready" && (j.cutOff(n.Name, managePort) || j.hurt[n.Name] || j.hurt[j.Swarm.By]):
	case m.State != "ready":
		ev := fmt.Sprintf("%s: node list says %s is %s", j.Swarm.By, n.Name, m.State)
		if m.Message != "" {
			ev += ", " + oneLine(m.Message)
		}
		f := Finding{ID: NodeDown, Nodes: []string{n.Name},
			Symptom: "the swarm gives " + n.Name + " no work, and moves its tasks to other nodes",
			Cause: fmt.Sprintf("the managers hear nothing from %s, though its engine answers: it has lost them, or has not found them again yet",
				n.Name),
			Evidence: []string{ev}}
		f.fix(n.Name, "sudo systemctl restart docker")
		j.add(f)
	case m.Availability != "active":
		j.drained(n, m)
	}
}

// stranger is an entry that none of the lab's nodes calls its own.
func (j *judge) stranger(m SwarmMember) {
	k := slices.IndexFunc(j.Nodes, func(n Node) bool { return n.Name == m.Hostname })
	rm := "docker node rm --force " + m.ID
	if m.Reachability != "" {
		rm = "docker node demote " + m.ID + " && " + rm
	}
	f := Finding{Severity: Warning, Evidence: []string{fmt.Sprintf("%s: node list has %s, %s, with the id %s", j.Swarm.By, m.Hostname, m.State, m.ID)}}
	switch {
	case k >= 0 && !j.Nodes[k].answered(), k >= 0 && j.hurt[m.Hostname] && m.State != "down":
		return // it is that node, which cannot say so
	case k >= 0 && j.Nodes[k].Member.State != "active":
		return // it has left, which is told; `labctl swarm form` removes the entry
	case k >= 0 && slices.ContainsFunc(j.found, func(f Finding) bool {
		return (f.ID == OtherSwarm || f.ID == WrongAddress) && f.Nodes[0] == m.Hostname
	}):
		return // `labctl swarm form`, which that needs, removes the entry
	case k >= 0 && (m.State == "down" || m.Addr == j.Nodes[k].IP):
		// The managers miss a worker that has left after some seconds only.
		f.ID, f.Nodes = FormerSelf, []string{m.Hostname}
		f.Symptom = fmt.Sprintf("the node list shows %s twice, once as Down or soon so", m.Hostname)
		f.Cause = fmt.Sprintf("%s has left the swarm and joined it again: its former entry stays until somebody removes it", m.Hostname)
		f.Evidence = append(f.Evidence, fmt.Sprintf("%s: its id is %s", m.Hostname, j.Nodes[k].Member.NodeID))
		f.fix(j.Swarm.By, rm)
	default:
		f.ID = UnknownNode
		f.Symptom = fmt.Sprintf("the node list shows %s, which lab.toml does not name; tasks may go there", m.Hostname)
		f.Cause = fmt.Sprintf("the machine %s joined this swarm by hand, or is left from an earlier lab.toml", m.Hostname)
		f.Remedy = on(j.Swarm.By, rm)
		if strings.Contains(rm, "&&") {
			f.Remedy = onShell(j.Swarm.By, rm)
		}
	}
	j.add(f)
}

// drained is a node that takes no tasks by somebody's will, which is no harm
// unless a service lacks the place.
func (j *judge) drained(n Node, m SwarmMember) {
	f := Finding{ID: NodeDrained, Nodes: []string{n.Name},
		Cause:    fmt.Sprintf("somebody set the availability of %s to %s", n.Name, m.Availability),
		Evidence: []string{fmt.Sprintf("%s: node list says that %s is set to %s", j.Swarm.By, n.Name, m.Availability)},
		Remedy:   on(j.Swarm.By, "docker node update --availability active "+n.Name)}
	var names []string
	for _, s := range j.Swarm.Services {
		for _, t := range j.Swarm.Tasks {
			if t.Service != s.ID || t.Desired != "running" || t.State != "pending" || t.Node != "" || !strings.Contains(t.Err, "not available for new tasks") {
				continue
			}
			j.explained[s.ID] = true
			if !slices.Contains(names, s.Name) {
				names = append(names, s.Name)
				f.Evidence = append(f.Evidence, j.taskError(s, t))
			}
		}
	}
	if names == nil {
		return
	}
	f.Symptom = "tasks of " + enumerate(names) + " wait for a node"
	j.add(f)
}
