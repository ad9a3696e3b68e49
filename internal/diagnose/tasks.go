package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// calm is how long things must have stood as they are before what is missing
// counts as missing: gossip and starting containers take their time.
const calm = 30 * time.Second

// peers finds nodes that carry tasks in the same overlay and do not know each
// other there.
func (j *judge) peers() {
	if j.Swarm == nil || j.Swarm.Error != "" {
		return
	}
	for _, o := range j.overlays {
		if o.Ingress || o.unallocated() {
			continue
		}
		carry := j.carriers(o)
		if len(carry) < 2 {
			continue
		}
		var nodes, ev []string
		var pairs []string
		for _, n := range carry {
			i := slices.IndexFunc(n.Networks, func(w Network) bool { return w.ID == o.ID })
			if i < 0 {
				continue
			}
			for _, other := range carry {
				// An advertised address that is not lab.toml's is told elsewhere,
				// and so is a port that is blocked.
				if slices.Contains(n.Networks[i].Peers, other.IP) || j.hurt[n.Name] || j.hurt[other.Name] || other.Member.Addr != other.IP ||
					j.cutOff(n.Name, gossipPort) || j.cutOff(other.Name, gossipPort) {
					continue
				}
				pairs = append(pairs, other.Name+" by "+n.Name)
				if !slices.Contains(nodes, n.Name) {
					nodes = append(nodes, n.Name)
				}
				ev = append(ev, fmt.Sprintf("%s: peers of %s are %s, without %s of %s", n.Name, o.Name, addrs(n.Networks[i].Peers), other.IP, other.Name))
			}
		}
		if pairs == nil {
			continue
		}
		j.add(Finding{ID: PeerMissing, Nodes: nodes, Networks: []string{o.Name},
			Symptom:  fmt.Sprintf("containers in the network %s do not reach those on other nodes", o.Name),
			Cause:    fmt.Sprintf("in %s some nodes are not known: %s; the nodes tell each other by port 7946, tcp and udp", o.Name, strings.Join(pairs, ", ")),
			Evidence: ev,
			Remedy:   "let 7946/tcp, 7946/udp and 4789/udp pass between the nodes; if a firewall is on them:\n" + on("@all", "sudo iptables -S") + "\n" + on("@all", "sudo nft list ruleset")})
	}
}

// carriers are the nodes on which tasks of an overlay have been running for
// some time.
func (j *judge) carriers(o overlay) (out []Node) {
	for _, n := range j.Nodes {
		if !n.answered() {
			continue
		}
		for _, s := range j.Swarm.Services {
			if slices.Contains(s.Networks, o.ID) && slices.ContainsFunc(j.Swarm.Tasks, func(t Task) bool {
				return t.Service == s.ID && t.Node == n.Member.NodeID && t.State == "running" && j.Swarm.Now.Sub(t.Since) >= calm
			}) {
				out = append(out, n)
				break
			}
		}
	}
	return out
}

func addrs(list []netip.Addr) string {
	if list == nil {
		return "none"
	}
	var words []string
	for _, a := range list {
		words = append(words, a.String())
	}
	return strings.Join(words, ", ")
}

// lessons explain what tasks say when they fail: a part of the error, the
// cause, the remedy.
var lessons = []struct{ part, cause, remedy string }{
	{"pool overlaps", "the subnet of its network overlaps another network of that node", "docker network inspect NETWORK\nip route"},
	{"no such image", "the node has not got the image, and fetched none", "docker pull IMAGE   (on every node, or copy it there with docker save and docker load)"},
	{"pull access denied", "the image does not exist where the node looks for it, or it needs a login", "docker pull IMAGE"},
	{"manifest unknown", "the registry has the image, but not with this tag", "docker service update --image NAME:TAG SERVICE"},
	{"executable file not found", "the image does not contain the program that it is to run", "docker run --rm IMAGE ls /bin"},
	{"apparmor_parser", "the package apparmor is missing on the node", "sudo apt-get install apparmor && sudo systemctl restart docker"},
	{"port is already allocated", "another program on the node listens at the published port", "sudo ss -ltnp"},
	{"host-mode port already in use", "another task on the node has the published port", "docker service ls"},
	{"network sandbox join failed", "the node cannot make the network's own sandbox", "docker service update --force SERVICE\nsudo journalctl -u docker -n 50"},
	{"no suitable node", "no node fits what the service asks for: look at drained nodes, constraints, memory and ports", "docker node ls\ndocker service inspect --pretty SERVICE"},
	{"could not find the corresponding network", "the node has not heard of the network yet, or no more", "docker service update --force SERVICE"},
	{"no space left on device", "the node's disk is full", "docker system prune\ndf -h"},
	{"non-zero exit", "the program in the container ends with an error", "docker service logs SERVICE"},
}

// tasks explains services that have fewer running tasks than they should, and
// an error to show for it.
func (j *judge) tasks() {
	if j.Swarm == nil || j.Swarm.Error != "" {
		return
	}
	for _, s := range j.Swarm.Services {
		last, ok := j.trouble(s)
		if !ok || j.explained[s.ID] || j.excused(last) {
			continue
		}
		f := Finding{ID: TasksFail, Networks: nil,
			Symptom:  fmt.Sprintf("tasks of %s do not run: %s", s.Name, last.State),
			Cause:    "the swarm says: " + oneLine(last.Err),
			Evidence: []string{j.taskError(s, last)},
			Remedy:   "docker service ps --no-trunc " + s.Name}
		if name := j.names[last.Node]; name != "" {
			f.Nodes = []string{name}
		}
		text := strings.ToLower(last.Err)
		for _, l := range lessons {
			if strings.Contains(text, l.part) {
				f.Cause = l.cause
				f.Remedy = strings.NewReplacer("IMAGE", s.Image, "SERVICE", s.Name).Replace(l.remedy)
				break
			}
		}
		if strings.Contains(text, "no such image") {
			f.ID = ImageMissing
			f.Nodes = j.without(s.Image)
			for _, n := range f.Nodes {
				f.Evidence = append(f.Evidence, fmt.Sprintf("%s: has no image %s", n, s.Image))
			}
			f.Remedy = j.copyImage(s.Image, f.Nodes, f.Remedy)
			if isToolbox(s.Image) {
				f.Remedy = "labctl create"
			}
		}
		j.add(f)
	}
	j.toolbox()
}

// excused tells trouble that a finding explains already: the task's node is
// out of order, or one is that would have been the task's.
func (j *judge) excused(t Task) bool {
	if name := j.names[t.Node]; name != "" {
		return j.hurt[name]
	}
	return strings.Contains(t.Err, "no suitable node") && slices.ContainsFunc(j.Nodes, func(n Node) bool { return j.hurt[n.Name] })
}

// trouble returns the youngest error of a service of which some task shall
// run and does not. Only what came last in that task's place counts: an older
// error was overcome, and a rolling update that is under way is no trouble.
func (j *judge) trouble(s Service) (last Task, ok bool) {
	for _, t := range j.Swarm.Tasks {
		if t.Service != s.ID || !t.lacks() {
			continue
		}
		if before := j.before(t); t.Err == "" && before.Err != "" {
			t = before
		}
		if t.Err != "" && (!ok || !t.Since.Before(last.Since)) {
			last, ok = t, true
		}
	}
	return last, ok
}

// lacks tells a task that shall run and does not.
func (t Task) lacks() bool {
	return t.Desired == "running" && t.State != "running" || t.Desired == "ready"
}

// before is the youngest task that was in the place of t, or still is: the
// zero value if there is none.
func (j *judge) before(t Task) (out Task) {
	for _, k := range j.Swarm.Tasks {
		same := k.Slot == t.Slot && (t.Slot != 0 || k.Node == t.Node) // a global service has one on each node
		if k.Service == t.Service && k.ID != t.ID && same && !k.lacks() && !k.Since.Before(out.Since) {
			out = k
		}
	}
	return out
}

// copyImage is what to type so that nodes get an image from one that has it.
func (j *judge) copyImage(image string, to []string, otherwise string) string {
	var lines []string
	for _, n := range j.Nodes {
		if !n.answered() || slices.Contains(to, n.Name) || len(n.Images) == 0 {
			continue
		}
		name, _, _ := strings.Cut(image, "@")
		for _, other := range to {
			lines = append(lines, fmt.Sprintf("labctl ssh %s -- docker save %s | labctl ssh %s -- docker load", n.Name, name, other))
		}
		return strings.Join(lines, "\n")
	}
	return otherwise
}

// without lists the nodes that have not got an image.
func (j *judge) without(image string) (out []string) {
	name, _, _ := strings.Cut(image, "@")
	if !strings.Contains(name[strings.LastIndexByte(name, '/')+1:], ":") {
		name += ":latest"
	}
	for _, n := range j.Nodes {
		if n.answered() && !slices.Contains(n.Images, name) {
			out = append(out, n.Name)
		}
	}
	return out
}

// toolboxImage is the image that the scenarios use and that labctl puts on
// every node.
const toolboxImage = "labctl/toolbox:latest"

func isToolbox(image string) bool {
	return image == toolboxImage || image == strings.TrimSuffix(toolboxImage, ":latest")
}

func (j *judge) toolbox() {
	missing := j.without(toolboxImage)
	told := slices.ContainsFunc(j.found, func(f Finding) bool { return f.ID == ImageMissing })
	if missing == nil || told {
		return
	}
	f := Finding{ID: ImageMissing, Severity: Warning, Nodes: missing,
		Symptom: "the scenarios' tasks will not start on " + strings.Join(missing, ", "),
		Cause:   "the image " + toolboxImage + " is missing there",
		Remedy:  "labctl create"}
	for _, n := range missing {
		f.Evidence = append(f.Evidence, n+": has no image "+toolboxImage)
	}
	j.add(f)
}
