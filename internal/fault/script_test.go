package fault

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// machine is a folder that stands for "/" to provision/fault.sh, with programs
// that note what they were told.
type machine struct {
	t    *testing.T
	root string
}

// Each program notes its call and whether the journal was whole by then.
const fakeProgram = `#!/bin/sh
name=${0##*/}
[ "$name" = sync ] || printf '%s %s\n' "$name" "$*" >>"$ROOT/log"
case "$name $*" in
"ip -o"*) echo "3: eth1    inet 192.168.33.12/24 brd 192.168.33.255 scope global eth1" ;;
"iptables -w 20 -I"*)
	[ -e "$ROOT/var/lib/labctl/fault/f1/undo" ] && [ -e "$ROOT/var/lib/labctl/fault/f1/record" ] || echo "no journal yet" >>"$ROOT/log"
	[ ! -e "$ROOT/broken" ] || exit 4
	shift 3; echo "$*" >>"$ROOT/rules" ;;
"iptables -w 20 -C"*) shift 3; grep -qxF -e "$*" "$ROOT/rules" 2>/dev/null ;;
"iptables -w 20 -D"*) shift 3; grep -vxF -e "$*" "$ROOT/rules" >"$ROOT/rules.new"; mv "$ROOT/rules.new" "$ROOT/rules" ;;
esac
`

func newMachine(t *testing.T) *machine {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the program is for Linux")
	}
	m := &machine{t, t.TempDir()}
	for _, dir := range []string{"bin", "run", "etc/systemd/system/multi-user.target.wants", "var/lib/labctl", "var/lib/docker"} {
		if err := os.MkdirAll(filepath.Join(m.root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"iptables", "ip", "systemctl", "systemd-run", "sync", "fallocate", "docker"} {
		m.write("bin/"+name, fakeProgram, 0o755)
	}
	m.write("etc/resolv.conf", "nameserver 10.0.0.1\n", 0o644)
	return m
}

func (m *machine) write(name, text string, mode os.FileMode) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.root, name), []byte(text), mode); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) read(name string) string {
	data, err := os.ReadFile(filepath.Join(m.root, name))
	if err != nil {
		return "none"
	}
	return string(data)
}

// run feeds stdin to a shell on the machine.
func (m *machine) run(stdin string, args ...string) (string, error) {
	m.t.Helper()
	cmd := exec.Command("/bin/sh", args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "ROOT="+m.root)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// program is the real one, with the machine's folder before each path.
func (m *machine) program() string {
	text := program()
	for _, path := range []string{"/var/lib/", "/etc/systemd/", "/etc/resolv.conf", "/run/labctl"} {
		text = strings.ReplaceAll(text, path, m.root+path)
	}
	return strings.Replace(text, "\nPATH=", "\nPATH="+m.root+"/bin:", 1)
}

func (m *machine) inject(id string, words ...string) (string, error) {
	dir := filepath.Join(m.root, "var/lib/labctl/fault", id)
	return m.run(m.program(), append([]string{"-eu", "-c", injectScript, "sh", dir, id, `{"id":"` + id + `","kind":"dns"}`}, words...)...)
}

func (m *machine) undo(id string) (string, error) {
	return m.run(m.program(), "-eu", "-c", undoScript, "sh", filepath.Join(m.root, "var/lib/labctl/fault", id), id)
}

// clean wants nothing to be left of any fault.
func (m *machine) clean() {
	m.t.Helper()
	for _, pattern := range []string{"var/lib/labctl/*", "var/lib/docker/*", "etc/systemd/system/labctl*", "etc/systemd/system/multi-user.target.wants/*"} {
		if left, _ := filepath.Glob(filepath.Join(m.root, pattern)); left != nil {
			m.t.Errorf("left: %v", left)
		}
	}
	if rules := strings.TrimSpace(m.read("rules")); rules != "" && rules != "none" {
		m.t.Errorf("rules left: %s", rules)
	}
}

func TestScriptPort(t *testing.T) {
	m := newMachine(t)
	m.write("rules", "OUTPUT -j ACCEPT\n", 0o644)
	if out, err := m.inject("f1", "kind=port", "lab=192.168.33.12", "peers=192.168.33.11", "rules=INPUT/tcp/7946 INPUT/udp/7946", "seconds=60"); err != nil || out != "" {
		t.Fatalf("%v: %s", err, out)
	}
	want := "OUTPUT -j ACCEPT\n"
	for _, p := range []string{"tcp", "udp"} {
		want += "INPUT -i eth1 -s 192.168.33.11 -p " + p + " --dport 7946 -m comment --comment labctl-fault-f1 -j DROP\n"
	}
	if got := m.read("rules"); got != want {
		t.Errorf("rules\n%s\nwant\n%s", got, want)
	}
	log := m.read("log")
	timer := strings.Index(log, "systemd-run --quiet --collect --on-active=60 ")
	if timer < 0 || timer > strings.Index(log, "iptables") || strings.Contains(log, "no journal yet") {
		t.Errorf("the journal and the timer must come before the rules:\n%s", log)
	}
	if unit := m.read("etc/systemd/system/multi-user.target.wants/labctl-fault.service"); !strings.Contains(unit, "fault/*/undo; do sh \"$$undo\"; done") {
		t.Errorf("the unit of the next boot: %s", unit)
	}
	out, err := m.run(m.program(), "-eu", "-s", "--", "list")
	var left int
	if n, _ := fmt.Sscanf(out, "f1 %d {", &left); err != nil || n != 1 || left < 50 || left > 60 {
		t.Errorf("list: %v %q", err, out)
	}
	// The undo is the script that the timer and the boot run; a rule that a
	// trainee has removed is no trouble.
	m.write("rules", strings.ReplaceAll(want, "INPUT -i eth1 -s 192.168.33.11 -p tcp", "INPUT -i eth9 -p tcp"), 0o644)
	if out, err := m.run("", "-eu", filepath.Join(m.root, "var/lib/labctl/fault/f1/undo")); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got := m.read("rules"); !strings.HasPrefix(got, "OUTPUT -j ACCEPT\nINPUT -i eth9") || strings.Count(got, "\n") != 2 {
		t.Errorf("a rule of another was removed, or one of ours was left:\n%s", got)
	}
	m.write("rules", "", 0o644)
	m.clean()
	if out, err := m.undo("f1"); err != nil || out != "" {
		t.Errorf("a second undo: %v %s", err, out)
	}
}

// TestScriptTakesBack wants a fault that fails half-way to leave nothing.
func TestScriptTakesBack(t *testing.T) {
	m := newMachine(t)
	m.write("broken", "", 0o644)
	if _, err := m.inject("f1", "kind=port", "lab=192.168.33.12", "rules=INPUT/udp/4789", "seconds=0"); err == nil {
		t.Error("it did not fail")
	}
	m.clean()
	out, err := m.inject("f1", "kind=port", "lab=10.9.9.9", "rules=INPUT/udp/4789", "seconds=0")
	if want := "labctl: no network card of this node has the lab's address 10.9.9.9\n"; err == nil || out != want {
		t.Errorf("%v: %q, want %q", err, out, want)
	}
	m.clean()
}

func TestScriptDNS(t *testing.T) {
	m := newMachine(t)
	inject := func() {
		t.Helper()
		if out, err := m.inject("f1", "kind=dns", "lab=192.168.33.12", "peers=192.168.33.11", "seconds=0"); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if got, want := m.read("etc/resolv.conf"), "# labctl-fault-f1\nnameserver 192.0.2.53\n"; got != want {
			t.Fatalf("resolv.conf %q, want %q", got, want)
		}
	}
	inject()
	if out, err := m.undo("f1"); err != nil || m.read("etc/resolv.conf") != "nameserver 10.0.0.1\n" {
		t.Errorf("%v: %s: %s", err, out, m.read("etc/resolv.conf"))
	}
	m.clean()
	inject()
	m.write("etc/resolv.conf", "nameserver 10.0.0.2\n", 0o644) // DHCP
	if out, err := m.undo("f1"); err != nil || m.read("etc/resolv.conf") != "nameserver 10.0.0.2\n" {
		t.Errorf("%v: %s: %s", err, out, m.read("etc/resolv.conf"))
	}
	m.clean()
	if err := os.Remove(filepath.Join(m.root, "etc/resolv.conf")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../run/resolv", filepath.Join(m.root, "etc/resolv.conf")); err != nil {
		t.Fatal(err)
	}
	inject()
	if out, err := m.undo("f1"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if to, err := os.Readlink(filepath.Join(m.root, "etc/resolv.conf")); err != nil || to != "../run/resolv" {
		t.Errorf("the link is %q, %v", to, err)
	}
	m.clean()
}

// Peers are asked side by side, each slow answer beside the others: a lab of
// many nodes must not take longer than one look may.
func TestScriptManyPeers(t *testing.T) {
	m := newMachine(t)
	m.write("bin/ping", `#!/bin/sh
for peer; do :; done
sleep 1
case "$* " in
*"-c 20 "*"9.2 ") echo "20 packets transmitted, 13 received, 35% packet loss" ;;
*"-c 20 "*) echo "20 packets transmitted, 20 received, 0% packet loss" ;;
*"-c 4 "*"9.3 ") echo "rtt min/avg/max/mdev = 305.1/310.0/320.0/1.0 ms" ;;
*"-c 4 "*) echo "rtt min/avg/max/mdev = 0.4/0.5/0.6/0.1 ms" ;;
*"-s 1472 "*"9.4 ") exit 1 ;;
esac
`, 0o755)
	var peers []string
	for i := range 30 {
		peers = append(peers, fmt.Sprintf("10.9.9.%d", i+1))
	}
	for kind, want := range map[string]string{
		"loss": "7 of 20 packets to 10.9.9.2 were lost\n", "delay": "the quickest of four answers of 10.9.9.3 took 305.1 ms\n",
		"mtu": "a packet of 1500 bytes does not get to 10.9.9.4, one of 84 does\n",
	} {
		begin := time.Now()
		out, err := m.run(m.program(), "-eu", "-s", "--", "shows", "kind="+kind, "lab=192.168.33.12", "peers="+strings.Join(peers, " "), "percent=30", "delay=300", "mtu=1200", "seconds=0")
		if err != nil || out != want {
			t.Errorf("%s: %v: %q, want %q", kind, err, out, want)
		}
		if took := time.Since(begin); took > 20*time.Second { // one after the other it is at least 30
			t.Errorf("%s: %v", kind, took)
		}
	}
	if _, err := m.run(m.program(), "-eu", "-s", "--", "shows", "kind=loss", "lab=192.168.33.12", "peers=10.9.9.1", "percent=30", "seconds=0"); err == nil {
		t.Error("loss shows without a lost packet")
	}
}

// The service that has the machines' addresses has a task on the node that is
// asked for the symptom, however many nodes there are.
func TestScriptSubnetOverlap(t *testing.T) {
	for with, scale := range map[string]string{"machines": "--mode global", "bridge": "--replicas 2"} {
		m := newMachine(t)
		m.write("bin/docker", fakeProgram+`case "$*" in *"inspect --format"*) echo 172.17.0.0/16 ;; esac`+"\n", 0o755)
		m.write("bin/ip", "#!/bin/sh\necho '192.168.33.0/24 dev eth1 proto kernel scope link src 192.168.33.11'\n", 0o755)
		if out, err := m.inject("f1", "kind=subnet-overlap", "lab=192.168.33.11", "peers=192.168.33.12", "with="+with, "image=labctl/toolbox:latest", "seconds=0"); err != nil || out != "" {
			t.Fatalf("%s: %v: %s", with, err, out)
		}
		if log := m.read("log"); !strings.Contains(log, "docker service create ") || !strings.Contains(log, " --stop-grace-period 1s "+scale+" labctl/toolbox:latest tail") {
			t.Errorf("%s: the service has not %s:\n%s", with, scale, log)
		}
	}
}
