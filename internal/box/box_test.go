package box

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/apt"
)

func TestInputsHash(t *testing.T) {
	files := func(kv ...string) fs.FS {
		m := fstest.MapFS{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = &fstest.MapFile{Data: []byte(kv[i+1])}
		}
		return m
	}
	bookworm := target{release: "bookworm", arch: "amd64"}
	hash := func(t2 target, f fs.FS) string {
		h, err := t2.inputs(f)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	base := hash(bookworm, files("a", "1", "b", "2"))
	if !regexp.MustCompile(`^[0-9a-f]{12}$`).MatchString(base) {
		t.Errorf("hash %q is not 12 hex digits", base)
	}
	if again := hash(bookworm, files("b", "2", "a", "1")); again != base {
		t.Errorf("the same inputs give %s and %s", base, again)
	}
	seen := map[string]string{base: "base"}
	for name, h := range map[string]string{
		"other release": hash(target{"trixie", "amd64"}, files("a", "1", "b", "2")),
		"other arch":    hash(target{"bookworm", "arm64"}, files("a", "1", "b", "2")),
		"other content": hash(bookworm, files("a", "1", "b", "3")),
		"other name":    hash(bookworm, files("a", "1", "c", "2")),
		"moved content": hash(bookworm, files("a", "12", "b", "")),
		"one file less": hash(bookworm, files("a", "1")),
	} {
		if seen[h] != "" {
			t.Errorf("%s has the hash of %s", name, seen[h])
		}
		seen[h] = name
	}
}

func TestFindInCache(t *testing.T) {
	cache := t.TempDir()
	o := Options{Release: "bookworm", CacheDir: cache}
	if b, ok, err := Find(o); ok || err != nil {
		t.Fatalf("Find without a cache folder: %+v %v %v", b, ok, err)
	}
	tg, err := newTarget(o, apt.System{})
	if err != nil {
		t.Fatal(err)
	}
	prefix, err := tg.prefix()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "boxes")
	for _, name := range []string{
		"lock", "build.log", ".build-1/x",
		"debian12-000000000000-0123456789ab.box", // made by another recipe
		prefix + "0123456789ab.box.new",
		prefix + "0123456789ab/x",
		prefix + "short.box",
	} {
		write(t, filepath.Join(dir, name), "x")
	}
	if b, ok, err := Find(o); ok || err != nil {
		t.Fatalf("Find took another file: %+v %v %v", b, ok, err)
	}
	path := filepath.Join(dir, prefix+"0123456789ab.box")
	write(t, path, "x")
	want := Box{Name: "labctl/debian12-0123456789ab", Path: path, Hash: "0123456789ab"}
	b, ok, err := Find(o)
	if err != nil || !ok {
		t.Fatalf("Find: %v %v", ok, err)
	}
	if diff := cmp.Diff(want, b); diff != "" {
		t.Error(diff)
	}
	// Build takes it too: without root, and without running anything.
	b, err = Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, b); diff != "" {
		t.Error(diff)
	}
	if _, ok, err = Find(Options{Release: "trixie", CacheDir: cache}); ok || err != nil {
		t.Errorf("Find of another release: %v %v", ok, err)
	}
}

// The box must hold what Docker needs and leave Docker itself to labctl.
func TestPackageList(t *testing.T) {
	data, err := fs.ReadFile(recipe, "packages.txt")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(data)) {
		if name, _, _ := strings.Cut(strings.TrimSpace(line), "#"); name != "" {
			names = append(names, name)
		}
	}
	for _, name := range names {
		if !regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`).MatchString(name) {
			t.Errorf("%q is not the name of a package", name)
		}
	}
	if sorted := slices.Sorted(slices.Values(names)); len(slices.Compact(sorted)) != len(names) {
		t.Errorf("a package is listed twice: %v", names)
	}
	for _, name := range []string{"apparmor", "iptables", "libdevmapper1.02.1", "libseccomp2", "linux-image-cloud-amd64", "openssh-server"} {
		if !slices.Contains(names, name) {
			t.Errorf("%s is lacking", name)
		}
	}
	for _, name := range []string{"docker.io", "containerd", "runc", "tini"} {
		if slices.Contains(names, name) {
			t.Errorf("%s must not be in the box", name)
		}
	}
}

// Secrets and identities must not be in the recipe, and what shell it has
// must be clean.
func TestRecipeFiles(t *testing.T) {
	var files []string
	err := fs.WalkDir(recipe, ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var scripts []string
	for _, path := range files {
		data, err := fs.ReadFile(recipe, path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data), "PRIVATE KEY") {
			t.Errorf("%s holds a private key", path)
		}
		if strings.HasPrefix(string(data), "#!") {
			scripts = append(scripts, path)
		}
	}
	want := []string{
		"image/etc/initramfs-tools/hooks/labctl",
		"image/usr/local/sbin/labctl-hostkeys",
		"image/usr/local/sbin/labctl-resolv",
		"scripts/build.sh",
		"scripts/customize.sh",
		"scripts/pack.sh",
		"scripts/seal.sh",
	}
	if diff := cmp.Diff(want, scripts); diff != "" {
		t.Errorf("scripts of the recipe (-want +got):\n%s", diff)
	}
	if _, err := exec.LookPath("shellcheck"); err != nil {
		t.Skip("shellcheck is not installed")
	}
	scripts = append(scripts, "scripts/unname.sh", "bake/bake.sh", "bake/clean.sh")
	if out, err := exec.Command("shellcheck", append([]string{"-x"}, scripts...)...).CombinedOutput(); err != nil {
		t.Errorf("shellcheck: %v\n%s", err, out)
	}
}

// The units that the recipe enables, orders and starts must be in it.
func TestRecipeNamesItsOwnFiles(t *testing.T) {
	read := func(path string) string {
		data, err := fs.ReadFile(recipe, path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	hostkeys := read("image/etc/systemd/system/labctl-hostkeys.service")
	for _, line := range []string{"Before=ssh.service\n", "ConditionFileNotEmpty=!/etc/ssh/ssh_host_ecdsa_key\n", "ExecStart=/usr/local/sbin/labctl-hostkeys\n", "RequiredBy=ssh.service\n"} {
		if !strings.Contains(hostkeys, line) {
			t.Errorf("labctl-hostkeys.service lacks %q", line)
		}
	}
	// Without it a power cut in the first half minute leaves empty keys.
	if makes := read("image/usr/local/sbin/labctl-hostkeys"); !strings.Contains(makes, "\n\tsync \"/etc/ssh/ssh_host_${kind}_key\"") {
		t.Errorf("labctl-hostkeys does not write the keys to the disk:\n%s", makes)
	}
	sshd := read("image/etc/ssh/sshd_config.d/labctl.conf")
	for _, kind := range []string{"ed25519", "ecdsa"} {
		if !strings.Contains(sshd, fmt.Sprintf("HostKey /etc/ssh/ssh_host_%s_key\n", kind)) {
			t.Errorf("sshd is not told of the %s key", kind)
		}
	}
	if want := "\nCiphers chacha20-poly1305@openssh.com,aes256-ctr,"; !strings.Contains(sshd, want) {
		t.Errorf("sshd is not told %q", want)
	}
	customize := read("scripts/customize.sh")
	for _, unit := range []string{"labctl-hostkeys.service", "labctl-resolv.path"} {
		if !strings.Contains(customize, unit) {
			t.Errorf("customize.sh does not enable %s", unit)
		}
		read("image/etc/systemd/system/" + unit)
	}
	label := "LABEL=labctl-root"
	for path, want := range map[string]string{
		"image/boot/extlinux/extlinux.conf": "root=" + label + " ",
		"image/etc/fstab":                   label + " / ext4 ",
		"scripts/pack.sh":                   "-L labctl-root ",
	} {
		if !strings.Contains(read(path), want) {
			t.Errorf("%s does not say %q", path, want)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
