// Package fault breaks a lab on purpose, one thing at a time, and mends it
// again. Each kind is a contract: the lab is sound before; how to undo it is
// written to a journal on the node, and noted in the state folder, before
// anything is broken; the symptom is named and awaited; and it is undone
// exactly, by labctl, by a timer of the node, or by the node's next boot.
package fault

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind is a word for what can be broken.
type Kind string

// The kinds of faults.
const (
	Port          Kind = "port"
	Partition     Kind = "partition"
	Loss          Kind = "loss"
	Delay         Kind = "delay"
	Bandwidth     Kind = "bandwidth"
	MTU           Kind = "mtu"
	DNS           Kind = "dns"
	Clock         Kind = "clock"
	DockerdStop   Kind = "dockerd-stop"
	NodeDown      Kind = "node-down"
	DiskFull      Kind = "disk-full"
	CPU           Kind = "cpu"
	ImageMissing  Kind = "image-missing"
	SubnetOverlap Kind = "subnet-overlap"
)

// Info is what labctl says of a kind.
type Info struct {
	Kind    Kind    `json:"kind"`
	Does    string  `json:"does"`
	Symptom string  `json:"symptom"` // what a person sees
	Undo    string  `json:"undo"`
	Params  []Param `json:"params,omitempty"`

	within time.Duration // until the symptom shows; 0: a minute
	from   bool          // takes --from
	noNode bool          // takes no --node: it is about the swarm
	noFor  bool          // takes no --for: no timer can undo it
}

// Param is a setting of a kind.
type Param struct {
	Name    string `json:"name"` // of the option, without the dashes
	Default string `json:"default"`
	Help    string `json:"help"`

	check func(value string) error
}

// Kinds lists all kinds.
func Kinds() []Info {
	return []Info{
		{Kind: Port, from: true, within: 4 * time.Minute,
			Does:    "the node's firewall drops what comes in by a port of the swarm; by 2377, if the node is a worker, what goes out",
			Symptom: "2377: the node list says Down; 7946: the nodes lose the peers of their networks; 4789: containers do not reach each other, though names resolve",
			Undo:    "the rules, which carry the fault's id, are removed",
			Params: []Param{{Name: "port", Default: "4789", Help: "2377, 7946 or 4789 (or the lab's own data path port)",
				check: oneOf("2377", "7946", "4789")}}},
		{Kind: Partition, from: true, within: 4 * time.Minute,
			Does:    "the node's firewall drops all that goes between it and the other nodes",
			Symptom: "the node list says Down, and the tasks of the node start anew on others",
			Undo:    "the rules, which carry the fault's id, are removed"},
		{Kind: Loss, from: true,
			Does:    "a part of what the node sends to the other nodes is lost",
			Symptom: "answers come late or not at all, now and then",
			Undo:    "the queue is taken off the network card",
			Params:  []Param{{Name: "percent", Default: "30", Help: "how much is lost, 1 to 100", check: between(1, 100)}}},
		{Kind: Delay, from: true,
			Does:    "what the node sends to the other nodes comes late",
			Symptom: "each answer between the node and another takes that much longer",
			Undo:    "the queue is taken off the network card",
			Params:  []Param{{Name: "delay", Default: "300", Help: "milliseconds, 10 to 2000", check: between(10, 2000)}}},
		{Kind: Bandwidth, from: true,
			Does:    "the node sends to the other nodes through a narrow line",
			Symptom: "small questions are answered, anything large crawls",
			Undo:    "the queue is taken off the network card",
			Params:  []Param{{Name: "rate", Default: "256", Help: "kbit/s, 64 to 100000", check: between(64, 100000)}}},
		{Kind: MTU,
			Does:    "the node's network card takes only small packets",
			Symptom: "small packets get through, those of 1500 bytes that must not be cut do not",
			Undo:    "the card gets back the size that it had",
			Params:  []Param{{Name: "mtu", Default: "1200", Help: "bytes, 600 to 1400", check: between(600, 1400)}}},
		{Kind: DNS,
			Does:    "the node asks a name server that does not exist",
			Symptom: "no name outside the swarm is resolved, and whoever asks waits for many seconds",
			Undo:    "/etc/resolv.conf is put back, unless somebody wrote it since"},
		{Kind: Clock,
			Does:    "the node's clock is set wrong",
			Symptom: "times in logs do not fit; certificates may be not valid yet or no longer",
			Undo:    "the clock is set to what it was, plus the time that has passed since, unless somebody set it since",
			Params:  []Param{{Name: "shift", Default: "1h", Help: "how far, negative for back: at least 30s, at most 24h", check: shift}}},
		{Kind: DockerdStop, within: 4 * time.Minute,
			Does:    "dockerd and its socket are stopped",
			Symptom: "docker commands on the node fail, the node list says Down",
			Undo:    "what ran before is started"},
		{Kind: NodeDown, within: 4 * time.Minute, noFor: true,
			Does:    "the node's power is cut",
			Symptom: "the node does not answer, the node list says Down",
			Undo:    "labctl boots the node, by `labctl fault clear` or `labctl create`: a node that is off has no timer"},
		{Kind: DiskFull,
			Does:    "a file takes all the room in the file system of Docker, but for 32 MiB that only root may use",
			Symptom: "whatever writes much says: no space left on device",
			Undo:    "the file is removed"},
		{Kind: CPU,
			Does:    "programs that do nothing useful keep all processors busy, three for each; for an hour at most",
			Symptom: "everything on the node is slow, its load is high",
			Undo:    "the programs are stopped"},
		{Kind: ImageMissing,
			Does:    "an image loses its name on the node",
			Symptom: "tasks that need it fail there: No such image",
			Undo:    "the image gets its name back",
			Params:  []Param{{Name: "image", Default: "labctl/toolbox:latest", Help: "its name", check: imageName}}},
		{Kind: SubnetOverlap, noNode: true, within: 4 * time.Minute,
			Does:    "a service is made in a new overlay network whose subnet is taken",
			Symptom: "overlay: its tasks stay New, without a word; bridge: they are Rejected; machines: its containers do not reach the nodes",
			Undo:    "the service and the networks, which carry the fault's id, are removed",
			Params: []Param{{Name: "with", Default: "overlay", Help: "whose: overlay (another network's), bridge (docker0's) or machines (the nodes' own)",
				check: oneOf("overlay", "bridge", "machines")}}},
	}
}

// Of is what labctl says of the kind; false if there is none of that name.
func Of(k Kind) (Info, bool) {
	all := Kinds()
	i := slices.IndexFunc(all, func(n Info) bool { return n.Kind == k })
	if i < 0 {
		return Info{}, false
	}
	return all[i], true
}

func oneOf(words ...string) func(string) error {
	return func(v string) error {
		if slices.Contains(words, v) {
			return nil
		}
		return fmt.Errorf("must be %s or %s, not %q", strings.Join(words[:len(words)-1], ", "), words[len(words)-1], v)
	}
}

func between(low, high int) func(string) error {
	return func(v string) error {
		if n, err := strconv.Atoi(v); err == nil && n >= low && n <= high && strconv.Itoa(n) == v {
			return nil
		}
		return fmt.Errorf("must be a whole number from %d to %d, not %q", low, high, v)
	}
}

func shift(v string) error {
	d, err := time.ParseDuration(v)
	if err == nil && d.Abs() >= 30*time.Second && d.Abs() <= 24*time.Hour && d%time.Second == 0 {
		return nil
	}
	return fmt.Errorf("must be a duration such as 1h or -90s, of 30s to 24h either way, not %q", v)
}

func imageName(v string) error {
	if v == "" || strings.HasPrefix(v, "-") || strings.ContainsAny(v, " \t\n\"'@") {
		return fmt.Errorf("must be the name of an image, not %q", v)
	}
	return nil
}
