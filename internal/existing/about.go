package existing

import (
	"context"
	"strconv"
	"strings"

	"labctl/internal/remote"
)

// About is what a machine is, for `labctl doctor`. The zero value of a field
// means that the machine does not say.
type About struct {
	System    string // "Debian GNU/Linux 12 (bookworm)"
	Arch      string // as uname says it
	Installer string // apt-get or dnf; "" for neither
	Systemd   bool
	FreeKB    uint64 // where Docker lives
	MemoryKB  uint64 // in all
}

const about = `ID='' PRETTY_NAME=''
[ ! -r /etc/os-release ] || . /etc/os-release
echo "system ${PRETTY_NAME:-$ID}"
echo "arch $(uname -m)"
for program in apt-get dnf; do
	! command -v "$program" >/dev/null || { echo "installer $program"; break; }
done
! command -v systemctl >/dev/null || echo "systemd"
df -Pk /var/lib | awk 'NR == 2 { print "free", $4 }'
[ ! -r /proc/meminfo ] || awk '$1 == "MemTotal:" { print "memory", $2 }' /proc/meminfo`

// Ask asks a machine what it is, and changes nothing.
func Ask(ctx context.Context, r remote.Runner, node string) (About, error) {
	res, err := remote.Check(ctx, r, node, remote.Command{Argv: []string{"sudo", "-n", "sh", "-euc", about}})
	if err != nil {
		return About{}, err
	}
	var a About
	number := func(s string) uint64 { n, _ := strconv.ParseUint(s, 10, 64); return n } // 0 for what is none
	for line := range strings.Lines(res.Stdout) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch key {
		case "system":
			a.System = value
		case "arch":
			a.Arch = value
		case "installer":
			a.Installer = value
		case "systemd":
			a.Systemd = true
		case "free":
			a.FreeKB = number(value)
		case "memory":
			a.MemoryKB = number(value)
		}
	}
	return a, nil
}
