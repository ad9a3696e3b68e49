package diagnose

import "time"

// System is what a node's kernel, files and services tell of it.
type System struct {
	Now       time.Time    `json:"now"` // its clock
	Hostname  string       `json:"hostname"`
	MachineID string       `json:"machine_id"`
	Links     []Link       `json:"links,omitempty"` // network cards and Docker's bridges
	Gateway   Route        `json:"gateway,omitzero"`
	Blocked   []Route      `json:"blocked,omitempty"`    // routes of the kinds blackhole, unreachable, prohibit
	Qdiscs    []Qdisc      `json:"qdiscs,omitempty"`     // those that hold up, drop or limit packets
	Forward   bool         `json:"forward"`              // net.ipv4.ip_forward
	Modules   []Module     `json:"modules,omitempty"`    // those that Docker needs
	Disks     []Disk       `json:"disks,omitempty"`      // those of / and of Docker's folder
	Big       []Big        `json:"big,omitempty"`        // what takes the room, if a disk is nearly full
	CPU       CPU          `json:"cpu"`                  //
	Memory    Memory       `json:"memory"`               //
	Units     []Unit       `json:"units,omitempty"`      // docker.service and what it needs
	DockerLog []string     `json:"docker_log,omitempty"` // its last lines, if docker.service is not active
	Swarm     SwarmFile    `json:"swarm"`
	Cert      *Certificate `json:"cert,omitempty"` // the node's, in its swarm
	CA        *Certificate `json:"ca,omitempty"`   // the swarm's own
	Daemon    Daemon       `json:"daemon,omitzero"`
	Sandbox   *Sandbox     `json:"sandbox,omitempty"` // the ingress sandbox; nil: there is none

	// OwnContainerd says that the engine has started a containerd of its own, as
	// one does that finds none: it needs no containerd.service.
	OwnContainerd bool `json:"own_containerd,omitempty"`
}

// Link is a network interface.
type Link struct {
	Dev     string `json:"dev"`
	MTU     int    `json:"mtu"`
	Up      bool   `json:"up"`
	Carrier bool   `json:"carrier"`
	MAC     string `json:"mac,omitempty"`
}

// Qdisc is a queueing discipline that changes what the network does.
type Qdisc struct {
	Dev  string `json:"dev"`
	Kind string `json:"kind"` // "netem", "tbf" and so on
	// Text is what it does, in words: "delay 200ms, loss 20%".
	Text string  `json:"text,omitempty"`
	Loss float64 `json:"loss,omitempty"` // from 0 to 1
}

// Module is a part of the kernel.
type Module struct {
	Name   string `json:"name"`
	Loaded bool   `json:"loaded,omitempty"`
	Error  string `json:"error,omitempty"` // why it cannot be loaded; "" if it can, or is
}

// Disk is one file system.
type Disk struct {
	Mount      string `json:"mount"`
	Size       int64  `json:"size"` // KiB
	Free       int64  `json:"free"` // KiB, for those who are not root
	Inodes     int64  `json:"inodes,omitempty"`
	FreeInodes int64  `json:"free_inodes,omitempty"`
	ReadOnly   bool   `json:"read_only,omitempty"`
}

// Big is a file, or a folder of many files.
type Big struct {
	Path   string `json:"path"`
	Text   string `json:"text"`
	Remove bool   `json:"remove,omitempty"` // it belongs to no package, and not to Docker
}

// CPU is how busy the processors are.
type CPU struct {
	Count    int       `json:"count"`
	Load     float64   `json:"load"`              // of the last minute
	Pressure float64   `json:"pressure"`          // percent of the last ten seconds in which something waited for a processor; -1: not known
	Busy     []Process `json:"busy,omitempty"`    // the programs that use most of them while labctl looked
	Stopped  []Process `json:"stopped,omitempty"` // those of Docker that were stopped by a signal
}

// Process is one program, or several processes of the same.
type Process struct {
	Name  string  `json:"name"`
	PIDs  []int   `json:"pids"`
	Share float64 `json:"share,omitempty"` // of all processors, from 0 to 1
}

// Memory is in KiB.
type Memory struct {
	Total     int64 `json:"total"`
	Available int64 `json:"available"`
}

// Unit is a unit of systemd.
type Unit struct {
	Name   string `json:"name"`
	Active string `json:"active"` // "active" is the sound one
	Sub    string `json:"sub,omitempty"`
	Load   string `json:"load,omitempty"` // "loaded" is the sound one
	File   string `json:"file,omitempty"` // "enabled" and the like
	Result string `json:"result,omitempty"`
}

// SwarmFile is what the engine has written down of how it joined.
type SwarmFile struct {
	Advertise string `json:"advertise,omitempty"`
	DataPath  string `json:"data_path,omitempty"` // "" if it is Advertise
}

// Certificate is the public part of one.
type Certificate struct {
	Name  string    `json:"name,omitempty"` // of the node
	Print string    `json:"print"`          // SHA-256, the first 16 digits
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
}

// Daemon is what /etc/docker/daemon.json says, as far as it matters here.
type Daemon struct {
	Error     string `json:"error,omitempty"` // why it cannot be read
	NoTables  bool   `json:"no_iptables,omitempty"`
	LogDriver string `json:"log_driver,omitempty"`
}

// Sandbox is the network namespace through which published ports come in.
type Sandbox struct {
	Error string   `json:"error,omitempty"` // why it cannot be entered
	Addrs []Addr   `json:"addrs,omitempty"`
	Rules []string `json:"rules,omitempty"` // of its mangle table, which knows the published ports
}

// link finds an interface; nil if it is not there.
func (s *System) link(dev string) *Link {
	for i := range s.Links {
		if s.Links[i].Dev == dev {
			return &s.Links[i]
		}
	}
	return nil
}

// unit finds a unit; an empty one if it is not known.
func (s *System) unit(name string) Unit {
	for _, u := range s.Units {
		if u.Name == name {
			return u
		}
	}
	return Unit{}
}
