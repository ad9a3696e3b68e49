package doctor

import (
	"net/netip"
	"time"

	"labctl/internal/config"
)

// Facts are what Gather learns of the host and Judge judges. What could not
// be learned stands in Missed; the zero value of a field then means nothing.
type Facts struct {
	Lab *config.Lab
	// Provider is what the host is examined for; Auto if none can be used.
	Provider config.Provider
	Accel    config.Acceleration // AccelKVM or AccelTCG; "" for VirtualBox
	Reason   string              // why this provider, in one line
	Unusable []Unusable          // why each one cannot be used, if none can
	Stands   bool                // the lab has VMs already, and its subnet is on the host because of them
	New      []config.Node       // nodes without a VM

	OS, Arch string // as Go names them
	Root     bool
	User     string
	CPUs     int
	CPUFlag  string // "vmx", "svm", or "" for none
	Kernel   string // Linux: "6.1.0-…"
	KVM      KVM
	MemTotal uint64 // bytes
	MemFree  uint64 // bytes that programs can still have
	Disks    []Disk

	Vagrant     Vagrant
	VirtualBox  string // its version, as VBoxManage says it; "" if it does not answer
	Hardware    string // "yes" or "no": whether VirtualBox finds hardware virtualisation; "" if it does not say
	KVMLoaded   bool   // a module of KVM is loaded, which can keep VirtualBox from starting VMs
	NetworkConf NetworksConf
	Libvirt     Libvirt

	Uses        []Use
	Nameservers []netip.Addr
	SubnetTaken error // the lab's subnet is on the host; has a Hint
	OtherLab    *OtherLab
	Environment map[string]string // the proxy variables that are set

	Leftovers []string // libvirt's VMs and volumes with this lab's mark that Vagrant does not know
	// VirtualBoxLeftovers are such VMs of VirtualBox's, which labctl does not
	// remove.
	VirtualBoxLeftovers []string
	State               StateFolder
	Now                 time.Time
	Missing             []string  // programs that scenarios run on this host, and that are not there
	Machines            []Machine // of the provider existing, if they were looked at

	Missed []Missed
}

// Missed is a check that could not be made.
type Missed struct {
	Check  string
	Reason string
}

// Unusable is a provider that cannot be used here.
type Unusable struct {
	Provider config.Provider
	Reason   string
	Remedy   string
	Err      error
}

// KVM is what is known of /dev/kvm. Whether it really boots a machine is in
// Facts.Accel.
type KVM struct {
	Exists bool
	Denied string // why it cannot be opened; "" if it can
}

// Disk is a folder that the lab fills.
type Disk struct {
	What   string // "the cache folder"
	Path   string
	Free   uint64 // bytes for this user
	Device uint64 // equal for folders of one file system
	Needs  uint64 // bytes that the lab will put there
}

// Vagrant is what is known of Vagrant without starting it twice.
type Vagrant struct {
	Installed bool
	Version   string // "2.3.4"; "" if it was not asked
	Silent    string // why it gave no answer; "" if it did, or was not asked
	Plugin    Plugin // vagrant-libvirt
	// PluginVersion is its version, "0.11.2"; "" if it was not seen.
	PluginVersion string
}

// Plugin says whether a plugin is there.
type Plugin string

// What can be known of a plugin. The zero value is: nothing was asked.
const (
	PluginThere  Plugin = "there"
	PluginLacks  Plugin = "lacks"  // Vagrant itself says so
	PluginUnseen Plugin = "unseen" // not where plugins lie usually
)

// Libvirt is what the system's libvirt says. The zero value is: not asked.
type Libvirt struct {
	Pool     string // state of the storage pool default: "active", "inactive", "" for none
	Networks map[string]string
}

// Use is an address or a route of the host.
type Use struct {
	Interface string
	Addr      netip.Prefix
	Route     bool
	Tunnel    bool // a point-to-point interface, as VPNs have
}

// OtherLab is another lab of this host whose network has our addresses.
type OtherLab struct {
	Name   string // "" for a network that carries no mark of labctl
	Net    string // the provider's name of the network
	Subnet netip.Prefix
}

// StateFolder is what is known of .labctl and its file system.
type StateFolder struct {
	Path   string
	Exists bool
	Mode   uint32 // permission bits; 0 where the system has none
	Owner  int    // user id, -1 where the system has none
	Self   int    // ours, -1 likewise
	// Unwritable is why nothing can be written there, NoLocks why no file can
	// be locked there; "" if that works.
	Unwritable, NoLocks string
	Kind                string    // of its file system, if it is one of those that serve badly
	Newest              time.Time // of the files in it; zero for none
	NewestFile          string
}
