package box

import (
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/apt"
)

func TestFindBaked(t *testing.T) {
	o := Options{Release: "bookworm", CacheDir: t.TempDir()}
	tg, err := newTarget(o, apt.System{})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := tg.prefix()
	if err != nil {
		t.Fatal(err)
	}
	dir := boxDir(o)
	find := func(contents string) (Box, bool) {
		t.Helper()
		b, ok, err := FindBaked(o, contents)
		if err != nil {
			t.Fatal(err)
		}
		return b, ok
	}
	if b, ok := find("docker"); ok {
		t.Errorf("without a plain box: %+v", b)
	}
	write(t, filepath.Join(dir, plain+"0123456789ab.box"), "x")
	if b, ok := find("docker"); ok {
		t.Errorf("without a baked box: %+v", b)
	}
	prefix, _, ok, err := tg.madePrefix(dir, baked, "docker")
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	path := filepath.Join(dir, prefix+"ba9876543210.box")
	write(t, path, "x")
	want := Box{Name: "labctl/debian12-docker-ba9876543210", Path: path, Hash: "ba9876543210"}
	if b, ok := find("docker"); !ok || b != want {
		t.Errorf("%+v %v, want %+v", b, ok, want)
	}
	if b, ok := find("docker 2"); ok {
		t.Errorf("other contents: %+v", b)
	}
	if b, ok, err := Find(o); err != nil || !ok || b.Hash != "0123456789ab" {
		t.Errorf("the plain box beside it: %+v %v %v", b, ok, err)
	}
	// A plain box that was built anew makes the baked one old.
	if err := os.Rename(filepath.Join(dir, plain+"0123456789ab.box"), filepath.Join(dir, plain+"111111111111.box")); err != nil {
		t.Fatal(err)
	}
	if b, ok := find("docker"); ok {
		t.Errorf("after a new plain box: %+v", b)
	}
}

// node is what a finished node has in it, as far as baking cares; those that
// end in a slash are folders.
var node = map[string]string{
	"boot/vmlinuz":                                                "kernel",
	"boot/extlinux/extlinux.conf":                                 "DEFAULT linux",
	"boot/extlinux/ldlinux.sys":                                   "old",
	"boot/extlinux/ldlinux.c32":                                   "old",
	"etc/hostname":                                                "docker1\n",
	"etc/hosts":                                                   "127.0.0.1 localhost\n# labctl: begin\n192.168.33.11\tdocker1\n# labctl: end\n",
	"etc/machine-id":                                              "4c1d3ed8b46e4ba7b09ab5d6ae2a4d1e\n",
	"etc/resolv.conf":                                             "nameserver 192.168.121.1\n",
	"etc/skel/.bashrc":                                            "skel",
	"etc/ssh/ssh_host_ed25519_key":                                "secret",
	"etc/ssh/ssh_host_ecdsa_key.pub":                              "public",
	"etc/ssh/sshd_config":                                         "keep",
	"etc/docker/daemon.json":                                      "{}",
	"etc/docker/key.json":                                         "id",
	"etc/systemd/network/20-eth0.network":                         "keep",
	"etc/systemd/network/30-labctl-eth1.network":                  "Address=192.168.33.11/24",
	"etc/modules-load.d/labctl.conf":                              "overlay",
	"home/vagrant/.ssh/authorized_keys":                           "ssh-rsa AAAA labctl lab",
	"home/vagrant/.ssh/known_hosts":                               "x",
	"home/vagrant/.bash_history":                                  "docker swarm join --token SWMTKN-1-x",
	"home/vagrant/work/notes":                                     "mine",
	"root/.bashrc":                                                "keep",
	"root/.bash_history":                                          "x",
	"root/.docker/config.json":                                    "password",
	"tmp/x":                                                       "x",
	"var/tmp/labctl.abc/env":                                      "PROXY='http://u:p@h'",
	"var/lib/sudo/lectured/vagrant":                               "",
	"var/lib/dbus/machine-id":                                     "4c1d3ed8b46e4ba7b09ab5d6ae2a4d1e\n",
	"var/lib/systemd/random-seed":                                 "seed",
	"var/lib/systemd/timers/stamp-x":                              "",
	"var/lib/labctl/docker.mark":                                  "0123",
	"var/lib/labctl/daemon.json":                                  "{}",
	"var/lib/apt/lists/deb_Packages":                              "x",
	"var/lib/containerd/io.containerd.content.v1/x":               "keep",
	"var/lib/containerd/io.containerd.runtime.v2.task/":           "",
	"var/lib/containerd/io.containerd.grpc.v1.introspection/uuid": "u",
	"var/lib/docker/engine-id":                                    "id",
	"var/lib/docker/image/overlay2/repositories.json":             "keep",
	"var/lib/docker/overlay2/l/":                                  "",
	"var/lib/docker/overlay2/0a/diff/bin/busybox":                 "keep",
	"var/lib/docker/swarm/certificates/swarm-node.key":            "secret",
	"var/lib/docker/swarm/docker-state.json":                      "x",
	"var/lib/docker/network/files/local-kv.db":                    "x",
	"var/lib/docker/volumes/v/_data/x":                            "x",
	"var/lib/docker/containers/":                                  "",
	"var/lib/docker/unheard-of/x":                                 "x",
	"var/log/journal/4c1d3ed8b46e4ba7b09ab5d6ae2a4d1e/a.journal":  "x",
	"var/log/dpkg.log":                                            "x",
	"var/log/wtmp":                                                "logins",
	"var/cache/apt/archives/x.deb":                                "x",
}

// plant makes the files of a node under dir.
func plant(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		write(t, filepath.Join(dir, name), text)
	}
}

// tree is all that is in dir: files with their text, and empty folders.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if !d.IsDir() {
			data, err := os.ReadFile(path)
			out[name] = string(data)
			return err
		}
		entries, err := os.ReadDir(path)
		if len(entries) == 0 {
			out[name+"/"] = ""
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestClean(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	clean := func(files map[string]string) (map[string]string, string, error) {
		t.Helper()
		root, work := t.TempDir(), t.TempDir()
		plant(t, root, files)
		if err := unpackAll(work); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(sh, "-eu", filepath.Join(work, "bake", "clean.sh"), root, work).CombinedOutput()
		return tree(t, root), string(out), err
	}
	read := func(name string) string {
		data, err := recipe.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	want := map[string]string{
		"boot/vmlinuz":                                    "kernel",
		"boot/extlinux/extlinux.conf":                     "DEFAULT linux",
		"etc/hostname":                                    read("image/etc/hostname"),
		"etc/hosts":                                       read("image/etc/hosts"),
		"etc/machine-id":                                  "",
		"etc/skel/.bashrc":                                "skel",
		"etc/ssh/sshd_config":                             "keep",
		"etc/docker/daemon.json":                          "{}",
		"etc/systemd/network/20-eth0.network":             "keep",
		"etc/modules-load.d/labctl.conf":                  "overlay",
		"home/vagrant/.bashrc":                            "skel",
		"home/vagrant/.ssh/authorized_keys":               read("vagrant.pub"),
		"root/.bashrc":                                    "keep",
		"tmp/":                                            "",
		"var/tmp/":                                        "",
		"var/lib/sudo/":                                   "",
		"var/lib/dbus/":                                   "",
		"var/lib/systemd/":                                "",
		"var/lib/labctl/docker.mark":                      "0123",
		"var/lib/labctl/daemon.json":                      "{}",
		"var/lib/apt/lists/partial/":                      "",
		"var/lib/containerd/io.containerd.content.v1/x":   "keep",
		"var/lib/docker/image/overlay2/repositories.json": "keep",
		"var/lib/docker/overlay2/l/":                      "",
		"var/lib/docker/overlay2/0a/diff/bin/busybox":     "keep",
		"var/log/journal/":                                "",
		"var/log/wtmp":                                    "",
		"var/cache/apt/archives/partial/":                 "",
	}
	got, out, err := clean(node)
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what is left (-want +got):\n%s", diff)
	}

	// With a proxy its password goes, and the next create has to look again.
	behind := map[string]string{
		"etc/docker/labctl-proxy.env":                           "HTTP_PROXY=http://u:password@h",
		"etc/systemd/system/docker.service.d/labctl-proxy.conf": "[Service]",
		"etc/apt/apt.conf.d/80labctl-proxy":                     "password",
	}
	for name, text := range node {
		behind[name] = text
	}
	delete(want, "var/lib/labctl/docker.mark")
	want["etc/systemd/system/docker.service.d/"] = ""
	want["etc/apt/apt.conf.d/"] = ""
	got, out, err = clean(behind)
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what is left behind a proxy (-want +got):\n%s", diff)
	}

	// What is no finished node is not touched.
	bare := map[string]string{"etc/machine-id": "x", "var/lib/docker/swarm/": ""}
	got, out, err = clean(bare)
	if wantOut := "E: the disk has no Docker with an image in it\n"; err == nil || out != wantOut {
		t.Errorf("a bare system: %v, says %q, want %q", err, out, wantOut)
	}
	if diff := cmp.Diff(bare, got); diff != "" {
		t.Errorf("a bare system was changed (-want +got):\n%s", diff)
	}
}

// Baked, the plain box's own inputs stay as they are: what makes a box of a
// node is no part of them.
func TestBakingIsApart(t *testing.T) {
	var names []string
	for name := range tree(t, "bake") {
		names = append(names, name)
		if _, err := recipe.ReadFile("bake/" + name); err == nil {
			t.Errorf("bake/%s is part of the plain box's recipe", name)
		}
	}
	sort.Strings(names)
	if diff := cmp.Diff([]string{"bake.sh", "clean.sh", "install.sh"}, names); diff != "" {
		t.Error(diff)
	}
}
