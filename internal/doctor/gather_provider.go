package doctor

import (
	"context"
	"encoding/xml"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"path"
	"runtime"
	"slices"
	"strings"

	"labctl/internal/config"
	"labctl/internal/remote"
	"labctl/internal/vagrant"
)

func askNetworksConf(_ context.Context, o *Options) (func(*Facts), error) {
	c, err := readNetworksConf(o.Root)
	return func(f *Facts) { f.NetworkConf = c }, err
}

// readNetworksConf reads /etc/vbox/networks.conf under root.
func readNetworksConf(root fs.FS) (NetworksConf, error) {
	file := rooted(networksConfFile)
	data, err := fs.ReadFile(root, file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c := NetworksConf{}
		entries, _ := fs.ReadDir(root, path.Dir(file))
		for _, e := range entries {
			if looksLike(e.Name()) {
				c.Lookalikes = append(c.Lookalikes, "/"+path.Join(path.Dir(file), e.Name()))
			}
		}
		if _, err := fs.Stat(root, "etc/networks.conf"); err == nil {
			c.Lookalikes = append(c.Lookalikes, "/etc/networks.conf")
		}
		return c, nil
	case err != nil:
		return NetworksConf{Exists: true, Unreadable: err.Error()}, nil
	}
	return ParseNetworksConf(string(data)), nil
}

// looksLike tells a name that was meant to be networks.conf.
func looksLike(name string) bool {
	name = strings.ToLower(name)
	return strings.HasPrefix(name, "network") && name != "networks.conf" || strings.HasPrefix(name, "networks.conf")
}

func askVirtualBox(ctx context.Context, o *Options) (func(*Facts), error) {
	res, err := o.Host.Run(ctx, remote.Command{Argv: []string{"VBoxManage", "--version"}})
	if err != nil || res.ExitCode != 0 {
		return nil, nil // askProvider says so
	}
	version := strings.TrimSpace(res.Stdout)
	if i := strings.LastIndexByte(version, '\n'); i >= 0 { // behind a warning
		version = version[i+1:]
	}
	_, kvm := fs.Stat(o.Root, "sys/module/kvm")
	info, err := o.Host.Run(ctx, remote.Command{Argv: []string{"VBoxManage", "list", "hostinfo"}})
	hardware := ""
	if err == nil {
		hardware = hostInfo(info.Stdout)["Processor supports HW virtualization"]
	}
	return func(f *Facts) {
		f.VirtualBox, f.KVMLoaded, f.Hardware = version, runtime.GOOS == "linux" && kvm == nil, hardware
	}, nil
}

// hostInfo reads the lines "KEY: VALUE" of VBoxManage.
func hostInfo(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			out[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	return out
}

// askOtherVirtualBox looks for a host-only network with the lab's addresses,
// and for the VMs on it.
func askOtherVirtualBox(ctx context.Context, o *Options) (func(*Facts), error) {
	res, err := o.Host.Run(ctx, remote.Command{Argv: []string{"VBoxManage", "list", "hostonlyifs"}})
	if err != nil || res.ExitCode != 0 {
		return nil, nil
	}
	name, subnet := hostOnly(res.Stdout, o.Lab.Subnet)
	if name == "" {
		return nil, nil
	}
	res, err = o.Host.Run(ctx, remote.Command{Argv: []string{"VBoxManage", "list", "-l", "vms"}})
	if err != nil || res.ExitCode != 0 {
		return nil, err
	}
	mark := vmOn(res.Stdout, name, o.Mark)
	if mark == "" {
		return nil, nil // an adapter that an earlier lab has left: Vagrant takes it again
	}
	other := &OtherLab{Name: labMark(mark), Net: name, Subnet: subnet}
	return func(f *Facts) { f.OtherLab = other }, nil
}

// hostOnly finds in the output of `VBoxManage list hostonlyifs` an adapter
// with addresses of the subnet.
func hostOnly(text string, subnet netip.Prefix) (name string, has netip.Prefix) {
	var current string
	var addr netip.Addr
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "Name":
			current, addr = value, netip.Addr{}
		case "IPAddress":
			addr, _ = netip.ParseAddr(value)
		case "NetworkMask":
			mask := net.ParseIP(value).To4()
			if mask == nil || !addr.Is4() {
				continue
			}
			ones, _ := net.IPMask(mask).Size()
			if p := netip.PrefixFrom(addr, ones).Masked(); p.Overlaps(subnet) {
				return current, p
			}
		}
	}
	return "", netip.Prefix{}
}

// vmOn finds in the output of `VBoxManage list -l vms` a lab's VM on that
// adapter, other than ours, and returns its mark.
func vmOn(text, adapter, own string) string {
	mark, on, description := "", false, false
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "Name:") && !strings.Contains(line, "Host path:"): // the next VM
			mark, on, description = "", false, false
		case strings.HasPrefix(line, "NIC ") && strings.Contains(line, "'"+adapter+"'"):
			on = true
		case strings.HasPrefix(line, "Description:"):
			description = true // its text is on the lines below
		case description && trimmed != "":
			description = false
			if labMark(trimmed) != "" && !strings.HasPrefix(trimmed, own) {
				mark = trimmed
			}
		}
		if mark != "" && on {
			return mark
		}
	}
	return ""
}

func virsh(ctx context.Context, o *Options, args ...string) (string, error) {
	argv := slices.Concat(o.Inside, []string{"virsh", "-c", "qemu:///system"}, args)
	res, err := remote.Check(ctx, o.Host, "host", remote.Command{Argv: argv})
	return res.Stdout, err
}

func askLibvirt(ctx context.Context, o *Options) (func(*Facts), error) {
	pools, err := virsh(ctx, o, "pool-list", "--all")
	if err != nil {
		return nil, o.unlessOptional(config.Libvirt, err)
	}
	nets, err := virsh(ctx, o, "net-list", "--all")
	if err != nil {
		return nil, err
	}
	l := Libvirt{Pool: states(pools)["default"], Networks: states(nets)}
	return func(f *Facts) { f.Libvirt = l }, nil
}

// unlessOptional drops the error of a provider that need not be the one.
func (o *Options) unlessOptional(p config.Provider, err error) error {
	if o.Choice == nil && o.Lab.Provider != p {
		return nil
	}
	return err
}

// states reads a table of virsh: name and state are its first columns.
func states(table string) map[string]string {
	out := map[string]string{}
	for i, line := range strings.Split(table, "\n") {
		if w := strings.Fields(line); i > 1 && len(w) >= 2 {
			out[w[0]] = w[1]
		}
	}
	return out
}

// askOtherLibvirt looks for a network of libvirt with the lab's addresses.
func askOtherLibvirt(ctx context.Context, o *Options) (func(*Facts), error) {
	names, err := virsh(ctx, o, "net-list", "--all", "--name")
	if err != nil {
		return nil, o.unlessOptional(config.Libvirt, err)
	}
	for _, name := range strings.Fields(names) {
		text, err := virsh(ctx, o, "net-dumpxml", name)
		if err != nil {
			continue // it went away
		}
		subnet, ok := netSubnet(text)
		if !ok || !subnet.Overlaps(o.Lab.Subnet) {
			continue
		}
		other := &OtherLab{Net: name, Subnet: subnet}
		if other.Name, err = labOf(ctx, o, name); err != nil {
			return nil, err
		}
		if other.Name == "" && name == vagrant.LabNetwork(o.Lab.Name) {
			continue // what an earlier lab of this folder has left: Vagrant takes it again
		}
		return func(f *Facts) { f.OtherLab = other }, nil
	}
	return nil, nil
}

// labOf returns the name of the lab, not this one, whose network that is: its
// VMs are named after it and carry its mark.
func labOf(ctx context.Context, o *Options, network string) (string, error) {
	list, err := virsh(ctx, o, "list", "--all", "--name")
	if err != nil {
		return "", err
	}
	for _, domain := range strings.Fields(list) {
		lab, _, ok := strings.Cut(domain, "_")
		if !ok || network != vagrant.LabNetwork(lab) && network != vagrant.ManagementNetwork(lab) {
			continue
		}
		title, err := virsh(ctx, o, "desc", domain, "--title")
		if err == nil && labMark(title) == lab && strings.TrimSpace(title) != o.Mark {
			return lab, nil
		}
	}
	return "", nil
}

// netSubnet reads the IPv4 network of a libvirt network's XML.
func netSubnet(text string) (netip.Prefix, bool) {
	var n struct {
		IP []struct {
			Family  string `xml:"family,attr"`
			Address string `xml:"address,attr"`
			Netmask string `xml:"netmask,attr"`
			Prefix  int    `xml:"prefix,attr"`
		} `xml:"ip"`
	}
	if xml.Unmarshal([]byte(text), &n) != nil {
		return netip.Prefix{}, false
	}
	for _, ip := range n.IP {
		a, err := netip.ParseAddr(ip.Address)
		if err != nil || !a.Is4() {
			continue
		}
		ones := ip.Prefix
		if mask := net.ParseIP(ip.Netmask).To4(); mask != nil {
			ones, _ = net.IPMask(mask).Size()
		}
		if p, err := a.Prefix(ones); err == nil && ones > 0 {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// askLeftovers looks for VMs and volumes of the lab that Vagrant does not know.
func askLeftovers(ctx context.Context, o *Options) (func(*Facts), error) {
	list, err := virsh(ctx, o, "list", "--all", "--name")
	if err != nil {
		return nil, o.unlessOptional(config.Libvirt, err)
	}
	domains := strings.Fields(list)
	volumes, _ := virsh(ctx, o, "vol-list", "default") // no pool yet: no volumes
	var out []string
	for _, n := range here(o.Lab) {
		domain := vagrant.DomainPrefix(o.Lab.Name) + n.Name
		if slices.Contains(o.Known, n.Name) {
			continue
		}
		if slices.Contains(domains, domain) {
			title, err := virsh(ctx, o, "desc", domain, "--title")
			if err != nil {
				continue
			}
			if strings.TrimSpace(title) == o.Mark {
				out = append(out, "VM "+domain)
			}
			continue
		}
		if _, ok := states(volumes)[domain+".img"]; ok {
			out = append(out, "volume "+domain+".img")
		}
	}
	return func(f *Facts) { f.Leftovers = out }, nil
}

// askLeftoversVirtualBox looks for VMs of the lab that Vagrant does not know.
func askLeftoversVirtualBox(ctx context.Context, o *Options) (func(*Facts), error) {
	list, err := o.Host.Run(ctx, remote.Command{Argv: []string{"VBoxManage", "list", "vms"}})
	if err != nil || list.ExitCode != 0 {
		return nil, nil // askVirtualBox tells
	}
	var out []string
	for _, n := range o.Lab.Nodes {
		name := o.Lab.Name + "-" + n.Name
		if slices.Contains(o.Known, n.Name) || !strings.Contains(list.Stdout, `"`+name+`"`) {
			continue
		}
		info, err := o.Host.Run(ctx, remote.Command{Argv: []string{"VBoxManage", "showvminfo", name}})
		if err != nil {
			return nil, err
		}
		if strings.Contains(info.Stdout, o.Mark+", node ") {
			out = append(out, name)
		}
	}
	return func(f *Facts) {
		if len(out) > 0 { // libvirt may have been asked, too
			f.VirtualBoxLeftovers = out
		}
	}, nil
}
