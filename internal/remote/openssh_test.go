//go:build unix

package remote

import (
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"labctl/internal/remote/sshtest"
)

// machine is a server that labctl did not make, whose host key is known.
func machine(t *testing.T) (*sshtest.Server, Endpoint) {
	t.Helper()
	s := sshtest.Start(t, sshtest.Options{})
	ep := endpoint(s, "pc17")
	ep.KeyFile = ""
	known := filepath.Join(t.TempDir(), "known_hosts")
	writeText(t, known, knownhosts.Line([]string{knownhosts.Normalize(address(ep))}, s.HostKey.PublicKey())+"\n")
	ep.OpenSSH = &OpenSSH{Line: "ssh pc17.example", Keys: []string{s.KeyFile}, Only: true, KnownHosts: []string{known, "/nonexistent"}, Scan: true}
	return s, ep
}

func writeText(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// startAgent holds the key of a file, or none.
func startAgent(t *testing.T, files ...string) string {
	t.Helper()
	keys := agent.NewKeyring()
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		key, err := ssh.ParseRawPrivateKey(data)
		if err != nil {
			t.Fatal(err)
		}
		if err := keys.Add(agent.AddedKey{PrivateKey: key}); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp("", "agent-") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	lis, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lis.Close() })
	go func() {
		for {
			c, err := lis.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(keys, c) }()
		}
	}()
	return lis.Addr().String()
}

func TestOpenSSH(t *testing.T) {
	_, ep := machine(t)
	o := options(t)
	if err := dialOnce(t, ep, o); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(o.KnownHosts); err == nil {
		t.Error("a host key of the user's was pinned")
	}
}

func TestOpenSSHAgent(t *testing.T) {
	s, ep := machine(t)
	ep.OpenSSH.Agent = startAgent(t, s.KeyFile)
	ep.OpenSSH.Keys, ep.OpenSSH.Only = []string{"/nonexistent/a", "/nonexistent/b"}, false
	if err := dialOnce(t, ep, options(t)); err != nil {
		t.Errorf("with the agent's key: %v", err)
	}

	// A key with a passphrase is the agent's to use.
	data, err := os.ReadFile(s.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := ssh.ParseRawPrivateKey(data)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKeyWithPassphrase(raw, "", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	locked := filepath.Join(t.TempDir(), "locked")
	writeText(t, locked, string(pem.EncodeToMemory(block)))
	ep.OpenSSH.Keys, ep.OpenSSH.Only = []string{locked}, true
	if err := dialOnce(t, ep, options(t)); err != nil {
		t.Errorf("with a key whose passphrase the agent knows: %v", err)
	}
	ep.OpenSSH.Agent = startAgent(t)
	err = dialOnce(t, ep, options(t))
	var file *KeyFileError
	if !errors.As(err, &file) || file.File != locked {
		t.Errorf("with a key whose passphrase nobody knows: %v", err)
	}
}

func TestOpenSSHNoKey(t *testing.T) {
	_, ep := machine(t)
	ep.OpenSSH.Keys, ep.OpenSSH.Only = []string{"/nonexistent/a", "/nonexistent/b"}, false
	err := dialOnce(t, ep, options(t))
	if err == nil || err.Error() != "pc17: there is no SSH key to log in with" {
		t.Errorf("without any key: %v", err)
	}
	ep.OpenSSH.Keys = []string{sshtest.Start(t, sshtest.Options{}).KeyFile}
	ep.OpenSSH.Only = true
	_, err = DialWait(t.Context(), ep, options(t), 5*time.Second, nil)
	want := fmt.Sprintf("pc17: the SSH key %s is refused for user vagrant", ep.OpenSSH.Keys[0])
	var refused *AuthError
	if !errors.As(err, &refused) || err.Error() != want || !strings.Contains(refused.Hint(), "does `ssh pc17.example` log in without a password?") {
		t.Errorf("with a key that is refused: %v", err)
	}
}

func TestOpenSSHHostKey(t *testing.T) {
	s, ep := machine(t)
	known := ep.OpenSSH.KnownHosts[0]
	own := ssh.FingerprintSHA256(s.HostKey.PublicKey())

	writeText(t, known, "")
	_, err := DialWait(t.Context(), ep, options(t), 5*time.Second, nil)
	var unknown *UnknownHostError
	if !errors.As(err, &unknown) || err.Error() != fmt.Sprintf("pc17: the host key of %s is not known: it shows ssh-ed25519 %s", address(ep), own) {
		t.Fatalf("of an unknown host: %v", err)
	}
	want := fmt.Sprintf("if that is what the machine itself shows (`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`), accept it: ssh-keyscan -p %d 127.0.0.1 >> %s", s.Port, known)
	if unknown.Hint() != want {
		t.Errorf("hint %q\nwant %q", unknown.Hint(), want)
	}
	if text, _ := os.ReadFile(known); len(text) > 0 {
		t.Errorf("known_hosts got %q", text)
	}

	other := sshtest.NewHostKey(t).PublicKey()
	writeText(t, known, knownhosts.Line([]string{knownhosts.Normalize(address(ep))}, other)+"\n")
	_, err = DialWait(t.Context(), ep, options(t), 5*time.Second, nil)
	var changed *HostKeyError
	if !errors.As(err, &changed) || changed.New != own || changed.Old != ssh.FingerprintSHA256(other) || changed.File != known {
		t.Fatalf("of a host whose key differs: %v", err)
	}
	if want := fmt.Sprintf("ssh-keygen -R '[127.0.0.1]:%d' -f %s", s.Port, known); !strings.HasSuffix(changed.Hint(), want) {
		t.Errorf("hint %q does not end in %q", changed.Hint(), want)
	}

	// By another name.
	writeText(t, known, knownhosts.Line([]string{"alias"}, s.HostKey.PublicKey())+"\n")
	ep.OpenSSH.Alias = "alias"
	if err := dialOnce(t, ep, options(t)); err != nil {
		t.Errorf("by its HostKeyAlias: %v", err)
	}
}

// A node of labctl's own can have a proxy, too: its key is pinned under its
// name as any other's.
func TestEndpointProxy(t *testing.T) {
	s := sshtest.Start(t, sshtest.Options{})
	ep := Endpoint{Name: "docker2", Host: "203.0.113.17", Port: 22, User: s.User, KeyFile: s.KeyFile,
		Proxy: fmt.Sprintf(`bash -c 'exec 3<>/dev/tcp/127.0.0.1/%d; cat <&3 & cat >&3; kill $!'`, s.Port)}
	o := options(t)
	c, err := Dial(t.Context(), ep, o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	res, err := c.Run(t.Context(), Command{Argv: []string{"echo", "through"}})
	if err != nil || res.Stdout != "through\n" {
		t.Errorf("got %q, %v", res.Stdout, err)
	}
	if pinned, err := os.ReadFile(o.KnownHosts); err != nil || !strings.HasPrefix(string(pinned), "docker2 ") {
		t.Errorf("pinned %q, %v", pinned, err)
	}
}

func TestOpenSSHProxy(t *testing.T) {
	s, ep := machine(t)
	// Only the command can reach it.
	ep.OpenSSH.Proxy = []string{"bash", "-c", `exec 3<>/dev/tcp/127.0.0.1/$0; cat <&3 & cat >&3; kill $!`, fmt.Sprint(s.Port)}
	ep.Host, ep.OpenSSH.Alias = "203.0.113.17", "alias"
	writeText(t, ep.OpenSSH.KnownHosts[0], knownhosts.Line([]string{"alias"}, s.HostKey.PublicKey())+"\n")
	c, err := Dial(t.Context(), ep, options(t))
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Run(t.Context(), Command{Argv: []string{"echo", "through"}})
	if err != nil || res.Stdout != "through\n" {
		t.Errorf("got %q, %v", res.Stdout, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}

	ep.OpenSSH.Proxy = []string{"sh", "-c", "echo bastion: Permission denied >&2; exit 255"}
	err = dialOnce(t, ep, options(t))
	if err == nil || !strings.Contains(err.Error(), "bastion: Permission denied") {
		t.Errorf("of a jump host that refuses: %v", err)
	}
}

// A jump host may refuse before the first word is written to it.
func TestOpenSSHProxyEndsAtOnce(t *testing.T) {
	conn, err := dialCommand([]string{"sh", "-c", "echo bastion: Permission denied >&2; exit 255"})
	if err != nil {
		t.Fatal(err)
	}
	<-conn.(*commandConn).ended
	if _, err := conn.Write([]byte("SSH-2.0-labctl\r\n")); err == nil || err.Error() != "bastion: Permission denied" {
		t.Errorf("write: %v", err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil || err.Error() != "bastion: Permission denied" {
		t.Errorf("read: %v", err)
	}
}
