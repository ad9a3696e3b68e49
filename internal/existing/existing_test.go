//go:build unix

package existing

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/config"
	"labctl/internal/remote"
)

// The real ssh reads the configuration, so that Host, Match and Include mean
// what they mean to a person.
func TestEndpoint(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", "/home/me")
	t.Setenv("SSH_AUTH_SOCK", "/run/agent")
	for name, text := range map[string]string{
		"config": "Include " + dir + "/more\nHost pc*\n\tUser alice\n\tUserKnownHostsFile /srv/known\n\tGlobalKnownHostsFile /srv/all\n\tIdentityFile /srv/key\n",
		"more":   "Match host pc18\n\tHostName 203.0.113.18\n\tPort 2222\n\tProxyJump bob@bastion.example:2200\n\tIdentityAgent none\nMatch host pc19\n\tHostKeyAlias nineteen\n\tProxyCommand nc -X 5 %h %p\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ip := netip.MustParseAddr("203.0.113.17")
	base := remote.Endpoint{Name: "docker1", Role: "manager", LabIP: ip, Port: 22, User: "alice"}
	line := "ssh -F " + dir + "/config "
	tests := []struct {
		name  string
		ssh   config.SSH
		node  config.Node
		ep    func(*remote.Endpoint)
		wants remote.OpenSSH
	}{
		{"from the configuration", config.SSH{}, config.Node{Address: "pc17"},
			func(ep *remote.Endpoint) { ep.Host = "pc17" },
			remote.OpenSSH{Line: line + "pc17", Keys: []string{"/srv/key"}, Agent: "/run/agent", KnownHosts: []string{"/srv/known", "/srv/all"}, Scan: true}},
		{"through a jump host", config.SSH{}, config.Node{Address: "pc18"},
			func(ep *remote.Endpoint) { ep.Host, ep.Port = "203.0.113.18", 2222 },
			remote.OpenSSH{Line: line + "pc18", Keys: []string{"/srv/key"}, KnownHosts: []string{"/srv/known", "/srv/all"},
				Proxy: []string{"ssh", "-o", "BatchMode=yes", "-F", dir + "/config", "-W", "[203.0.113.18]:2222", "--", "ssh://bob@bastion.example:2200"}}},
		{"through a command", config.SSH{}, config.Node{Address: "pc19"},
			func(ep *remote.Endpoint) { ep.Host = "pc19" },
			remote.OpenSSH{Line: line + "pc19", Keys: []string{"/srv/key"}, Agent: "/run/agent", Alias: "nineteen", KnownHosts: []string{"/srv/known", "/srv/all"},
				Proxy: []string{"sh", "-c", "exec nc -X 5 pc19 22"}}},
		{"lab.toml wins", config.SSH{KnownHosts: "hosts"},
			config.Node{Address: "pc17", Login: config.Login{User: "carol", Port: 2022, Key: "~/class", Jump: "a,b:23"}},
			func(ep *remote.Endpoint) { ep.Host, ep.User, ep.Port = "pc17", "carol", 2022 },
			remote.OpenSSH{Line: line + "-p 2022 -l carol -o 'IdentitiesOnly=yes' -i /home/me/class -J a,b:23 pc17", Keys: []string{"/home/me/class"}, Only: true, Agent: "/run/agent",
				KnownHosts: []string{dir + "/hosts", "/srv/known", "/srv/all"},
				Proxy: []string{"ssh", "-o", "BatchMode=yes", "-F", dir + "/config", "-o", `GlobalKnownHostsFile="` + dir + `/hosts" /etc/ssh/ssh_known_hosts`,
					"-J", "a", "-W", "[pc17]:2022", "--", "ssh://b:23"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.ssh.Config = "config"
			tt.node.Name, tt.node.Role, tt.node.IP = "docker1", config.Manager, ip
			got, err := Endpoint(t.Context(), remote.Host{}, tt.ssh, tt.node, dir)
			if err != nil {
				t.Fatal(err)
			}
			want := base
			tt.ep(&want)
			want.OpenSSH = &tt.wants
			if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestForeign(t *testing.T) {
	tests := []struct {
		name  string
		facts Facts
		want  bool
	}{
		{"no Docker", Facts{}, false},
		{"in no swarm", Facts{Swarm: "inactive"}, false},
		{"in a swarm, and no labctl was here", Facts{Swarm: "active", Node: "a"}, true},
		{"locked, and no labctl was here", Facts{Swarm: "locked"}, true},
		{"in labctl's", Facts{Swarm: "active", Node: "a", Made: &Made{Swarm: "a"}}, false},
		{"in another since", Facts{Swarm: "active", Node: "b", Made: &Made{Swarm: "a"}}, true},
		{"labctl was here, but left", Facts{Swarm: "active", Node: "b", Made: &Made{}}, true},
		{"cut short while joining", Facts{Swarm: "active", Node: "b", Made: &Made{Swarm: Forming}}, false},
		{"a join that hangs", Facts{Swarm: "pending", Made: &Made{Swarm: Forming}}, false},
	}
	for _, tt := range tests {
		if got := tt.facts.Foreign(); got != tt.want {
			t.Errorf("%s: foreign is %v", tt.name, got)
		}
	}
}
