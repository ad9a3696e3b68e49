//go:build linux

package provision

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"labctl/internal/remote"
)

// aside runs commands of nodes in a network namespace that has a card eth1 in
// 192.168.33.0/24, and where /etc/systemd/system is a folder of the test's. Its
// systemctl starts what the unit says.
type aside struct {
	t   *testing.T
	dir string
}

const asideShell = `set -eu
mount --bind "$ASIDE/etc" /etc/systemd/system
ip link add eth1 type veth peer name other
ip link set other up
ip addr add 192.168.33.11/24 dev eth1
ip link set eth1 up
[ ! -e "$ASIDE/routes" ] || ip route restore <"$ASIDE/routes"
export PATH="$ASIDE/bin:$PATH"
"$@"
ip route save >"$ASIDE/routes"
ip -4 route >"$ASIDE/table"
`

const asideSystemctl = `#!/bin/sh
case $1 in restart) sed -n 's/^ExecStart=//p' "/etc/systemd/system/$2" | sh -eu ;; esac
`

func (a aside) Run(ctx context.Context, c remote.Command) (remote.Result, error) {
	argv := slices.DeleteFunc(slices.Clone(c.Argv), func(w string) bool { return w == "sudo" || w == "-n" })
	c.Argv = append([]string{"env", "ASIDE=" + a.dir, "unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", asideShell, "sh"}, argv...)
	return remote.Host{}.Run(ctx, c)
}

func TestRoute(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for a network namespace")
	}
	a := aside{t, t.TempDir()}
	for _, d := range []string{"etc", "bin"} {
		if err := os.Mkdir(filepath.Join(a.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(a.dir, "bin", "systemctl"), []byte(asideSystemctl), 0o755); err != nil {
		t.Fatal(err)
	}
	to := []netip.Prefix{netip.MustParsePrefix("192.168.34.0/24"), netip.MustParsePrefix("192.168.36.0/22"), netip.MustParsePrefix("10.99.0.1/32")}
	router := netip.MustParseAddr("192.168.33.1")
	for i, want := range []bool{true, false} {
		changed, err := Route(t.Context(), a, "docker1", router, to)
		if err != nil || changed != want {
			t.Fatalf("time %d: changed %v, %v", i+1, changed, err)
		}
		table, _ := os.ReadFile(filepath.Join(a.dir, "table"))
		for _, line := range []string{"192.168.34.0/24 via 192.168.33.1 dev eth1", "192.168.36.0/22 via 192.168.33.1 dev eth1", "10.99.0.1 via 192.168.33.1 dev eth1"} {
			if !strings.Contains(string(table), line) {
				t.Errorf("no %q in\n%s", line, table)
			}
		}
	}
	_, err := Route(t.Context(), a, "docker1", netip.MustParseAddr("192.168.99.1"), to)
	if want := "docker1: set routes: this node has no network card in the subnet of the router 192.168.99.1"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}
