package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// nameservers finds name servers that do not answer, and nodes that have none.
func (j *judge) nameservers() {
	tables := j.tables()
	for _, n := range j.Nodes {
		if n.System == nil || n.ProbeError != "" || j.hurt[n.Name] {
			continue
		}
		good, silent := []string{}, []string{}
		for ip, ok := range n.DNS {
			if ok {
				good = append(good, ip)
			} else {
				silent = append(silent, ip)
			}
		}
		slices.Sort(silent)
		if len(silent) == 0 && (len(good) > 0 || j.serverElsewhere(n) == "") {
			continue
		}
		f := Finding{ID: NameserverSilent, Severity: Warning, Nodes: []string{n.Name},
			Symptom: fmt.Sprintf("names of the world outside are not found on %s and in its containers, or only after seconds", n.Name)}
		var by *culprit
		for _, ip := range silent {
			f.Evidence = append(f.Evidence, fmt.Sprintf("%s: name server %s does not answer", n.Name, ip))
			if c := n.dnsStopper(ip, tables[n.Name]); c != nil {
				by = c
			}
		}
		switch {
		case by != nil:
			f.Cause = "the firewall of " + n.Name + " stops questions to name servers, or their answers"
			f.Evidence = append([]string{by.evidence()}, f.Evidence...)
			f.Remedy = strings.Join(j.letThrough(blocked{by: by, proto: "udp", port: 53}), "\n")
		default:
			f.Cause = fmt.Sprintf("%s asks the name server %s, which does not answer", n.Name, enumerate(silent))
			if len(silent) == 0 {
				f.Cause = "/etc/resolv.conf of " + n.Name + " names no name server"
				f.Evidence = []string{n.Name + ": no nameserver in /etc/resolv.conf"}
			}
			f.Remedy = on(n.Name, "cat /etc/resolv.conf /etc/docker/daemon.json") + "   (one of them names the server)"
			if s := j.serverElsewhere(n); s != "" {
				f.Evidence = append(f.Evidence, fmt.Sprintf("another node: name server %s answers", s))
				f.Remedy = onShell(n.Name, fmt.Sprintf("echo nameserver %s | sudo tee /etc/resolv.conf", s))
			} else if g := n.System.Gateway.Via; g.IsValid() && !slices.Contains(silent, g.String()) {
				f.Remedy = onShell(n.Name, fmt.Sprintf("echo nameserver %s | sudo tee /etc/resolv.conf", g))
			}
		}
		j.add(f)
	}
}

// serverElsewhere is a name server that answers another node, and that this
// one does not know to be silent.
func (j *judge) serverElsewhere(n Node) string {
	var out []string
	for _, m := range j.Nodes {
		for ip, ok := range m.DNS {
			if _, asked := n.DNS[ip]; ok && (!asked || n.DNS[ip]) && m.Name != n.Name {
				out = append(out, ip)
			}
		}
	}
	slices.Sort(out)
	if out == nil {
		return ""
	}
	return out[0]
}

// dnsStopper looks for the rule that stops a question to a name server.
func (n Node) dnsStopper(server string, tables []*table) *culprit {
	to, err := netip.ParseAddr(server)
	if err != nil {
		return nil
	}
	dev := n.System.Gateway.Dev
	var from netip.Addr
	for _, a := range n.Addrs {
		if a.Prefix.Contains(to) {
			dev = a.Dev
		}
	}
	for _, a := range n.Addrs {
		if a.Dev == dev {
			from = a.Prefix.Addr()
		}
	}
	for _, p := range []packet{
		{proto: "udp", from: from, to: to, dport: 53, out: dev},
		{proto: "udp", from: to, to: from, sport: 53, in: dev, incoming: true, answer: true},
	} {
		for _, t := range tables {
			if c, ok := t.stops(p); ok {
				c.node = n.Name
				return &c
			}
		}
	}
	return nil
}

// readable are the log drivers that hand out again what they were given.
var readable = []string{"", "json-file", "local", "journald"}

// logs finds logs that nobody can read.
func (j *judge) logs() {
	for _, n := range j.Nodes {
		if !n.answered() || j.hurt[n.Name] || slices.Contains(readable, n.LogDriver) {
			continue
		}
		j.add(Finding{ID: LogDriver, Severity: Warning, Nodes: []string{n.Name},
			Symptom:  "docker service logs shows nothing of containers on " + n.Name + ", or an error",
			Cause:    fmt.Sprintf("the engine of %s gives logs to the driver %s, from which Docker cannot read them again", n.Name, n.LogDriver),
			Evidence: []string{fmt.Sprintf("%s: the engine's logging driver is %s", n.Name, n.LogDriver)},
			Remedy: onShell(n.Name, fmt.Sprintf(`sudo sed -i -E 's/"log-driver": *"%s"/"log-driver": "json-file"/' /etc/docker/daemon.json && sudo systemctl restart docker`, n.LogDriver)) +
				"\nlabctl exec MANAGER -- docker service update --force SERVICE   (for each: containers keep the driver that they began with)"})
	}
	if j.Swarm == nil || j.Swarm.Error != "" {
		return
	}
	for _, s := range j.Swarm.Services {
		if slices.Contains(readable, s.LogDriver) {
			continue
		}
		j.add(Finding{ID: LogDriver, Severity: Warning,
			Symptom:  "docker service logs " + s.Name + " shows nothing, or an error",
			Cause:    fmt.Sprintf("the service %s was created with the log driver %s, from which Docker cannot read again", s.Name, s.LogDriver),
			Evidence: []string{fmt.Sprintf("%s: %s has --log-driver %s", j.Swarm.By, s.Name, s.LogDriver)},
			Remedy:   on(j.Swarm.By, "docker service update --log-driver json-file "+s.Name)})
	}
}
