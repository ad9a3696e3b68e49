package diagnose

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// readQdiscs leaves out what every network card has.
func readQdiscs(text string) (out []Qdisc) {
	var list []struct {
		Kind    string `json:"kind"`
		Dev     string `json:"dev"`
		Options struct {
			Delay struct {
				Delay  float64 `json:"delay"` // seconds
				Jitter float64 `json:"jitter"`
			} `json:"delay"`
			Loss struct {
				Loss float64 `json:"loss"`
			} `json:"loss-random"`
			Duplicate struct {
				Duplicate float64 `json:"duplicate"`
			} `json:"duplicate"`
			Corrupt struct {
				Corrupt float64 `json:"corrupt"`
			} `json:"corrupt"`
			Reorder struct {
				Reorder float64 `json:"reorder"`
			} `json:"reorder"`
			// tbf gives a number, netem an object with one in it; bytes a second.
			Rate json.RawMessage `json:"rate"`
		} `json:"options"`
	}
	if json.Unmarshal([]byte(orEmpty(text)), &list) != nil {
		return nil
	}
	for _, q := range list {
		if !slices.Contains([]string{"netem", "tbf", "htb", "hfsc", "cbq", "red"}, q.Kind) {
			continue
		}
		var words []string
		o := q.Options
		percent := func(what string, share float64) {
			if share > 0 {
				words = append(words, fmt.Sprintf("%s %.3g%%", what, share*100))
			}
		}
		if o.Delay.Delay > 0 {
			words = append(words, fmt.Sprintf("delay %.4gms", o.Delay.Delay*1000))
		}
		percent("loss", o.Loss.Loss)
		percent("duplicate", o.Duplicate.Duplicate)
		percent("corrupt", o.Corrupt.Corrupt)
		percent("reorder", o.Reorder.Reorder)
		var inner struct {
			Rate float64 `json:"rate"`
		}
		if json.Unmarshal(o.Rate, &inner) != nil {
			_ = json.Unmarshal(o.Rate, &inner.Rate)
		}
		if inner.Rate > 0 {
			words = append(words, fmt.Sprintf("rate %.4gkbit", inner.Rate*8/1000))
		}
		out = append(out, Qdisc{Dev: q.Dev, Kind: q.Kind, Text: strings.Join(words, ", "), Loss: o.Loss.Loss})
	}
	return out
}

// readModules reads a module a line with what modprobe would do for it.
func readModules(text string) (out []Module) {
	for line := range strings.Lines(text) {
		name, would, _ := strings.Cut(strings.TrimSpace(line), " ")
		would = strings.TrimSpace(would)
		if name == "" {
			continue
		}
		m := Module{Name: name, Loaded: would == "loaded"}
		switch {
		case strings.Contains(would, "FATAL") || strings.Contains(would, "not found"):
			m.Error = would
		case strings.HasPrefix(would, "install "):
			m.Error = "modprobe is told to do something else: " + would
		}
		out = append(out, m)
	}
	return out
}

// readDisks reads df -P, first with KiB, then with inodes.
func readDisks(text, mounts string) (out []Disk) {
	inodes := false
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 6 {
			continue
		}
		if f[0] == "Filesystem" {
			inodes = f[1] == "Inodes"
			continue
		}
		all, err := strconv.ParseInt(f[1], 10, 64)
		free, err2 := strconv.ParseInt(f[3], 10, 64)
		if err != nil || err2 != nil {
			continue
		}
		mount := f[5]
		i := slices.IndexFunc(out, func(d Disk) bool { return d.Mount == mount })
		switch {
		case !inodes && i < 0:
			out = append(out, Disk{Mount: mount, Size: all, Free: free, ReadOnly: readOnly(mounts, mount)})
		case inodes && i >= 0:
			out[i].Inodes, out[i].FreeInodes = all, free
		}
	}
	return out
}

// readOnly reads /proc/mounts; the last line of a mount point counts.
func readOnly(mounts, mount string) (ro bool) {
	for line := range strings.Lines(mounts) {
		if f := strings.Fields(line); len(f) > 3 && f[1] == mount {
			ro = slices.Contains(strings.Split(f[3], ","), "ro")
		}
	}
	return ro
}

// process is a line of /proc/PID/stat.
type process struct {
	pid    int
	name   string
	state  string
	parent int
	ticks  float64
	start  float64 // ticks
}

// ticksPerSecond is what the kernel tells programs on all that Docker runs on.
const ticksPerSecond = 100

// readProcesses reads /proc/uptime and the stat files; kernel threads are left out.
func readProcesses(text string) (uptime float64, out map[int]process) {
	out = map[int]process{}
	for line := range strings.Lines(text) {
		open, end := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
		if open < 0 || end < open {
			if f := strings.Fields(line); len(f) == 2 && uptime == 0 {
				uptime, _ = strconv.ParseFloat(f[0], 64)
			}
			continue
		}
		f := strings.Fields(line[end+1:])
		pid, err := strconv.Atoi(strings.TrimSpace(line[:open]))
		if err != nil || len(f) < 20 {
			continue
		}
		p := process{pid: pid, name: line[open+1 : end], state: f[0]}
		p.parent, _ = strconv.Atoi(f[1])
		for _, word := range f[11:13] { // utime, stime
			t, _ := strconv.ParseFloat(word, 64)
			p.ticks += t
		}
		p.start, _ = strconv.ParseFloat(f[19], 64)
		if p.pid != 2 && p.parent != 2 {
			out[pid] = p
		}
	}
	return uptime, out
}

// ownContainerd finds a containerd that the node's engine has started. The
// engine of a container, which has started one in there, is not the node's.
func ownContainerd(text string) bool {
	_, all := readProcesses(text)
	for _, p := range all {
		if engine := all[p.parent]; p.name == "containerd" && p.state != "Z" && engine.name == "dockerd" && engine.parent == 1 {
			return true
		}
	}
	return false
}

// A process counts as busy if it has run for oldEnough seconds, and was busy for
// everBusy of that: what labctl itself or an engine has just started is none,
// nor is what answers labctl.
const (
	oldEnough = 5
	everBusy  = 0.05
)

func readCPU(load, before, after string) CPU {
	c := CPU{Pressure: -1}
	for i, line := range strings.Split(strings.TrimSpace(load), "\n") {
		f := strings.Fields(line)
		switch {
		case i == 0 && len(f) == 1:
			c.Count, _ = strconv.Atoi(f[0])
		case len(f) == 5 && strings.Contains(f[3], "/"):
			c.Load, _ = strconv.ParseFloat(f[0], 64)
		case len(f) > 1 && f[0] == "some":
			c.Pressure, _ = strconv.ParseFloat(strings.TrimPrefix(f[1], "avg10="), 64)
		}
	}
	own, _, _ := strings.Cut(before, "\n")
	self, _ := strconv.Atoi(own)
	up, first := readProcesses(before)
	up2, second := readProcesses(after)
	groups := map[string]*Process{}
	for pid, p := range second {
		if docker := p.name == "dockerd" || p.name == "containerd"; docker && (p.state == "T" || p.state == "t") {
			c.Stopped = append(c.Stopped, Process{Name: p.name, PIDs: []int{pid}})
		}
		old, ok := first[pid]
		if !ok || pid == self || up2 <= up || c.Count == 0 || up2-p.start/ticksPerSecond < oldEnough || p.ticks < everBusy*(up2*ticksPerSecond-p.start) {
			continue
		}
		share := (p.ticks - old.ticks) / ticksPerSecond / (up2 - up) / float64(c.Count)
		if share < 0.02 {
			continue
		}
		g := groups[p.name]
		if g == nil {
			g = &Process{Name: p.name}
			groups[p.name] = g
		}
		g.PIDs = append(g.PIDs, pid)
		g.Share += share
	}
	for _, g := range groups {
		if g.Share = float64(int(min(g.Share, 1)*100)) / 100; g.Share >= 0.2 {
			slices.Sort(g.PIDs)
			c.Busy = append(c.Busy, *g)
		}
	}
	slices.SortFunc(c.Busy, func(a, b Process) int { return cmp.Or(cmp.Compare(b.Share, a.Share), strings.Compare(a.Name, b.Name)) })
	slices.SortFunc(c.Stopped, func(a, b Process) int { return strings.Compare(a.Name, b.Name) })
	return c
}

func readMemory(text string) (m Memory) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		n, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "MemTotal:":
			m.Total = n
		case "MemAvailable:":
			m.Available = n
		}
	}
	return m
}

// readUnits reads what systemctl show prints: blocks of KEY=VALUE.
func readUnits(text string) (out []Unit) {
	for block := range strings.SplitSeq(text, "\n\n") {
		var u Unit
		for line := range strings.Lines(block) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			switch key {
			case "Id":
				u.Name = strings.TrimSuffix(value, ".service")
			case "ActiveState":
				u.Active = value
			case "SubState":
				u.Sub = value
			case "LoadState":
				u.Load = value
			case "UnitFileState":
				u.File = value
			case "Result":
				u.Result = value
			}
		}
		if u.Name != "" {
			out = append(out, u)
		}
	}
	return out
}

func readSwarmFile(text string) SwarmFile {
	var f struct{ LocalAddr, AdvertiseAddr, DataPathAddr string }
	_ = json.Unmarshal([]byte(text), &f) // not there before the node joins
	return SwarmFile{Advertise: cmp.Or(f.AdvertiseAddr, f.LocalAddr), DataPath: f.DataPathAddr}
}

// readCertificate reads the first one; nil if there is none.
func readCertificate(text string) *Certificate {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	sum := sha256.Sum256(c.Raw)
	return &Certificate{Name: c.Subject.CommonName, Print: fmt.Sprintf("%x", sum[:8]), From: c.NotBefore.UTC(), Until: c.NotAfter.UTC()}
}

func readDaemon(text string) (d Daemon) {
	if strings.TrimSpace(text) == "" {
		return d
	}
	var f struct {
		IPTables  *bool  `json:"iptables"`
		LogDriver string `json:"log-driver"`
	}
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		d.Error = err.Error()
	}
	d.NoTables = f.IPTables != nil && !*f.IPTables
	d.LogDriver = f.LogDriver
	return d
}

func readSandbox(text string) *Sandbox {
	if !strings.HasPrefix(text, "there") {
		return nil
	}
	addrs, rules, ok := strings.Cut(strings.TrimPrefix(text, "there\n"), "== rules\n")
	if !ok {
		return &Sandbox{Error: "it is there, but it is no network namespace"}
	}
	var n Node
	var links System
	s := &Sandbox{}
	if err := n.readAddrs(addrs, &links); err != nil {
		s.Error = err.Error()
		return s
	}
	s.Addrs = n.Addrs
	for line := range strings.Lines(rules) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "-A ") {
			s.Rules = append(s.Rules, line)
		}
	}
	return s
}

// bigScript lists the largest files of the disks that hold Docker's.
const bigScript = `find / /var/lib/docker -xdev -type f -size +20M -printf '%s %p\n' 2>/dev/null | sort -rnu | head -n 8
`

// notYours are places whose files belong to packages, or to Docker.
var notYours = []string{"/usr/", "/lib/", "/boot/", "/etc/", "/bin/", "/sbin/", "/var/lib/dpkg/", "/var/lib/apt/", "/var/cache/", "/var/log/journal/",
	"/var/lib/containerd/", "/var/lib/docker/overlay2/", "/var/lib/docker/image/", "/var/lib/docker/swarm/", "/var/lib/docker/containers/", "/var/lib/docker/volumes/",
	"/var/lib/docker/network/", "/var/lib/docker/buildkit/", "/swap"}

func readBig(text string) (out []Big) {
	for line := range strings.Lines(text) {
		size, path, ok := strings.Cut(strings.TrimSpace(line), " ")
		bytes, err := strconv.ParseInt(size, 10, 64)
		if !ok || err != nil || strings.HasPrefix(path, "/usr/") {
			continue
		}
		out = append(out, Big{Path: path, Text: fmt.Sprintf("%s has %d MiB", path, bytes>>20),
			Remove: !slices.ContainsFunc(notYours, func(p string) bool { return strings.HasPrefix(path, p) })})
	}
	return out
}
