package diagnose

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"labctl/internal/remote"
)

// hostScript prints, in one go, what the engine does not know of its machine.
// systemd-resolved shows itself in /etc/resolv.conf and the true servers in
// the other file, which is also what Docker hands on to containers.
const hostScript = `date +%s.%N
echo == addr
ip -j -4 addr show
echo == route
ip -j -4 route show
echo == resolv
if grep -qs '^nameserver 127.0.0.53' /etc/resolv.conf; then
	cat /run/systemd/resolve/resolv.conf
else
	cat /etc/resolv.conf
fi
`

func (n *Node) askHost(ctx context.Context, r remote.Runner) error {
	start := time.Now()
	res, err := remote.Check(ctx, r, n.Name, remote.Script(hostScript))
	if err != nil {
		return err
	}
	took := time.Since(start)
	return n.readHost(res.Stdout, start.Add(took/2), took/2)
}

// readHost reads what hostScript printed; now is our clock at that moment,
// give or take fuzz.
func (n *Node) readHost(text string, now time.Time, fuzz time.Duration) error {
	date, rest, ok := strings.Cut(text, "\n== addr\n")
	addrs, rest, ok2 := strings.Cut(rest, "\n== route\n")
	routes, resolv, ok3 := strings.Cut(rest, "\n== resolv\n")
	if !ok || !ok2 || !ok3 {
		return fmt.Errorf("the host's answer is not whole: %q", clip(text, 200))
	}
	seconds, err := strconv.ParseFloat(strings.TrimSpace(date), 64)
	if err != nil {
		return fmt.Errorf("the node's clock: %w", err)
	}
	there := time.UnixMicro(int64(seconds * 1e6))
	n.ClockAhead, n.ClockFuzz = there.Sub(now).Round(100*time.Millisecond), fuzz.Round(100*time.Millisecond)
	if err := n.readAddrs(addrs); err != nil {
		return err
	}
	if err := n.readRoutes(routes); err != nil {
		return err
	}
	n.Nameservers = readNameservers(resolv)
	return nil
}

func (n *Node) readAddrs(text string) error {
	var list []struct {
		Ifname   string `json:"ifname"`
		AddrInfo []struct {
			Family    string     `json:"family"`
			Local     netip.Addr `json:"local"`
			Prefixlen int        `json:"prefixlen"`
		} `json:"addr_info"`
	}
	if err := json.Unmarshal([]byte(orEmpty(text)), &list); err != nil {
		return fmt.Errorf("ip addr: %w", err)
	}
	for _, l := range list {
		for _, a := range l.AddrInfo {
			if a.Family == "inet" && !a.Local.IsLoopback() {
				n.Addrs = append(n.Addrs, Addr{Dev: l.Ifname, Prefix: netip.PrefixFrom(a.Local, a.Prefixlen)})
			}
		}
	}
	return nil
}

func (n *Node) readRoutes(text string) error {
	var list []struct {
		Dst     string     `json:"dst"`
		Gateway netip.Addr `json:"gateway"`
		Dev     string     `json:"dev"`
	}
	if err := json.Unmarshal([]byte(orEmpty(text)), &list); err != nil {
		return fmt.Errorf("ip route: %w", err)
	}
	for _, r := range list {
		if dst, ok := destination(r.Dst); ok && dst.Bits() > 0 {
			n.Routes = append(n.Routes, Route{Dev: r.Dev, Dst: dst, Via: r.Gateway})
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
