// Package vagrant turns a lab into a Vagrantfile, runs Vagrant, and tells how
// the VMs are reached.
package vagrant

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"net/url"
	"path"
	"path/filepath"
	"strings"
	"text/template"
	"unicode"
	"unicode/utf8"

	labassets "labctl"
	"labctl/internal/config"
)

// Seconds that Vagrant waits for a VM to answer. Software emulation boots
// several times slower than hardware virtualization.
const (
	bootTimeout    = 300
	bootTimeoutTCG = 600
)

// RenderOptions holds what a Vagrantfile needs beyond the lab itself.
type RenderOptions struct {
	// Provider is what runs the VMs: never Auto, which is resolved before.
	Provider config.Provider
	// BoxName, BoxVersion and BoxURL name the box. An empty BoxName takes
	// all three from the lab, or the provider's default box if the lab
	// names none.
	BoxName, BoxVersion, BoxURL string
	// Accel is AccelKVM or AccelTCG. For system libvirt "" leaves the
	// choice to vagrant-libvirt; for VirtualBox it means nothing.
	Accel config.Acceleration
	// CPU is QEMU's name of the CPU model, "host" for the host's own; "" is
	// "host" with KVM and "qemu64" without. Not for VirtualBox.
	CPU string
	// KeyFiles are private keys that Vagrant tries, and OwnNetwork leaves the
	// lab's network card for labctl to configure. Vagrant then has nothing to
	// change inside the guest, which spares it guessing the guest's system:
	// over a minute a node under emulation. Embedded only.
	KeyFiles   []string
	OwnNetwork bool
	// LabID goes into the VMs' mark; see Mark.
	LabID string
	// Version is labctl's own, for the comment at the top.
	Version string
	// ConsoleDir is an absolute folder in which each VM's serial console is
	// kept as NODE.log; "" for none. Embedded only, since the system's QEMU
	// may not write just anywhere. A folder with a character that has a
	// meaning in XML is passed over, because vagrant-libvirt writes it into
	// the domain unescaped.
	ConsoleDir string
}

// DefaultBox names the public box that is taken if lab.toml names none. It is
// "" for the embedded engine, whose box labctl builds itself.
func DefaultBox(p config.Provider) string {
	switch p {
	case config.VirtualBox, config.Libvirt:
		// Debian's own: small, and the same name for both providers.
		return "debian/bookworm64"
	default:
		return ""
	}
}

// DomainPrefix is what the names of a lab's libvirt domains start with. No
// lab's name holds a "_", so no lab's prefix is the start of another's.
func DomainPrefix(lab string) string { return lab + "_" }

// Mark is the title of every libvirt domain of a lab and the start of the
// description of its VMs: what is marked so is labctl's to destroy. id tells
// apart labs of one name in different folders; "" is left out.
func Mark(lab, id string) string {
	if id == "" {
		return "labctl lab " + lab
	}
	return "labctl lab " + lab + " " + id
}

// LabNetwork names the libvirt network that joins the nodes.
func LabNetwork(lab string) string { return lab + "-lab" }

// ManagementNetwork names the libvirt network over which labctl reaches the
// nodes.
func ManagementNetwork(lab string) string { return lab + "-mgmt" }

// ManagementSubnet chooses the address of the management network. Inside the
// embedded engine nothing else is there, so vagrant-libvirt's usual one does.
// System libvirt knows a network by its address, and refuses a second one with
// the same address and another name: there each lab gets one that follows from
// its name. Neither overlaps the lab's own networks.
func ManagementSubnet(lab *config.Lab, p config.Provider) netip.Prefix {
	taken := append([]netip.Prefix{lab.Subnet}, lab.Subnets()...)
	taken = append(taken, lab.Swarm.DefaultAddressPool...)
	free := func(c netip.Prefix) bool {
		for _, t := range taken {
			if t.Overlaps(c) {
				return false
			}
		}
		return true
	}
	usual := netip.MustParsePrefix("192.168.121.0/24")
	if p == config.Embedded && free(usual) {
		return usual
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(lab.Name)) // a hash.Hash never fails
	start := h.Sum32()
	// 192.168.128.0/17 first: home routers live below it, Docker's bridges
	// in 172.16.0.0/12. The second range is for labs that occupy the first.
	for _, base := range [][2]byte{{192, 168}, {172, 31}} {
		for i := range uint32(128) {
			third := byte(128 + (start+i)%128)
			if c := netip.PrefixFrom(netip.AddrFrom4([4]byte{base[0], base[1], third, 0}), 24); free(c) {
				return c
			}
		}
	}
	return usual
}

// page is what Vagrantfile.tmpl sees.
type page struct {
	Version, Lab                      string
	BoxName, BoxVersion, BoxURL       string
	BootTimeout                       int
	KeyFiles                          []string
	OwnNetwork                        bool
	Libvirt                           bool
	LabNetwork                        string
	Driver, CPUMode, CPUModel         string
	DomainPrefix, Mark, Group         string
	ManagementName, ManagementAddress string
	Nodes                             []pageNode
}

type pageNode struct {
	Name           string
	IP, Netmask    string
	URI, Bridge    string // libvirt's
	CPUs, MemoryMB int
	VMName         string // VirtualBox only
	Description    string
	Console        string // "" for none
	MAC            string // of the management card; "" for any
}

// Render writes the Vagrantfile of a lab. It is pure: equal arguments give
// equal bytes, and nothing is read or written. No value of the lab can become
// Ruby code, whatever it holds.
func Render(lab *config.Lab, o RenderOptions) ([]byte, error) {
	p, err := newPage(lab, o)
	if err != nil {
		return nil, fmt.Errorf("render Vagrantfile: %w", err)
	}
	t, err := template.New("Vagrantfile.tmpl").
		Funcs(template.FuncMap{"ruby": rubyLiteral, "comment": rubyComment}).
		Option("missingkey=error").
		Parse(labassets.VagrantfileTemplate())
	if err != nil {
		return nil, fmt.Errorf("render Vagrantfile: %w", err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, p); err != nil {
		return nil, fmt.Errorf("render Vagrantfile: %w", err)
	}
	return out.Bytes(), nil
}

func newPage(lab *config.Lab, o RenderOptions) (*page, error) {
	if len(lab.Nodes) == 0 {
		return nil, errors.New("the lab has no nodes")
	}
	if !lab.Subnet.IsValid() || !lab.Subnet.Addr().Is4() {
		return nil, fmt.Errorf("subnet %v is no IPv4 network", lab.Subnet)
	}
	p := &page{
		Version: o.Version,
		Lab:     lab.Name,
		BoxName: o.BoxName, BoxVersion: o.BoxVersion, BoxURL: o.BoxURL,
		BootTimeout:       bootTimeout,
		LabNetwork:        LabNetwork(lab.Name),
		DomainPrefix:      DomainPrefix(lab.Name),
		Mark:              Mark(lab.Name, o.LabID),
		Group:             "/labctl-" + lab.Name,
		ManagementName:    ManagementNetwork(lab.Name),
		ManagementAddress: ManagementSubnet(lab, o.Provider).String(),
	}
	if p.BoxName == "" {
		p.BoxName, p.BoxVersion, p.BoxURL = lab.Box.Name, lab.Box.Version, lab.Box.URL
	}
	if p.BoxName == "" {
		p.BoxName = DefaultBox(o.Provider)
	}
	if p.BoxName == "" {
		return nil, fmt.Errorf("provider %s needs a box name", o.Provider)
	}
	if err := p.setMachine(o); err != nil {
		return nil, err
	}
	for _, n := range lab.Nodes {
		mac := ""
		if p.OwnNetwork {
			mac = ManagementMAC(o.LabID, n.Name)
		}
		p.Nodes = append(p.Nodes, pageNode{
			MAC:  mac,
			Name: n.Name, IP: n.IP.String(), CPUs: n.CPUs, MemoryMB: n.MemoryMB,
			Netmask: net.IP(net.CIDRMask(lab.SubnetOf(n).Bits(), 32)).String(),
			URI:     n.Hypervisor(), Bridge: n.Bridge,
			VMName:      lab.Name + "-" + n.Name,
			Description: Mark(lab.Name, o.LabID) + ", node " + n.Name,
			Console:     console(o, n.Name),
		})
	}
	return p, nil
}

// setMachine fills in what depends on the provider and its acceleration.
func (p *page) setMachine(o RenderOptions) error {
	switch o.Provider {
	case config.VirtualBox:
		return nil
	case config.Libvirt, config.Embedded:
		p.Libvirt = true
	default:
		return fmt.Errorf("provider %q is not one that Vagrant can be told", o.Provider)
	}
	switch {
	case o.Accel == config.AccelTCG:
		p.Driver, p.CPUMode, p.CPUModel = "qemu", "custom", "qemu64"
		p.BootTimeout = bootTimeoutTCG
	case o.Accel == config.AccelKVM:
		p.Driver = "kvm"
	case o.Accel == "" && o.Provider == config.Libvirt:
	default:
		return fmt.Errorf("acceleration %q is neither kvm nor tcg", o.Accel)
	}
	if o.Accel == config.AccelKVM && o.CPU != "" && o.CPU != "host" {
		p.CPUMode, p.CPUModel = "custom", o.CPU
	}
	if o.Provider != config.Embedded {
		return nil
	}
	p.KeyFiles, p.OwnNetwork = o.KeyFiles, o.OwnNetwork
	if o.Accel == config.AccelKVM && p.CPUMode == "" {
		p.CPUMode = "host-passthrough"
	}
	return nil
}

// ManagementMAC is the address of a node's card in the management network of the
// embedded engine, by which the lease of its IP address is known. The engines of
// two labs have nothing to do with each other; the lab's id makes theirs differ all
// the same.
func ManagementMAC(labID, node string) string {
	h := sha256.Sum256([]byte(labID + " " + node))
	return fmt.Sprintf("52:54:00:%02x:%02x:%02x", h[0], h[1], h[2]) // QEMU's own prefix
}

func console(o RenderOptions, node string) string {
	if o.Provider != config.Embedded || o.ConsoleDir == "" || strings.ContainsAny(o.ConsoleDir, `<>&'"`) {
		return ""
	}
	return path.Join(o.ConsoleDir, node+".log")
}

// rubyLiteral writes s as a Ruby expression whose value is s, byte for byte.
// A single-quoted literal knows two escapes and no interpolation. What may not
// stand in one unchanged (NUL ends a Ruby source, CR LF becomes LF, and what
// is invisible misleads readers) is spelled in hexadecimal instead.
func rubyLiteral(s string) string {
	plain := utf8.ValidString(s)
	for _, r := range s {
		plain = plain && unicode.IsPrint(r)
	}
	if !plain {
		return "['" + hex.EncodeToString([]byte(s)) + "'].pack('H*').force_encoding('UTF-8')"
	}
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// rubyComment makes s fit into a comment line.
func rubyComment(s string) string {
	if s == "" {
		return "(unknown)"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return '?'
		}
		return r
	}, s)
}

// FileURL writes the absolute path of a box file as the URL that Vagrant
// expects of it, so that blanks and percent signs in the path survive.
func FileURL(file string) string {
	p := filepath.ToSlash(file)
	if !strings.HasPrefix(p, "/") { // C:/… on Windows
		p = "/" + p
	}
	return (&url.URL{Scheme: "file", Path: p}).String()
}
