package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// checkExports lets the real ssh, Docker client and Ansible of this machine
// reach the nodes by what labctl export has set up. Nothing of the tester's own
// configuration is touched: ssh, which does not go by HOME, is told by a
// program in front of it.
func checkExports(t *testing.T, l *lab) {
	tools := t.TempDir()
	home := t.TempDir()
	config := filepath.Join(home, "config")
	front := "#!/bin/sh\nexec " + program(t, "ssh") + " -F " + config + " \"$@\"\n"
	if err := os.WriteFile(filepath.Join(tools, "ssh"), []byte(front), 0o755); err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir() // which goes by HOME
	if err != nil {
		t.Fatal(err)
	}
	dockerClient(t, cache, tools)
	t.Setenv("PATH", tools+":"+os.Getenv("PATH"))
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv("HOME", home)
	// Else Ansible leaves ssh at work, which lends its connection for a minute.
	t.Setenv("ANSIBLE_SSH_ARGS", "-o ControlMaster=no")

	host := func(argv ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), shortWithin)
		defer cancel()
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Dir = l.dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", strings.Join(argv, " "), err, out)
		}
		return string(out)
	}
	l.ok(shortWithin, "export", "ssh-config", "--install", "--into", config)
	if got := host("ssh", "docker2", "hostname"); got != "docker2\n" {
		t.Errorf("ssh docker2 hostname says %q", got)
	}
	l.ok(shortWithin, "export", "docker-context", "--install")
	if got := host("docker", "--context", "lab", "node", "ls", "--format", "{{.Hostname}} {{.Status}}"); got != "docker1 Ready\ndocker2 Ready\n" {
		t.Errorf("docker node ls says %q", got)
	}
	l.ok(shortWithin, "export", "ansible", "--install")
	got := host("ansible", "all", "-o", "-m", "ping")
	for _, node := range []string{"docker1", "docker2"} {
		if !strings.Contains(got, node+" | SUCCESS => ") {
			t.Errorf("ansible's ping does not reach %s: %s", node, got)
		}
	}
}

func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// dockerClient takes Docker's client out of the bundle: the package would
// start a daemon on this machine.
func dockerClient(t *testing.T, cache, dir string) {
	t.Helper()
	debs, _ := filepath.Glob(filepath.Join(cache, "labctl", "bundle-*", "docker.io_*.deb")) // the pattern is sound
	if len(debs) == 0 {
		t.Fatal("no bundle has docker.io")
	}
	out, err := exec.Command("sh", "-c", `dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --strip-components=3 ./usr/bin/docker`, "sh", debs[0], dir).CombinedOutput()
	if err != nil {
		t.Fatalf("take docker out of %s: %v\n%s", debs[0], err, out)
	}
}
