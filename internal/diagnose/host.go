package diagnose

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"labctl/internal/remote"
)

// hostScript prints, in one go, what the engine does not know of its machine,
// each part below a line "### NAME". Parts that a node cannot tell stay empty.
//
// docker.service comes first: whoever asks the engine's socket would start an
// engine that is stopped, and diagnose changes nothing.
//
// systemd-resolved shows itself in /etc/resolv.conf and the true servers in
// the other file, which is also what Docker hands on to containers.
//
// iptables exists twice; the other half is asked only where it has rules,
// since asking would load its kernel modules.
const hostScript = `exec 2>/dev/null
part() { printf '\n### %s\n' "$1"; } # not all files end with a newline
part date
date +%s.%N
part units
systemctl show docker.service docker.socket containerd.service -p Id,ActiveState,SubState,LoadState,UnitFileState,Result
part processes
echo $$
cat /proc/uptime /proc/[0-9]*/stat
part addr
ip -j addr show
part route
ip -j -4 route show
part resolv
if grep -qs '^nameserver 127.0.0.53' /etc/resolv.conf; then
	cat /run/systemd/resolve/resolv.conf
else
	cat /etc/resolv.conf
fi
part names
cat /proc/sys/kernel/hostname /etc/machine-id
part forward
cat /proc/sys/net/ipv4/ip_forward
part qdiscs
tc -j qdisc show
part modules
for m in overlay bridge veth vxlan ip_vs; do
	if [ -d /sys/module/$m ]; then
		echo "$m loaded"
	elif command -v modprobe >/dev/null; then
		printf '%s ' $m
		modprobe -n -v $m 2>&1 | tail -n 1
		echo
	fi
done
part disks
docker=/var/lib/docker
[ -d $docker ] || docker=/var/lib
df -P -k / $docker
df -P -i / $docker
part mounts
cat /proc/mounts
part load
grep -c ^processor /proc/cpuinfo
cat /proc/loadavg /proc/pressure/cpu
part memory
cat /proc/meminfo
part log
[ "$(systemctl is-active docker.service)" = active ] || journalctl -u docker.service -n 20 -o cat -q --no-pager
part swarm
cat /var/lib/docker/swarm/docker-state.json
part cert
cat /var/lib/docker/swarm/certificates/swarm-node.crt
part ca
cat /var/lib/docker/swarm/certificates/swarm-root-ca.crt
part daemon
cat /etc/docker/daemon.json
part sandbox
sbox=/run/docker/netns/ingress_sbox
if [ -e $sbox ]; then
	echo there
	nsenter --net=$sbox sh -c 'ip -j -4 addr show; echo == rules; iptables-save -t mangle'
fi
part firewall
if command -v iptables-save >/dev/null; then
	echo == iptables
	iptables-save -c
	other=iptables-nft
	case $(iptables -V) in
	*nf_tables*) other=iptables-legacy ;;
	esac
	if command -v $other-save >/dev/null && { [ $other = iptables-nft ] || [ -s /proc/net/ip_tables_names ]; }; then
		echo == $other
		$other-save -c
	fi
fi
if command -v nft >/dev/null; then
	echo == nft
	nft -j list ruleset
fi
part again
cat /proc/uptime /proc/[0-9]*/stat
part end
`

// askHost runs the script as root; onUnits hears whether docker.service is
// active as soon as that is known, or nothing.
func (n *Node) askHost(ctx context.Context, r remote.Runner, onUnits func(active bool)) error {
	start := time.Now()
	now, fuzz := start, time.Duration(0)
	var unit string
	lines := &lineWriter{each: func(line string) {
		switch {
		case line == "### units":
			// The date came just before.
			took := time.Since(start)
			now, fuzz = start.Add(took/2), took/2
		case strings.HasPrefix(line, "Id="):
			unit = line
		case unit == "Id=docker.service" && strings.HasPrefix(line, "ActiveState="):
			onUnits(line != "ActiveState=inactive" && line != "ActiveState=failed")
		}
	}}
	res, err := remote.Check(ctx, r, n.Name, remote.Command{Argv: []string{"sudo", "-n", "sh", "-u"}, Stdin: strings.NewReader(hostScript), Stdout: lines})
	if err != nil {
		return err
	}
	if fuzz == 0 {
		took := time.Since(start)
		now, fuzz = start.Add(took/2), took/2
	}
	return n.readHost(res.Stdout, now, fuzz)
}

var partLine = regexp.MustCompile(`(?m)^### (\w+)\n`)

// parts takes what hostScript printed apart.
func parts(text string) map[string]string {
	out := map[string]string{}
	heads := partLine.FindAllStringSubmatchIndex(text, -1)
	for i, h := range heads {
		end := len(text)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		out[text[h[2]:h[3]]] = text[h[1]:end]
	}
	return out
}

// readHost reads what hostScript printed; now is our clock at the moment of
// its date, give or take fuzz.
func (n *Node) readHost(text string, now time.Time, fuzz time.Duration) error {
	p := parts(text)
	if _, ok := p["end"]; !ok {
		return fmt.Errorf("the host's answer is not whole: %q", clip(text, 200))
	}
	seconds, err := strconv.ParseFloat(strings.TrimSpace(p["date"]), 64)
	if err != nil {
		return fmt.Errorf("the node's clock: %w", err)
	}
	there := time.UnixMicro(int64(seconds * 1e6))
	n.ClockAhead, n.ClockFuzz = there.Sub(now).Round(100*time.Millisecond), fuzz.Round(100*time.Millisecond)
	s := &System{Now: there.UTC().Truncate(time.Second)}
	if err := n.readAddrs(p["addr"], s); err != nil {
		return err
	}
	if err := n.readRoutes(p["route"], s); err != nil {
		return err
	}
	n.Nameservers = readNameservers(p["resolv"])
	names := strings.Fields(p["names"] + " - -")
	s.Hostname, s.MachineID = names[0], names[1]
	s.Forward = strings.TrimSpace(p["forward"]) != "0"
	s.Qdiscs = readQdiscs(p["qdiscs"])
	s.Modules = readModules(p["modules"])
	s.Disks = readDisks(p["disks"], p["mounts"])
	s.CPU = readCPU(p["load"], p["processes"], p["again"])
	s.OwnContainerd = ownContainerd(p["again"])
	s.Memory = readMemory(p["memory"])
	s.Units = readUnits(p["units"])
	s.DockerLog = strings.FieldsFunc(strings.TrimSpace(p["log"]), func(r rune) bool { return r == '\n' })
	s.Swarm = readSwarmFile(p["swarm"])
	s.Cert, s.CA = readCertificate(p["cert"]), readCertificate(p["ca"])
	s.Daemon = readDaemon(p["daemon"])
	s.Sandbox = readSandbox(p["sandbox"])
	n.System = s
	n.Firewall, err = readFirewall(p["firewall"])
	if err != nil {
		n.FirewallError = err.Error()
	}
	return nil
}

func (n *Node) readAddrs(text string, s *System) error {
	var list []struct {
		Ifname   string   `json:"ifname"`
		MTU      int      `json:"mtu"`
		Flags    []string `json:"flags"`
		Address  string   `json:"address"`
		LinkType string   `json:"link_type"`
		AddrInfo []struct {
			Family    string     `json:"family"`
			Local     netip.Addr `json:"local"`
			Prefixlen int        `json:"prefixlen"`
		} `json:"addr_info"`
	}
	// Every machine has an interface at least.
	if strings.TrimSpace(text) == "" {
		return errors.New("ip -j addr says nothing")
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return fmt.Errorf("ip addr: %w", err)
	}
	for _, l := range list {
		if l.LinkType != "loopback" && !strings.HasPrefix(l.Ifname, "veth") {
			s.Links = append(s.Links, Link{Dev: l.Ifname, MTU: l.MTU, MAC: l.Address,
				Up: slices.Contains(l.Flags, "UP"), Carrier: slices.Contains(l.Flags, "LOWER_UP")})
		}
		for _, a := range l.AddrInfo {
			if a.Family == "inet" && !a.Local.IsLoopback() {
				n.Addrs = append(n.Addrs, Addr{Dev: l.Ifname, Prefix: netip.PrefixFrom(a.Local, a.Prefixlen)})
			}
		}
	}
	return nil
}

// spareMetric is that of the route by which provision/prepare.sh keeps a node from
// looking for the others by way of Vagrant's network: it counts when no other does.
const spareMetric = 4000

func (n *Node) readRoutes(text string, s *System) error {
	var list []struct {
		Type    string     `json:"type"`
		Dst     string     `json:"dst"`
		Gateway netip.Addr `json:"gateway"`
		Dev     string     `json:"dev"`
		Metric  int        `json:"metric"`
	}
	if err := json.Unmarshal([]byte(orEmpty(text)), &list); err != nil {
		return fmt.Errorf("ip route: %w", err)
	}
	for _, r := range list {
		dst, ok := destination(r.Dst)
		switch {
		case r.Type == "unreachable" && r.Metric == spareMetric:
		case r.Type == "blackhole" || r.Type == "unreachable" || r.Type == "prohibit":
			if ok {
				s.Blocked = append(s.Blocked, Route{Dev: r.Type, Dst: dst})
			}
		case ok && dst.Bits() > 0:
			n.Routes = append(n.Routes, Route{Dev: r.Dev, Dst: dst, Via: r.Gateway})
		case r.Dst == "default" && s.Gateway.Dev == "":
			s.Gateway = Route{Dev: r.Dev, Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: r.Gateway}
		}
	}
	return nil
}

// destination reads what ip prints: "default", a subnet, or a bare address.
func destination(s string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), true
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, a.BitLen()), true
}

func readNameservers(resolv string) []netip.Addr {
	var out []netip.Addr
	for in := bufio.NewScanner(strings.NewReader(resolv)); in.Scan(); {
		f := strings.Fields(in.Text())
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil && a.Is4() && !a.IsLoopback() {
			out = append(out, a)
		}
	}
	return out
}

// orEmpty: ip -j prints nothing at all where its list is empty.
func orEmpty(text string) string {
	if strings.TrimSpace(text) == "" {
		return "[]"
	}
	return text
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}
