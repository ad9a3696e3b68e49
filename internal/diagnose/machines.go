package diagnose

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// machines finds what is wrong with single machines.
func (j *judge) machines() {
	j.clocks()
	j.identity()
	for _, n := range j.Nodes {
		if n.System == nil {
			continue
		}
		for _, d := range n.System.Disks {
			j.disk(n, d)
		}
		j.cpu(n)
		j.memory(n)
		j.forwarding(n)
		j.modules(n)
	}
}

// fix makes commands for one node a remedy that diagnose may carry out.
func (f *Finding) fix(node string, commands ...string) {
	var lines []string
	for _, c := range commands {
		f.Fix = append(f.Fix, Fix{Node: node, Command: c})
		lines = append(lines, onShell(node, c))
	}
	if f.Remedy != "" {
		f.Remedy += "\n"
	}
	f.Remedy += strings.Join(lines, "\n")
}

// onShell is on for a command that only a shell on the node understands.
func onShell(node, command string) string {
	if strings.ContainsAny(command, "&|;<>*?(\"") && !strings.Contains(command, clockOfHost) {
		command = "sh -c " + quote(command)
	}
	return on(node, command)
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

const clockOfHost = "$(date +%s)"

// clockLimit is what certificates and logs bear, in seconds.
const clockLimit = 10

// clocks compares the nodes' clocks with that of the host, which sets them:
// those that differ are named if others do not, else all.
func (j *judge) clocks() {
	var asked, wrong []Node
	var least, most Node
	for _, n := range j.Nodes {
		if n.Unreachable != "" || n.HostError != "" {
			continue
		}
		if asked == nil || n.ClockAhead < least.ClockAhead {
			least = n
		}
		if asked == nil || n.ClockAhead > most.ClockAhead {
			most = n
		}
		asked = append(asked, n)
		if (n.ClockAhead.Abs() - n.ClockFuzz).Seconds() > clockLimit {
			wrong = append(wrong, n)
		}
	}
	apart := most.ClockAhead - least.ClockAhead
	if wrong == nil && (apart-most.ClockFuzz-least.ClockFuzz).Seconds() > clockLimit {
		wrong = []Node{least, most}
	}
	if wrong == nil {
		return
	}
	f := Finding{ID: ClocksDiffer, Symptom: "certificates are not valid yet or no longer, joining fails, times in logs do not fit"}
	var words []string
	for _, n := range wrong {
		j.hurt[n.Name] = true
		f.Nodes = append(f.Nodes, n.Name)
		words = append(words, "the clock of "+n.Name+" is "+aheadOrBehind(n.ClockAhead)+" that of this machine")
		f.fix(n.Name, "sudo date -u -s @"+clockOfHost)
	}
	for _, n := range asked {
		f.Evidence = append(f.Evidence, fmt.Sprintf("%s: %v ahead of this machine, give or take %v", n.Name, n.ClockAhead, n.ClockFuzz))
	}
	f.Cause = enumerate(words)
	j.add(f)
}

func aheadOrBehind(d time.Duration) string {
	if d < 0 {
		return (-d).Round(time.Second).String() + " behind"
	}
	return d.Round(time.Second).String() + " ahead of"
}

// identity finds machines that were copied with what should be their own.
func (j *judge) identity() {
	ids := map[string][]string{}
	var order []string
	for _, n := range j.Nodes {
		if n.System == nil {
			continue
		}
		if id := n.System.MachineID; id != "-" && id != "" {
			if ids[id] == nil {
				order = append(order, id)
			}
			ids[id] = append(ids[id], n.Name)
		}
		if h := n.System.Hostname; h != "-" && h != "" && h != n.Name {
			f := Finding{ID: HostnameDiffers, Severity: Warning, Nodes: []string{n.Name},
				Symptom:  fmt.Sprintf("the node list shows %s as %s, and names in logs do not fit", n.Name, n.System.Hostname),
				Cause:    fmt.Sprintf("the machine %s calls itself %s", n.Name, n.System.Hostname),
				Evidence: []string{fmt.Sprintf("%s: hostname is %s", n.Name, n.System.Hostname)}}
			for _, other := range j.Nodes {
				if other.Name == n.System.Hostname {
					f.Nodes = append(f.Nodes, other.Name)
					f.Cause += ", as another node does"
				}
			}
			// The engine tells the swarm its machine's name when it starts.
			f.fix(n.Name, "sudo hostnamectl set-hostname "+n.Name+" && sudo systemctl restart docker")
			j.add(f)
		}
	}
	for _, id := range order {
		if nodes := ids[id]; len(nodes) > 1 {
			f := Finding{ID: SameMachineID, Severity: Warning, Nodes: nodes,
				Symptom: "DHCP gives both the same address, and logs of both look like one machine's",
				Cause:   enumerate(nodes) + " have the same machine-id: one is a copy of the other, or both of a third that had one"}
			for i, name := range nodes {
				f.Evidence = append(f.Evidence, name+": /etc/machine-id is "+id)
				if i > 0 {
					f.fix(name, "sudo rm -f /etc/machine-id /var/lib/dbus/machine-id && sudo systemd-machine-id-setup && sudo ln -sf /etc/machine-id /var/lib/dbus/machine-id")
				}
			}
			j.add(f)
		}
	}
}

// Below these a disk is full, or soon will be; KiB and shares.
const (
	diskFull    = 64 << 10
	diskScarce  = 512 << 10
	scarceShare = 0.05
)

// scarce tells a disk that is full, or soon will be.
func (d Disk) scarce() bool {
	return d.Size > 0 && (d.Free < diskFull || d.Free < diskScarce && float64(d.Free)/float64(d.Size) < scarceShare)
}

func (j *judge) disk(n Node, d Disk) {
	f := Finding{ID: DiskFull, Nodes: []string{n.Name}}
	evidence := fmt.Sprintf("%s: %s: %d of %d MiB are free", n.Name, d.Mount, d.Free>>10, d.Size>>10)
	what := "images, containers and logs find no room"
	inodes := d.Inodes > 0 && float64(d.FreeInodes) < scarceShare/2*float64(d.Inodes)
	switch {
	case d.ReadOnly:
		f.Symptom = "nothing can be written on " + n.Name + ": containers do not start, the engine fails"
		f.Cause = fmt.Sprintf("the file system %s of %s is mounted read-only, by hand or by the kernel after an error", d.Mount, n.Name)
		evidence = fmt.Sprintf("%s: %s is mounted ro", n.Name, d.Mount)
		f.fix(n.Name, "sudo mount -o remount,rw "+d.Mount)
	case d.Size > 0 && d.Free < diskFull:
		f.Symptom = "containers do not start on " + n.Name + ", and its engine may fail: " + what
		f.Cause = fmt.Sprintf("the disk of %s is full: %s", n.Name, d.Mount)
	case inodes:
		f.Severity = Warning
		if d.FreeInodes < 1000 {
			f.Severity = Error
		}
		f.Symptom = "no new files on " + n.Name + ", though the disk has room"
		f.Cause = fmt.Sprintf("the disk of %s has hardly any inode left: too many small files in %s", n.Name, d.Mount)
		evidence = fmt.Sprintf("%s: %s: %d of %d inodes are free", n.Name, d.Mount, d.FreeInodes, d.Inodes)
	case d.scarce():
		f.Severity = Warning
		f.Symptom = "soon " + what + " on " + n.Name
		f.Cause = fmt.Sprintf("the disk of %s is nearly full: %s", n.Name, d.Mount)
	default:
		return
	}
	f.Evidence = []string{evidence}
	if f.Remedy == "" {
		for _, b := range n.System.Big {
			f.Evidence = append(f.Evidence, n.Name+": "+b.Text)
			if b.Remove {
				f.Remedy += on(n.Name, "sudo rm "+quoteIfNeeded(b.Path)) + "   (if nobody needs it)\n"
			}
		}
		f.Remedy += on(n.Name, "docker system prune --force") + "\n" + on(n.Name, "sudo journalctl --vacuum-size=16M")
	}
	if f.Severity != Warning {
		j.hurt[n.Name] = true
	}
	j.add(f)
}

func quoteIfNeeded(s string) string {
	if strings.ContainsAny(s, " '\"$&|;<>*?()\\`") {
		return quote(s)
	}
	return s
}

// notHogs are programs that may well be busy: it is their job. "exe" is what
// dockerd and runc call themselves while they set up a namespace.
var notHogs = []string{"dockerd", "containerd", "containerd-shim", "runc", "exe", "systemd", "systemd-journal", "systemd-udevd", "(udev-worker)", "sshd", "sudo"}

// Above these something starves the node, for which all else waits.
const (
	hogShare    = 0.25
	hogPressure = 40
)

func (j *judge) cpu(n Node) {
	c := n.System.CPU
	f := Finding{ID: CPUStarved, Severity: Warning, Nodes: []string{n.Name}}
	waits := c.Pressure > hogPressure || c.Pressure < 0 && c.Load > 2*float64(c.Count)
	share := 0.0
	var names, pids []string
	for _, p := range c.Busy {
		if slices.Contains(notHogs, p.Name) {
			continue
		}
		share += p.Share
		names = append(names, p.Name)
		for _, pid := range p.PIDs {
			pids = append(pids, strconv.Itoa(pid))
		}
		f.Evidence = append(f.Evidence, fmt.Sprintf("%s: %s takes %.0f %% of the processors (process %s)", n.Name, p.Name, p.Share*100, ints(p.PIDs)))
	}
	if !waits || share < hogShare {
		return
	}
	j.hurt[n.Name] = true
	f.Symptom = "everything on " + n.Name + " is slow: containers start late, answers time out, the swarm may take it for dead"
	keep := "keeps"
	if len(names) > 1 {
		keep = "keep"
	}
	f.Cause = fmt.Sprintf("%s %s the processors of %s busy, so that all else waits", enumerate(names), keep, n.Name)
	f.Evidence = append(f.Evidence, fmt.Sprintf("%s: load %.2f on %s, something waits for a processor %.0f %% of the time", n.Name, c.Load, count(c.Count, "processor"), max(c.Pressure, 0)))
	f.Remedy = on(n.Name, "sudo kill "+strings.Join(pids, " "))
	j.add(f)
}

func ints(list []int) string {
	var words []string
	for _, i := range list {
		words = append(words, strconv.Itoa(i))
	}
	return strings.Join(words, ", ")
}

// memoryLow is in KiB.
const memoryLow = 48 << 10

func (j *judge) memory(n Node) {
	m := n.System.Memory
	if m.Total == 0 || m.Available >= memoryLow {
		return
	}
	j.add(Finding{ID: MemoryLow, Severity: Warning, Nodes: []string{n.Name},
		Symptom:  "containers on " + n.Name + " end with exit code 137, and its engine may be next",
		Cause:    fmt.Sprintf("the memory of %s is used up: the kernel will kill processes", n.Name),
		Evidence: []string{fmt.Sprintf("%s: %d of %d MiB are available", n.Name, m.Available>>10, m.Total>>10)},
		Remedy:   on(n.Name, "ps -eo pid,rss,comm --sort=-rss") + "   (and end what is not needed; or raise memory in lab.toml)"})
}

func (j *judge) forwarding(n Node) {
	if n.System.Forward {
		return
	}
	f := Finding{ID: ForwardingOff, Nodes: []string{n.Name},
		Symptom:  fmt.Sprintf("published ports of %s do not answer, and its containers do not reach the world", n.Name),
		Cause:    fmt.Sprintf("the kernel of %s passes no packets on between its interfaces", n.Name),
		Evidence: []string{n.Name + ": net.ipv4.ip_forward is 0"}}
	f.fix(n.Name, "sudo sysctl -w net.ipv4.ip_forward=1")
	j.add(f)
}

// forWhat says what Docker needs a module for.
var forWhat = map[string]string{
	"overlay": "no image can be unpacked and no container starts",
	"bridge":  "no container gets a network",
	"veth":    "no container gets a network",
	"vxlan":   "containers on different nodes do not reach each other in overlay networks",
	"ip_vs":   "services have no address that spreads the load, and published ports do not answer",
}

func (j *judge) modules(n Node) {
	for _, m := range n.System.Modules {
		if m.Loaded || m.Error == "" {
			continue
		}
		f := Finding{ID: ModuleMissing, Nodes: []string{n.Name},
			Symptom:  fmt.Sprintf("on %s %s", n.Name, forWhat[m.Name]),
			Cause:    fmt.Sprintf("the kernel of %s has no module %s, and it cannot be loaded", n.Name, m.Name),
			Evidence: []string{n.Name + ": modprobe " + m.Name + ": " + m.Error}}
		if strings.Contains(m.Error, "told to") {
			f.Remedy = on(n.Name, "grep -r "+m.Name+" /etc/modprobe.d") + "   (take that line away)\n"
		} else {
			f.Remedy = on(n.Name, "find /lib/modules -name '"+m.Name+".ko*'") + "   (is it there, for the kernel that runs?)\n"
		}
		f.Remedy += on(n.Name, "sudo depmod -a") + "\n" + on(n.Name, "sudo modprobe "+m.Name) + "\n" + on(n.Name, "sudo systemctl restart docker")
		j.hurt[n.Name] = true
		j.add(f)
	}
}
