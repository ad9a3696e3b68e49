package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	private "labctl/internal/engine"
)

// rightSide makes an sshd in the right hypervisor's namespace that lets the
// left one in. $1 is sshd's program, $2 the address, $3 where its libraries lie.
const rightSide = `set -eu
ssh-keygen -q -t ed25519 -N '' -f host_key
ssh-keygen -q -t ed25519 -N '' -f client_key
cp client_key.pub authorized_keys
if ! getent passwd sshd >/dev/null; then # seen in this namespace alone
	{ cat /etc/passwd; echo 'sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin'; } >passwd
	mount --bind passwd /etc/passwd
fi
cat >sshd_config <<END
ListenAddress $2
HostKey $PWD/host_key
AuthorizedKeysFile $PWD/authorized_keys
PidFile none
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
MaxStartups 50
END
LD_LIBRARY_PATH="$3" "$1" -f "$PWD/sshd_config" -E "$PWD/sshd.log"
`

// sshd is OpenSSH's server and where its libraries lie, "" for the system's.
type sshd struct{ program, libraries string }

// findSSHD unpacks one into a folder where none is installed: installing it
// would let others in.
func findSSHD(t *testing.T) sshd {
	t.Helper()
	const system = "/usr/sbin/sshd"
	if _, err := os.Stat(system); err == nil {
		return sshd{system, ""}
	}
	dir := t.TempDir()
	cmd := exec.Command("sh", "-euc", `apt-get -q -o APT::Sandbox::User=root download openssh-server libwrap0
for deb in *.deb; do dpkg-deb -x "$deb" .; done`)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("no sshd is installed, and none can be fetched: %v\n%s", err, out)
	}
	libraries, _ := filepath.Glob(filepath.Join(dir, "usr", "lib", "*-linux-gnu*"))
	return sshd{filepath.Join(dir, system), strings.Join(libraries, ":")}
}

// pair joins the namespaces by a pair of cards, one end of which goes to the
// one of process $1.
const pair = `ip link add to-right type veth peer name to-left netns "$1"`

// bridged plugs the card $1 into a new bridge, which has the address $2.
const bridged = `set -eu
ip link add br-lab type bridge
ip link set "$1" master br-lab
ip link set "$1" up
ip link set br-lab up
ip addr add "$2" dev br-lab
`

// routed gives the card $1 the address $2 and a new bridge the address $3, and
// sends what is for the network $4 to $5.
const routed = `set -eu
ip addr add "$2" dev "$1"
ip link set "$1" up
ip link add br-lab type bridge
ip link set br-lab up
ip addr add "$3" dev br-lab
ip route add "$4" via "$5"
echo 1 >/proc/sys/net/ipv4/ip_forward
`

// knowRight has OpenSSH on the left know the right hypervisor's host, whose
// keys lie in $1. No file of the host's changes.
const knowRight = `set -eu
printf 'right ' >known_hosts
cat "$1/host_key.pub" >>known_hosts
cat >ssh_config <<END
Host right
	HostName $2
	HostKeyAlias right
	IdentityFile $1/client_key
	UserKnownHostsFile $PWD/known_hosts
	BatchMode yes
END
mount --bind ssh_config /etc/ssh/ssh_config
`

// hypervisor is a private libvirtd in namespaces of its own, as the embedded
// engine has it, and a folder.
type hypervisor struct {
	t      *testing.T
	dir    string
	status private.Status
}

// newHypervisor starts one. It ends with the test, and all that is in it.
func newHypervisor(t *testing.T) *hypervisor {
	t.Helper()
	h := &hypervisor{t: t, dir: t.TempDir()}
	e := private.Embedded{Dir: filepath.Join(h.dir, "engine")}
	t.Cleanup(func() {
		if err := e.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		if left := processesIn(h.status.NetNS); left != nil {
			t.Errorf("left in the namespace: %q", left)
		}
	})
	_, err := e.Start(t.Context())
	if err == nil {
		h.status, err = e.Status()
	}
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// in is the command that runs another one there.
func (h *hypervisor) in() []string {
	return []string{"nsenter", "-t", fmt.Sprint(h.status.PID), "-m", "-n", "--"}
}

// script runs one there, in the folder.
func (h *hypervisor) script(text string, args ...string) string {
	h.t.Helper()
	argv := slices.Concat(h.in(), []string{"sh", "-c", "cd " + h.dir + "\n" + text, "sh"}, args)
	ctx, cancel := context.WithTimeout(context.Background(), shortWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		h.t.Fatalf("%s: %v\n%s", text, err, &said)
	}
	return string(out)
}

// mixed are two hypervisors in two network namespaces that are joined by a pair
// of cards, and a lab over both, whose labctl runs on the left one.
type mixed struct {
	*lab
	left, right *hypervisor
}

// newMixed makes them; join lays out the networks and returns the right one's
// address. settings are added to lab.toml, at whose end the right node stands.
func newMixed(t *testing.T, join func(left, right *hypervisor) string, settings string) *mixed {
	t.Helper()
	needVMs(t)
	sshd := findSSHD(t)
	host := newLab(t, "") // which makes box and bundle, for they need the internet
	host.ok(createWithin, "bundle", "build")
	name, path, _ := strings.Cut(strings.TrimSpace(host.ok(createWithin, "box", "build").out), "\t")

	before := lookAtHost(t)
	t.Cleanup(func() {
		if now := lookAtHost(t); now != before {
			t.Errorf("the host has changed: %s", cmp.Diff(before, now, cmp.AllowUnexported(now)))
		}
	})
	if err := os.Mkdir("/run/sshd", 0o755); err == nil { // where sshd shuts itself in
		t.Cleanup(func() { _ = os.Remove("/run/sshd") })
	}
	m := &mixed{left: newHypervisor(t), right: newHypervisor(t)}
	m.left.script(pair, fmt.Sprint(m.right.status.PID))
	address := join(m.left, m.right)
	m.right.script(rightSide, sshd.program, address, sshd.libraries)
	m.left.script(knowRight, m.right.dir, address)
	if got := m.left.script("ssh right readlink /proc/self/ns/net"); strings.TrimSpace(got) != m.right.status.NetNS {
		t.Fatalf("ssh leads to %s, want %s", got, m.right.status.NetNS)
	}
	m.lab = newLab(t, fmt.Sprintf(`name = "mixed"
provider = "libvirt"
[box]
name = %q
url = %q
[libvirt]
bridge = "br-lab"
[[nodes]]
[[nodes]]
uri = "qemu+ssh://root@right/system"
%s`, name, "file://"+path, settings), m.left.in()...)
	return m
}

// create makes the lab, and looks where its VMs are.
func (m *mixed) create(ip string) {
	m.t.Helper()
	r := m.ok(2*createWithin, "create", "--boot-timeout", "30m")
	m.t.Logf("create: %v", r.took.Round(time.Second))
	if want := "the system's libvirt and qemu+ssh://root@right/system answer; they run VMs with "; !strings.Contains(r.err, want) {
		m.t.Errorf("no %q in\n%s", want, r.err)
	}
	domains := func(h *hypervisor) string { return strings.TrimSpace(h.script("virsh -q list --all --name")) }
	if l, r := domains(m.left), domains(m.right); l != "mixed_docker1" || r != "mixed_docker2" {
		m.t.Errorf("the left one runs %q, the right one %q", l, r)
	}
	if st := m.status(); !st.Ready || len(st.Nodes) != 2 || st.Nodes[1].IP != ip || st.Nodes[1].VM != "running" {
		m.t.Errorf("status %+v", st)
	}
}

func (m *mixed) scenario(name string) {
	m.t.Helper()
	r := m.ok(2*scenarioWithin, "scenario", name)
	m.t.Logf("scenario %s: %v", name, r.took.Round(time.Second))
	if !strings.Contains(r.out, "\nPASS: ") {
		m.t.Errorf("no verdict in\n%s", r.out)
	}
}

// destroy leaves nothing on either.
func (m *mixed) destroy() {
	m.t.Helper()
	m.ok(2*shortWithin, "destroy", "--force")
	for _, h := range []*hypervisor{m.left, m.right} {
		const remains = "virsh -q list --all --name; virsh -q net-list --all --name; virsh -q vol-list default | grep mixed_ || :"
		if got := strings.TrimSpace(h.script(remains)); got != "" {
			m.t.Errorf("destroy left on a hypervisor:\n%s", got)
		}
	}
}

// TestMixed: the bridges of two hosts are one network.
func TestMixed(t *testing.T) {
	m := newMixed(t, func(left, right *hypervisor) string {
		left.script(bridged, "to-right", "192.168.33.1/24")
		right.script(bridged, "to-left", "192.168.33.254/24")
		return "192.168.33.254"
	}, "")
	m.create("192.168.33.12")
	if got := m.ok(shortWithin, "ssh", "docker2", "--", "hostname").out; got != "docker2\n" {
		t.Errorf("ssh docker2 leads to %q", got)
	}
	for _, s := range m.ok(2*shortWithin, "create").steps() {
		if !strings.HasSuffix(s, ": kept") {
			t.Errorf("second create: step %q, want kept", s)
		}
	}
	m.scenario("lb")
	m.scenario("ping")
	r := m.ok(2*shortWithin, "reset")
	t.Logf("reset: %v", r.took.Round(time.Second))
	if strings.Contains(r.err, "cleaning the swarm instead") {
		t.Errorf("reset found no snapshot:\n%s", r.err)
	}
	m.destroy()
}

// TestRouted: each host has a subnet of its own, and is the other's router.
func TestRouted(t *testing.T) {
	m := newMixed(t, func(left, right *hypervisor) string {
		left.script(routed, "to-right", "10.99.0.1/30", "192.168.33.1/24", "192.168.34.0/24", "10.99.0.2")
		right.script(routed, "to-left", "10.99.0.2/30", "192.168.34.1/24", "192.168.33.0/24", "10.99.0.1")
		return "10.99.0.2"
	}, "subnet = \"192.168.34.0/24\"\n")
	m.create("192.168.34.11")
	m.scenario("lb")
	m.destroy()
}
