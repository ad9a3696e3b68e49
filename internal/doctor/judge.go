package doctor

import (
	"fmt"
	"slices"

	"labctl/internal/config"
)

// Judge judges the facts, in the order in which a person would look: what is
// installed, room, addresses, what is left over. It is pure.
func Judge(f Facts) []Finding {
	var out []Finding
	missed := func(check string) bool {
		i := slices.IndexFunc(f.Missed, func(m Missed) bool { return m.Check == check })
		if i < 0 {
			return false
		}
		remedy := ""
		if check == "kvm" { // most likely it hangs
			remedy = "`labctl create` tries longer, and takes software emulation if KVM does not work"
		}
		out = append(out, found(check, Warning, remedy, "could not be checked: %s", f.Missed[i].Reason))
		return true
	}
	run := func(check string, judge func(*Facts) []Finding) {
		if !missed(check) {
			out = append(out, judge(&f)...)
		}
	}
	run("provider", judgeProvider)
	if f.Provider == config.Existing { // this host runs nothing
		out = append(out, judgeMachines(&f)...)
		run("proxy", judgeProxy)
		run("state", judgeState)
		run("scenarios", judgeScenarios)
		return out
	}
	if elsewhere(f.Lab) { // this host runs Vagrant, and no VM
		run("vagrant", judgeVagrant)
		out = append(out, judgePlugin(&f)...)
		run("proxy", judgeProxy)
		run("state", judgeState)
		run("scenarios", judgeScenarios)
		return out
	}
	run("system", judgeSystem)
	run("cpu", judgeCPU)
	run("memory", judgeMemory)
	run("disk", judgeDisk)
	run("vagrant", judgeVagrant)
	if missed("plugin") || f.Provider != config.VirtualBox {
		out = append(out, judgePlugin(&f)...)
	}
	switch f.Provider {
	case config.VirtualBox:
		run("virtualbox", judgeVirtualBox)
		run("networks.conf", judgeNetworksConf)
	case config.Libvirt:
		run("kvm", judgeKVM)
		run("libvirt", judgeLibvirt)
	case config.Embedded:
		run("kvm", judgeKVM)
	}
	run("subnet", judgeSubnet)
	run("management", judgeManagement)
	run("other labs", judgeOtherLab)
	run("vpn", judgeTunnels)
	run("nameserver", judgeNameservers)
	run("proxy", judgeProxy)
	run("leftovers", judgeLeftovers)
	run("state", judgeState)
	run("clock", judgeClock)
	run("scenarios", judgeScenarios)
	return out
}

func judgeProvider(f *Facts) []Finding {
	if f.Provider != config.Auto {
		return []Finding{fine("provider", "%s: %s", f.Provider, f.Reason)}
	}
	var out []Finding
	for _, u := range f.Unusable {
		x := found("provider", Problem, u.Remedy, "provider %s cannot be used: %s", u.Provider, u.Reason)
		x.Cause = u.Err
		out = append(out, x)
	}
	if out == nil {
		out = append(out, found("provider", Problem, "", "no provider can be used"))
	}
	return out
}

func judgeSystem(f *Facts) []Finding {
	what := f.OS + "/" + f.Arch
	switch {
	case f.Provider == config.Embedded && (f.OS != "linux" || f.Arch != "amd64"):
		return []Finding{found("system", Problem, "use VirtualBox or the system's libvirt", "%s: the embedded engine's box is made for linux/amd64 alone", what)}
	case f.Provider == config.VirtualBox && f.Arch != "amd64" && f.Lab.Box.Name == "":
		return []Finding{found("system", Warning, "name a box for this processor with box.name in lab.toml", "%s: the usual box is made for amd64", what)}
	case f.Provider == config.VirtualBox && f.Root:
		return []Finding{found("system", Warning, "run labctl as the user who shall see the VMs", "%s, as root: your own user will not see the VMs of VirtualBox", what)}
	}
	return []Finding{fine("system", "%s", what)}
}

// hardwareRemedy is what switches virtualisation on.
const hardwareRemedy = "in a VM switch nested virtualization on, on bare metal VT-x or AMD-V in the firmware"

func judgeCPU(f *Facts) []Finding {
	most := slices.MaxFunc(here(f.Lab), func(a, b config.Node) int { return a.CPUs - b.CPUs })
	if f.CPUs > 0 && most.CPUs > f.CPUs {
		return []Finding{found("cpu", Warning, fmt.Sprintf("set cpus to %d at most", f.CPUs),
			"node %s wants %d CPUs, this host has %d", most.Name, most.CPUs, f.CPUs)}
	}
	switch {
	case f.Provider == config.VirtualBox && f.Hardware == "no":
		return []Finding{found("cpu", Problem, hardwareRemedy, "VirtualBox finds no hardware virtualization, without which it starts no 64-bit VM")}
	case f.Arch != "amd64" || f.OS != "linux":
		return []Finding{fine("cpu", "%d", f.CPUs)}
	case f.CPUFlag != "":
		return []Finding{fine("cpu", "%d with %s", f.CPUs, f.CPUFlag)}
	case f.Provider == config.VirtualBox && f.Hardware == "":
		return []Finding{found("cpu", Warning, hardwareRemedy, "the CPU shows neither vmx nor svm: VirtualBox starts no 64-bit VM without")}
	}
	return []Finding{fine("cpu", "%d, without vmx or svm", f.CPUs)}
}

func judgeKVM(f *Facts) []Finding {
	const slow = "the VMs run with software emulation, several times slower"
	switch {
	case f.Lab.Acceleration == config.AccelTCG:
		return []Finding{fine("kvm", "not wanted: acceleration is \"tcg\" in lab.toml")}
	case f.Accel == "": // no provider was found, which is told elsewhere
		return nil
	case f.Accel == config.AccelKVM && f.KVM.Denied != "":
		return []Finding{fine("kvm", "%s: libvirtd itself will try", f.KVM.Denied)}
	case f.Accel == config.AccelKVM:
		return []Finding{fine("kvm", "it boots a test machine")}
	case !f.KVM.Exists && f.CPUFlag == "":
		return []Finding{found("kvm", Warning, hardwareRemedy, "there is no /dev/kvm: %s", slow)}
	case !f.KVM.Exists:
		return []Finding{found("kvm", Warning, "load the module: sudo modprobe "+map[string]string{"svm": "kvm-amd"}[f.CPUFlag]+map[string]string{"vmx": "kvm-intel"}[f.CPUFlag],
			"there is no /dev/kvm, though the CPU has %s: %s", f.CPUFlag, slow)}
	case f.KVM.Denied != "":
		return []Finding{found("kvm", Warning, fmt.Sprintf("sudo usermod -aG kvm %s, then log in again", f.User), "%s: %s", f.KVM.Denied, slow)}
	}
	return []Finding{found("kvm", Warning, hardwareRemedy, "/dev/kvm is there, but boots no test machine: %s", slow)}
}

const mib = 1 << 20

// hostKeeps is what a host needs for itself beside VMs.
const hostKeeps = 512 * mib

func judgeMemory(f *Facts) []Finding {
	if len(f.New) == 0 {
		return []Finding{fine("memory", "every node has its VM already")}
	}
	most := slices.MaxFunc(f.New, func(a, b config.Node) int { return a.MemoryMB - b.MemoryMB })
	var want uint64
	for _, n := range f.New {
		want += uint64(n.MemoryMB) * mib
	}
	nodes := fmt.Sprintf("%d nodes want %s", len(f.New), size(want))
	if len(f.New) == 1 {
		nodes = "1 node wants " + size(want)
	}
	const remedy = "lower memory in lab.toml, or close other programs"
	switch {
	case f.MemTotal == 0:
		return []Finding{found("memory", Warning, "", "%s; how much this host has is not known here", nodes)}
	case uint64(most.MemoryMB)*mib+hostKeeps > f.MemTotal:
		return []Finding{found("memory", Problem, remedy, "node %s wants %s, this host has %s in all", most.Name, size(uint64(most.MemoryMB)*mib), size(f.MemTotal))}
	case want+hostKeeps > f.MemTotal: // it may go well: a VM takes what it has used once
		return []Finding{found("memory", Warning, remedy, "%s, this host has %s in all", nodes, size(f.MemTotal))}
	case f.MemFree > 0 && want > f.MemFree:
		return []Finding{found("memory", Warning, remedy, "%s, %s are free at the moment", nodes, size(f.MemFree))}
	case f.MemFree == 0:
		return []Finding{fine("memory", "%s, this host has %s", nodes, size(f.MemTotal))}
	}
	return []Finding{fine("memory", "%s, %s are free", nodes, size(f.MemFree))}
}

// size writes a number of bytes as people say it.
func size(b uint64) string {
	if b < 10<<30 {
		return fmt.Sprintf("%d MiB", b/mib)
	}
	return fmt.Sprintf("%d GiB", b>>30)
}

// leastFree is below what nothing can be made. More is needed only as the
// nodes are worked with, since their disks are sparse.
const leastFree = 1 << 30

func judgeDisk(f *Facts) []Finding {
	var out []Finding
	for i, d := range f.Disks {
		first := slices.IndexFunc(f.Disks, func(x Disk) bool { return x.Device == d.Device })
		if first < i {
			continue
		}
		want, names := uint64(0), d.Path
		for k, x := range f.Disks {
			if x.Device == d.Device {
				want += x.Needs
				if k > i && x.Path != d.Path {
					names += " and " + x.Path
				}
			}
		}
		const remedy = "make room, or put the lab's folder on a larger disk"
		switch {
		case d.Free < min(want, leastFree):
			out = append(out, found("disk", Problem, remedy, "%s: %s are free, the lab takes about %s", names, size(d.Free), size(want)))
		case d.Free < want:
			out = append(out, found("disk", Warning, remedy, "%s: %s are free, the lab grows to about %s", names, size(d.Free), size(want)))
		default:
			out = append(out, fine("disk", "%s: %s are free, the lab takes about %s", names, size(d.Free), size(want)))
		}
	}
	return out
}

func judgeScenarios(f *Facts) []Finding {
	if len(f.Missing) == 0 {
		return []Finding{fine("scenarios", "what they run on this host is installed")}
	}
	var out []Finding
	for _, tool := range f.Missing {
		out = append(out, found("scenarios", Warning, "install "+tool, "%s is not installed: scenarios that ask the nodes from this host need it", tool))
	}
	return out
}
