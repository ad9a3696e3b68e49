package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"labctl/internal/ui"
)

// plainVagrant are two VMs of which labctl knows nothing, with plain Vagrant,
// in the network of an engine that labctl has started.
const plainVagrant = `Vagrant.configure('2') do |config|
  config.vm.box = '%s'
  config.vm.box_url = 'file://%s'
  config.vm.synced_folder '.', '/vagrant', disabled: true
  config.ssh.insert_key = false
  config.vm.boot_timeout = 600
  config.vm.provider 'libvirt' do |libvirt|
    libvirt.uri = 'qemu:///system'
    libvirt.driver = '%s'
    libvirt.cpu_mode = '%s'
    %s
    libvirt.memory = 1024
    libvirt.nic_model_type = 'virtio'
    libvirt.graphics_type = 'none'
  end
  config.vm.define 'pc1'
  config.vm.define 'pc2'
end
`

// bootPlain boots them, gives them their names and leaves a lab.toml for them
// and a known_hosts in the folder "class".
const bootPlain = `set -eu
cd plain
# What of the other lab had been begun.
for vm in $(virsh -c qemu:///system list --name); do virsh -c qemu:///system destroy "$vm" >/dev/null; done
timeout 900 vagrant up --no-provision >up.log 2>&1 || { tail -n 20 up.log >&2; exit 1; }
mkdir ../class
printf 'provider = "existing"\n[ssh]\nconfig = "/dev/null"\nuser = "vagrant"\nknown-hosts = "known_hosts"\n' >../class/lab.toml
for pc in pc1 pc2; do
	vagrant ssh-config "$pc" >"$pc.ssh"
	ssh -F "$pc.ssh" -o LogLevel=ERROR "$pc" "sudo hostname $pc && echo $pc | sudo tee /etc/hostname >/dev/null"
	host=$(awk '$1 == "HostName" { print $2 }' "$pc.ssh")
	key=$(awk '$1 == "IdentityFile" { print $2; exit }' "$pc.ssh")
	printf '[[nodes]]\nname = "%s"\naddress = "%s"\nkey = "%s"\n' "$pc" "$host" "$key" >>../class/lab.toml
	ssh-keyscan -t ed25519 "$host" >>../class/known_hosts 2>/dev/null
done
`

// TestExisting hands two VMs of plain Vagrant to labctl as machines that are
// there already: it makes a lab of them, gives them back, and refuses them
// when one is in a swarm of somebody else's.
func TestExisting(t *testing.T) {
	needVMs(t)
	host := newLab(t, "provider = \"embedded\"\n")
	host.ok(createWithin, "bundle", "build")
	name, path, _ := strings.Cut(strings.TrimSpace(host.ok(createWithin, "box", "build").out), "\t")
	// The engine alone: the lab that it is for is never made. Its first step in
	// there is waited for, since labctl starts itself anew on the way in.
	host.run(createWithin, func(e ui.Event) bool { return e.Step == "render" && e.State == ui.Done }, "create")
	if !host.engine().Running {
		t.Fatal("the engine does not run")
	}
	var state struct{ Acceleration, CPU string }
	read(t, filepath.Join(host.dir, ".labctl", "state.json"), &state)
	driver, mode, model := "qemu", "custom", "libvirt.cpu_model = '"+state.CPU+"'"
	if state.Acceleration == "kvm" {
		driver = "kvm"
	}
	if state.CPU == "host" {
		mode, model = "host-passthrough", ""
	}
	mkdir(t, filepath.Join(host.dir, "plain"))
	host.write("plain/Vagrantfile", fmt.Sprintf(plainVagrant, name, path, driver, mode, model))
	host.write("boot.sh", bootPlain)
	host.ok(createWithin, "engine", "shell", "--", "sh", "boot.sh")

	// From here on labctl knows nothing of Vagrant.
	class := filepath.Join(host.dir, "class", "lab.toml")
	labctl := func(within time.Duration, args ...string) result {
		t.Helper()
		return host.run(within, nil, append([]string{"engine", "shell", "--", binary, "--progress", "json", "--config", class}, args...)...)
	}
	ok := func(within time.Duration, args ...string) result {
		t.Helper()
		r := labctl(within, args...)
		if r.code != 0 {
			t.Fatalf("labctl %s: exit code %d\n%s\n%s", strings.Join(args, " "), r.code, r.out, r.err)
		}
		return r
	}
	for range 2 {
		r := ok(createWithin, "create")
		t.Logf("create: %v", r.took.Round(time.Second))
	}
	var st status
	if err := json.Unmarshal([]byte(ok(shortWithin, "status", "--json").out), &st); err != nil {
		t.Fatal(err)
	}
	if !st.Ready || len(st.Nodes) != 2 || st.Nodes[0].VM != "reachable" || !st.Nodes[0].Leader {
		t.Errorf("status %+v", st)
	}
	if r := ok(scenarioWithin, "scenario", "lb", "--allow-host"); !strings.Contains(r.out, "PASS: ") {
		t.Errorf("no verdict in\n%s", r.out)
	}
	ok(shortWithin, "diagnose")
	ok(shortWithin, "exec", "pc1", "--", "docker", "service", "create", "-q", "--detach", "--no-resolve-image", "--name", "left", "labctl/toolbox", "httpd", "-f")
	if r := ok(shortWithin, "reset"); !strings.Contains(r.err, "cleaning the swarm instead") {
		t.Errorf("reset said\n%s", r.err)
	}
	look := func(pc, command string) string {
		t.Helper()
		return host.ok(shortWithin, "engine", "shell", "--", "ssh", "-F", filepath.Join("plain", pc+".ssh"), "-o", "LogLevel=ERROR", pc, command).out
	}
	const swarm = `sudo docker info --format '{{.Swarm.LocalNodeState}}'; sudo docker ps -aq; sudo docker image ls -q; grep -c labctl /etc/hosts; sudo cat /var/lib/labctl/made.json`
	const bare = "inactive\n0\n{\"docker\":true}\n"

	// A machine less, and back again.
	both, err := os.ReadFile(class)
	if err != nil {
		t.Fatal(err)
	}
	one := string(both[:bytes.LastIndex(both, []byte("[[nodes]]"))])
	host.write("class/lab.toml", one)
	ok(createWithin, "create", "--prune")
	if got := look("pc2", swarm); got != bare {
		t.Errorf("create --prune left on pc2: %q", got)
	}
	if got := look("pc1", "docker node ls --format '{{.Hostname}} {{.Status}}'"); got != "pc1 Ready\n" {
		t.Errorf("after create --prune the swarm has %q", got)
	}
	host.write("class/lab.toml", string(both))
	ok(createWithin, "create")

	ok(shortWithin, "destroy", "--force")
	for _, pc := range []string{"pc1", "pc2"} {
		if got := look(pc, swarm); got != bare {
			t.Errorf("destroy left on %s: %q", pc, got)
		}
	}

	// A swarm that is not ours.
	look("pc2", "sudo docker swarm init >/dev/null; sudo docker info --format '{{.Swarm.NodeID}}' >id")
	r := labctl(shortWithin, "create")
	if want := "pc2: connect: is already in another swarm, with its managers at "; r.code != 1 || !strings.Contains(r.err, want) || !strings.Contains(r.err, "nothing was changed") {
		t.Errorf("create: exit code %d, no %q in\n%s", r.code, want, r.err)
	}
	if got := look("pc2", "[ \"$(sudo docker info --format '{{.Swarm.NodeID}}')\" = \"$(cat id)\" ] && echo same"); got != "same\n" {
		t.Errorf("the other swarm is touched: %q", got)
	}
	if got := look("pc1", swarm); got != bare {
		t.Errorf("the refused create changed pc1: %q", got)
	}
	// Not even destroy takes it.
	ok(shortWithin, "destroy", "--force", "--purge")
	if got := look("pc2", "[ \"$(sudo docker info --format '{{.Swarm.NodeID}}')\" = \"$(cat id)\" ] && echo same"); got != "same\n" {
		t.Errorf("destroy touched the other swarm: %q", got)
	}
	// On the other machine it takes what the first one left.
	if got := look("pc1", "command -v dockerd; ls -d /var/lib/docker /var/lib/labctl /etc/docker 2>/dev/null; ip -br link show docker0 2>/dev/null; true"); got != "" {
		t.Errorf("destroy --purge left on pc1: %q", got)
	}
}

func read(t *testing.T, file string, to any) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}
