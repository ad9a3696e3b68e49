package export

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/remote"
)

var class = Lab{
	Name: "class", KnownHosts: "/srv/a lab/.labctl/known_hosts",
	Nodes: []remote.Endpoint{
		{Name: "docker1", Role: "manager", LabIP: netip.MustParseAddr("192.168.33.11"), Host: "127.0.0.1", Port: 2222, User: "vagrant", KeyFile: "/srv/a lab/.labctl/keys/100%"},
		{Name: "docker2", Role: "worker", LabIP: netip.MustParseAddr("192.168.33.12"), Host: "192.168.121.7", Port: 22, User: "vagrant", KeyFile: "/srv/key"},
	},
}

func TestSSHConfig(t *testing.T) {
	want := `# The nodes of labctl's lab "class", as ` + "`labctl export ssh-config`" + ` wrote them.

Host docker1 docker1.class
	HostName 127.0.0.1
	Port 2222
	User vagrant
	IdentityFile "/srv/a lab/.labctl/keys/100%%"
	IdentitiesOnly yes
	HostKeyAlias docker1
	UserKnownHostsFile "/srv/a lab/.labctl/known_hosts"
	StrictHostKeyChecking yes

Host docker2 docker2.class
	HostName 192.168.121.7
	Port 22
	User vagrant
	IdentityFile "/srv/key"
	IdentitiesOnly yes
	HostKeyAlias docker2
	UserKnownHostsFile "/srv/a lab/.labctl/known_hosts"
	StrictHostKeyChecking yes
`
	if d := cmp.Diff(want, class.SSHConfig()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// ssh gives the command to a shell, after having read the "%" in it.
func TestSSHConfigProxy(t *testing.T) {
	l := class
	l.Nodes = l.Nodes[1:]
	l.Proxy = []string{"/usr/bin/labctl", "--config", "/srv/it's 5%/lab.toml", "export", "connect"}
	want := `# The nodes of labctl's lab "class", as ` + "`labctl export ssh-config`" + ` wrote them.

Host docker2 docker2.class
	HostName 192.168.121.7
	Port 22
	User vagrant
	IdentityFile "/srv/key"
	IdentitiesOnly yes
	HostKeyAlias docker2
	UserKnownHostsFile "/srv/a lab/.labctl/known_hosts"
	StrictHostKeyChecking yes
	ProxyCommand /usr/bin/labctl --config '/srv/it'\''s 5%%/lab.toml' export connect docker2
`
	if d := cmp.Diff(want, l.SSHConfig()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if len(l.Proxy) != 5 {
		t.Errorf("SSHConfig changed Proxy to %q", l.Proxy)
	}
}

// A node on another host's hypervisor has a way of its own.
func TestSSHConfigThroughHypervisor(t *testing.T) {
	l := class
	l.Nodes = []remote.Endpoint{l.Nodes[1]}
	l.Nodes[0].Proxy = "ssh 'two.example' -W 192.168.121.7:22"
	const want = "\tProxyCommand ssh 'two.example' -W 192.168.121.7:22\n"
	if got := l.SSHConfig(); !strings.HasSuffix(got, want) {
		t.Errorf("no %q in\n%s", want, got)
	}
}

func TestAnsible(t *testing.T) {
	want := `# The nodes of labctl's lab "class", as ` + "`labctl export ansible`" + ` wrote them.
all:
  vars:
    ansible_ssh_common_args: "-F '/srv/a lab/.labctl/ssh_config'"
  children:
    managers:
      hosts:
        "docker1":
          lab_address: "192.168.33.11"
    workers:
      hosts:
        "docker2":
          lab_address: "192.168.33.12"
`
	if d := cmp.Diff(want, class.Ansible("/srv/a lab/.labctl/ssh_config")); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestInclude(t *testing.T) {
	const (
		file = "/srv/a lab/.labctl/ssh_config"
		ours = "# labctl: lab \"class\"; `labctl destroy` removes these two lines\nInclude \"/srv/a lab/.labctl/ssh_config\"\n"
		own  = "Host example\n\tUser me\n"
		next = "# labctl: lab \"other\"; `labctl destroy` removes these two lines\nInclude \"/srv/other/.labctl/ssh_config\"\n"
	)
	tests := []struct{ name, before, included, excluded string }{
		{"nothing there", "", ours, ""},
		{"a person's own", own, ours + own, own},
		{"a second time", ours + own, ours + own, own},
		{"below another lab's", next + ours + own, ours + next + own, next + own},
		{"the comment is gone", own + "Include \"" + file + "\"\n", ours + own, own},
		{"no line end at the end", "Host example", ours + "Host example", "Host example"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Include(tt.before, file, "class")
			if d := cmp.Diff(tt.included, got); d != "" {
				t.Errorf("Include (-want +got):\n%s", d)
			}
			if d := cmp.Diff(tt.excluded, Exclude(got, file)); d != "" {
				t.Errorf("Exclude (-want +got):\n%s", d)
			}
		})
	}
}
