package doctor

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"labctl/internal/config"
	"labctl/internal/vagrant"
)

// oldestVagrant is the oldest Vagrant that README.md names.
var oldestVagrant = []int{2, 3}

// oldestPlugin is the oldest vagrant-libvirt with which labctl was run.
var oldestPlugin = []int{0, 11}

func judgeVagrant(f *Facts) []Finding {
	v := f.Vagrant
	switch {
	case !v.Installed:
		return []Finding{found("vagrant", Problem, "on Debian or Ubuntu: make deps; elsewhere see README.md, Requirements", "vagrant is not installed")}
	case v.Silent != "":
		return []Finding{found("vagrant", Warning, "does `vagrant --version` end when you type it?", "Vagrant does not tell its version: %s", v.Silent)}
	case v.Version == "":
		return []Finding{fine("vagrant", "installed")}
	case older(v.Version, oldestVagrant):
		return []Finding{found("vagrant", Warning, "install a newer one; see README.md, Requirements", "Vagrant %s is older than 2.3, with which labctl was tried", v.Version)}
	}
	return []Finding{fine("vagrant", "%s", v.Version)}
}

// vagrantKnows are the first versions of Vagrant that drive a VirtualBox.
var vagrantKnows = []struct{ box, vagrant []int }{
	{[]int{7, 2}, []int{2, 4, 8}},
	{[]int{7, 1}, []int{2, 4, 2}},
	{[]int{7, 0}, []int{2, 3, 2}},
}

func judgePlugin(f *Facts) []Finding {
	const remedy = "on Debian or Ubuntu: make deps; elsewhere: vagrant plugin install vagrant-libvirt"
	switch {
	case !f.Vagrant.Installed, f.Provider == config.VirtualBox, f.Provider == config.Auto:
		return nil
	case f.Vagrant.Plugin == PluginLacks:
		return []Finding{found("plugin", Problem, remedy, "the Vagrant plugin vagrant-libvirt is not installed")}
	case f.Vagrant.Plugin == PluginUnseen:
		return []Finding{found("plugin", Warning, remedy, "the Vagrant plugin vagrant-libvirt was not found where plugins usually lie")}
	case f.Vagrant.Plugin == PluginThere && older(f.Vagrant.PluginVersion, oldestPlugin):
		return []Finding{found("plugin", Warning, "install a newer one: vagrant plugin update vagrant-libvirt",
			"vagrant-libvirt %s is older than 0.11, with which labctl was tried", f.Vagrant.PluginVersion)}
	case f.Vagrant.Plugin == PluginThere && f.Vagrant.PluginVersion != "":
		return []Finding{fine("plugin", "vagrant-libvirt %s", f.Vagrant.PluginVersion)}
	case f.Vagrant.Plugin == PluginThere:
		return []Finding{fine("plugin", "vagrant-libvirt is installed")}
	}
	return nil
}

func judgeVirtualBox(f *Facts) []Finding {
	version := f.VirtualBox
	if version == "" {
		return nil // judgeProvider has said so
	}
	var out []Finding
	if older(version, []int{6, 1}) {
		out = append(out, found("virtualbox", Warning, "install a newer one", "VirtualBox %s is older than 6.1", version))
	}
	for _, k := range vagrantKnows {
		if older(version, k.box) {
			continue
		}
		if f.Vagrant.Version != "" && older(f.Vagrant.Version, k.vagrant) {
			need := strings.Trim(strings.ReplaceAll(fmt.Sprint(k.vagrant), " ", "."), "[]")
			out = append(out, found("virtualbox", Warning, "install Vagrant "+need+" or newer, or an older VirtualBox",
				"Vagrant %s may refuse VirtualBox %s, which Vagrant %s was the first to know", f.Vagrant.Version, version, need))
		}
		break
	}
	// From Linux 6.12 on KVM takes the CPU's virtualisation when it is loaded,
	// not when it runs its first VM.
	if f.OS == "linux" && f.KVMLoaded && !older(f.Kernel, []int{6, 12}) {
		out = append(out, found("virtualbox", Warning, "if VMs fail to start with VERR_VMX_IN_VMX_ROOT_MODE or VERR_SVM_IN_USE: sudo modprobe -r kvm_intel kvm_amd kvm",
			"KVM is loaded, which on Linux %s can keep VirtualBox from starting VMs", f.Kernel))
	}
	if out == nil {
		out = append(out, fine("virtualbox", "%s", version))
	}
	return out
}

func judgeLibvirt(f *Facts) []Finding {
	l := f.Libvirt
	var out []Finding
	switch l.Pool {
	case "active":
		out = append(out, fine("libvirt", "the storage pool default is active"))
	case "":
		out = append(out, fine("libvirt", "there is no storage pool default yet: vagrant-libvirt makes it"))
	default:
		x := found("libvirt", Problem, "sudo virsh pool-start default", "the storage pool default is %s, so no volume can be made", l.Pool)
		x.Fix = &Fix{Text: "start libvirt's storage pool default", Run: []string{"virsh", "-c", "qemu:///system", "pool-start", "default"}}
		out = append(out, x)
	}
	switch state := l.Networks["default"]; state {
	case "active", "":
	default:
		// The lab has a management network of its own.
		out = append(out, fine("libvirt", "the network default is %s; the lab does not need it", state))
	}
	return out
}

var versionNumber = regexp.MustCompile(`\d+(\.\d+)+`)

// older says whether version, which may have words around it, is older than
// want. What holds no version is not.
func older(version string, want []int) bool {
	have, err := numbers(versionNumber.FindString(version))
	return err == nil && slices.Compare(have, want) < 0
}

func numbers(version string) ([]int, error) {
	if version == "" {
		return nil, errors.New("no version")
	}
	var out []int
	for _, w := range strings.Split(version, ".") {
		n, err := strconv.Atoi(w)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

// NetworksConf is /etc/vbox/networks.conf as VirtualBox and Vagrant read it.
type NetworksConf struct {
	Exists bool
	// Unreadable is why it could not be read; "" if it could.
	Unreadable string
	Allowed    []netip.Prefix // from lines that begin with an asterisk
	// Ignored are lines that hold ranges but no asterisk, Wrong are words in a
	// line with asterisk that are no range: each with its line's number.
	Ignored, Wrong []string
	Lookalikes     []string // files beside it that were perhaps meant to be it
}

// networksConfFile is where VirtualBox looks, and nowhere else.
const networksConfFile = "/etc/vbox/networks.conf"

// usualRange is what VirtualBox allows where there is no such file.
var usualRange = netip.MustParsePrefix("192.168.56.0/21")

// ParseNetworksConf reads the file's text. Any text can be read; what is not
// understood is in Ignored and Wrong.
func ParseNetworksConf(text string) NetworksConf {
	c := NetworksConf{Exists: true}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		rest, starred := strings.CutPrefix(line, "*")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if !starred {
			c.Ignored = append(c.Ignored, fmt.Sprintf("line %d: %s", n, clip(line)))
			continue
		}
		for _, word := range strings.Fields(rest) {
			p, ok := parseRange(word)
			if !ok {
				c.Wrong = append(c.Wrong, fmt.Sprintf("line %d: %s", n, clip(word)))
				continue
			}
			c.Allowed = append(c.Allowed, p.Masked())
		}
	}
	return c
}

// parseRange reads a range as Ruby's IPAddr does, with which Vagrant reads the
// file: an address alone, or with a prefix length or a netmask behind a slash.
func parseRange(word string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(word); err == nil {
		return p, true
	}
	text, mask, masked := strings.Cut(word, "/")
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, false
	}
	if !masked {
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	m := net.ParseIP(mask).To4()
	ones, size := net.IPMask(m).Size()
	if m == nil || size == 0 || !a.Is4() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, ones), true
}

func clip(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return s
}

// Allows says whether VirtualBox gives the host's adapter, and Vagrant the
// nodes, their addresses: each must lie in some range.
func (c NetworksConf) Allows(l *config.Lab) bool {
	wanted := []netip.Addr{l.Subnet.Addr().Next()}
	for _, n := range l.Nodes {
		wanted = append(wanted, n.IP)
	}
	return !slices.ContainsFunc(wanted, func(a netip.Addr) bool {
		return !slices.ContainsFunc(c.ranges(), func(p netip.Prefix) bool { return p.Contains(a) })
	})
}

func (c NetworksConf) ranges() []netip.Prefix {
	if !c.Exists {
		return []netip.Prefix{usualRange}
	}
	return c.Allowed
}

// ruled says whether this VirtualBox looks at the file: since 6.1.28, not on
// Windows, and on macOS not since 7.0.
func ruled(os, version string) bool {
	return os != "windows" && !older(version, []int{6, 1, 28}) && (os != "darwin" || older(version, []int{7, 0}))
}

func judgeNetworksConf(f *Facts) []Finding {
	if !ruled(f.OS, f.VirtualBox) || f.VirtualBox == "" {
		return nil
	}
	c, subnet := f.NetworkConf, f.Lab.Subnet
	if c.Unreadable != "" {
		return []Finding{found("networks.conf", Warning, "", "%s cannot be read: %s", networksConfFile, c.Unreadable)}
	}
	if c.Allows(f.Lab) {
		if len(c.Wrong) > 0 {
			return []Finding{found("networks.conf", Warning, "correct or remove it", "%s, %s is no range: Vagrant fails to read the file", networksConfFile, c.Wrong[0])}
		}
		return []Finding{fine("networks.conf", "%s is allowed", subnet)}
	}
	line := "* " + subnet.String()
	x := found("networks.conf", Problem, "", "")
	x.Remedy = fmt.Sprintf("add the line `* %s` to %s, or set subnet = \"192.168.56.0/24\" in lab.toml", subnet, networksConfFile)
	x.Fix = &Fix{Text: fmt.Sprintf("add the line `%s` to %s", line, networksConfFile), Append: &Line{File: networksConfFile, Text: line}}
	switch {
	case !c.Exists && len(c.Lookalikes) > 0:
		x.Text = fmt.Sprintf("VirtualBox does not allow %s: it reads %s, not %s", subnet, networksConfFile, c.Lookalikes[0])
	case !c.Exists:
		x.Text = fmt.Sprintf("VirtualBox does not allow %s: without %s it allows %s alone", subnet, networksConfFile, usualRange)
		// From then on the usual range is allowed only if the file says so.
		x.Fix.Append.Text = fmt.Sprintf("* %s %s", usualRange, subnet)
		x.Fix.Text = fmt.Sprintf("write %s with the line `%s`", networksConfFile, x.Fix.Append.Text)
	case len(c.Ignored) > 0:
		x.Text = fmt.Sprintf("VirtualBox does not allow %s: %s, %s, begins with no asterisk and means nothing", subnet, networksConfFile, c.Ignored[0])
	case len(c.Wrong) > 0:
		x.Fix, x.Remedy = nil, "correct or remove it, and "+x.Remedy // Vagrant fails at it, whatever else is there
		x.Text = fmt.Sprintf("VirtualBox does not allow %s: %s, %s, is no range", subnet, networksConfFile, c.Wrong[0])
	case len(c.Allowed) == 0:
		x.Text = fmt.Sprintf("VirtualBox does not allow %s: %s is there, but allows nothing", subnet, networksConfFile)
	default:
		x.Text = fmt.Sprintf("VirtualBox does not allow %s: %s allows %s", subnet, networksConfFile, prefixes(c.Allowed))
	}
	return []Finding{x}
}

func prefixes(list []netip.Prefix) string {
	var words []string
	for _, p := range list {
		words = append(words, p.String())
	}
	return strings.Join(words, ", ")
}

// labMark returns the lab's name in what Mark has written, "" if it is none.
func labMark(text string) string {
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), strings.TrimSuffix(vagrant.Mark("", ""), " ")+" ")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, " ")
	return name
}
