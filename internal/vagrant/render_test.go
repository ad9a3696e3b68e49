package vagrant

import (
	"bytes"
	"encoding/hex"
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/config"
)

var updateRender = flag.Bool("update", false, "rewrite the golden files")

func seedLab(t *testing.T, src string) *config.Lab {
	t.Helper()
	lab, _, err := config.Parse("lab.toml", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	return lab
}

var goldens = []struct {
	name string
	lab  string
	o    RenderOptions
}{
	{"virtualbox", "", RenderOptions{Provider: config.VirtualBox, LabID: "0123abcd", Version: "v1.2.3"}},
	{"libvirt", "workers = 2\nsubnet = \"10.44.0.0/16\"\nmemory = 2048\n[swarm]\ndefault-address-pool = [\"10.20.0.0/16\"]\n",
		RenderOptions{Provider: config.Libvirt, Version: "v1.2.3"}},
	{"libvirt-mixed", "provider = \"libvirt\"\n[libvirt]\nbridge = \"br-lab\"\n[[nodes]]\n[[nodes]]\nuri = \"qemu+ssh://class@two.example/system\"\nsubnet = \"192.168.40.0/22\"\n",
		RenderOptions{Provider: config.Libvirt, Accel: config.AccelKVM, CPU: "host", LabID: "0123abcd", Version: "v1.2.3"}},
	{"embedded-kvm", "", RenderOptions{Provider: config.Embedded, Accel: config.AccelKVM, Version: "v1.2.3",
		OwnNetwork: true, KeyFiles: []string{"/lab/.labctl/keys/lab", "/home/me/.vagrant.d/insecure_private_key"},
		BoxName: "labctl/bookworm-0123abcd", BoxURL: FileURL("/cache/my boxes/0123abcd.box")}},
	{"embedded-tcg", "name = \"class-7\"\n[[nodes]]\nname = \"m1\"\ncpus = 2\n[[nodes]]\nname = \"w1\"\nip = \"192.168.33.99\"\n",
		RenderOptions{Provider: config.Embedded, Accel: config.AccelTCG, Version: "v1.2.3",
			BoxName: "labctl/bookworm-0123abcd", BoxURL: FileURL("/cache/0123abcd.box"), ConsoleDir: "/lab/my lab/.labctl/logs"}},
}

func TestRenderGolden(t *testing.T) {
	for _, tt := range goldens {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Render(seedLab(t, tt.lab), tt.o)
			if err != nil {
				t.Fatal(err)
			}
			compareGolden(t, tt.name, got)
		})
	}
}

// Validation refuses such names long before; the Vagrantfile must not depend
// on it.
func nastyLab() (*config.Lab, RenderOptions) {
	lab := config.Default()
	lab.Name = `lab'; system('id'); '#{1}`
	lab.Nodes[0].Name = "docker\\' do |x|\nend\n__END__\n"
	lab.Nodes[1].Name = "ノード'\\"
	return lab, RenderOptions{
		Provider: config.Libvirt, Accel: config.AccelTCG,
		BoxName: `box'\`, BoxVersion: "1'\x00", BoxURL: `file:///a b/#{x}'.box`,
		Version: "v1\nsystem('id')\r\u2028x",
	}
}

func TestRenderNastyGolden(t *testing.T) {
	lab, o := nastyLab()
	got, err := Render(lab, o)
	if err != nil {
		t.Fatal(err)
	}
	compareGolden(t, "nasty", got)
	// Ruby sees the nodes under their names, whole, and nothing else runs.
	want := ""
	for _, n := range lab.Nodes {
		want += hex.EncodeToString([]byte(n.Name)) + "\n" + hex.EncodeToString([]byte(Mark(lab.Name, ""))) + "\n"
	}
	if out, ok := ruby(t, vagrantStub+string(got)); ok && out != want {
		t.Errorf("ruby defined %q, want %q", out, want)
	}
}

func compareGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	golden := filepath.Join("testdata", name+".Vagrantfile")
	if *updateRender {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", golden, diff)
	}
}

func TestRenderErrors(t *testing.T) {
	noNodes := config.Default()
	noNodes.Nodes = nil
	noSubnet := config.Default()
	noSubnet.Subnet = netip.Prefix{}
	tests := []struct {
		name string
		lab  *config.Lab
		o    RenderOptions
		want string
	}{
		{"auto", config.Default(), RenderOptions{Provider: config.Auto, BoxName: "b"},
			`render Vagrantfile: provider "auto" is not one that Vagrant can be told`},
		{"no box", config.Default(), RenderOptions{Provider: config.Embedded, Accel: config.AccelTCG},
			"render Vagrantfile: provider embedded needs a box name"},
		{"no acceleration", config.Default(), RenderOptions{Provider: config.Embedded, BoxName: "b"},
			`render Vagrantfile: acceleration "" is neither kvm nor tcg`},
		{"auto acceleration", config.Default(), RenderOptions{Provider: config.Libvirt, Accel: config.AccelAuto},
			`render Vagrantfile: acceleration "auto" is neither kvm nor tcg`},
		{"no nodes", noNodes, RenderOptions{Provider: config.VirtualBox}, "render Vagrantfile: the lab has no nodes"},
		{"no subnet", noSubnet, RenderOptions{Provider: config.VirtualBox},
			"render Vagrantfile: subnet invalid Prefix is no IPv4 network"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Render(tt.lab, tt.o)
			if err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestRenderBox(t *testing.T) {
	lab := seedLab(t, "[box]\nname = \"mine\"\nversion = \"2\"\nurl = \"https://boxes.example/mine.box\"\n")
	tests := []struct {
		name string
		o    RenderOptions
		want string
	}{
		{"of the lab", RenderOptions{}, "'mine'|'2'|'https://boxes.example/mine.box'"},
		{"of the caller, whole", RenderOptions{BoxName: "built"}, "'built'||"},
	}
	for _, tt := range tests {
		tt.o.Provider = config.VirtualBox
		out, err := Render(lab, tt.o)
		if err != nil {
			t.Fatal(err)
		}
		setting := func(name string) string {
			_, after, _ := strings.Cut(string(out), "config.vm."+name+" = ")
			value, _, _ := strings.Cut(after, "\n")
			return value
		}
		if got := setting("box") + "|" + setting("box_version") + "|" + setting("box_url"); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestConsoleIsLeftOutWhereItWouldBreak(t *testing.T) {
	for _, o := range []RenderOptions{
		{Provider: config.Libvirt, Accel: config.AccelKVM, ConsoleDir: "/logs"},
		{Provider: config.Embedded, Accel: config.AccelKVM, BoxName: "b", ConsoleDir: "/tom's & co"},
	} {
		out, err := Render(config.Default(), o)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(out, []byte("serial")) {
			t.Errorf("%+v: a serial console in\n%s", o, out)
		}
	}
}

func TestManagementSubnet(t *testing.T) {
	lab := func(name, subnet string, pools ...string) *config.Lab {
		l := config.Default()
		l.Name, l.Subnet = name, netip.MustParsePrefix(subnet)
		for _, p := range pools {
			l.Swarm.DefaultAddressPool = append(l.Swarm.DefaultAddressPool, netip.MustParsePrefix(p))
		}
		return l
	}
	tests := []struct {
		name string
		lab  *config.Lab
		p    config.Provider
		want string
	}{
		{"embedded", lab("lab", "192.168.33.0/24"), config.Embedded, "192.168.121.0/24"},
		{"embedded, taken by the subnet", lab("lab", "192.168.121.0/24"), config.Embedded, "192.168.244.0/24"},
		{"system", lab("lab", "192.168.33.0/24"), config.Libvirt, "192.168.244.0/24"},
		{"system, another lab", lab("class-7", "192.168.33.0/24"), config.Libvirt, "192.168.243.0/24"},
		{"system, taken by the subnet", lab("lab", "192.168.244.0/24"), config.Libvirt, "192.168.245.0/24"},
		{"taken by a pool", lab("lab", "192.168.33.0/24", "10.20.0.0/16", "192.168.240.0/21"), config.Libvirt, "192.168.248.0/24"},
		{"all taken by the subnet", lab("lab", "192.168.0.0/16"), config.Libvirt, "172.31.244.0/24"},
	}
	for _, tt := range tests {
		if got := ManagementSubnet(tt.lab, tt.p).String(); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestFileURL(t *testing.T) {
	for in, want := range map[string]string{
		"/cache/a.box":       "file:///cache/a.box",
		"/my boxes/100%.box": "file:///my%20boxes/100%25.box",
		"C:/boxes/a.box":     "file:///C:/boxes/a.box",
		"/ノード/#1?.box":       "file:///%E3%83%8E%E3%83%BC%E3%83%89/%231%3F.box",
	} {
		if got := FileURL(in); got != want {
			t.Errorf("FileURL(%q) = %s, want %s", in, got, want)
		}
	}
}

// The real Vagrant, with the real vagrant-libvirt, must take what is rendered.
func TestVagrantValidates(t *testing.T) {
	vagrant, err := exec.LookPath("vagrant")
	if err != nil {
		if os.Getenv("LABCTL_E2E") == "required" {
			t.Fatal("vagrant is not installed")
		}
		t.Skip("vagrant is not installed")
	}
	if testing.Short() {
		t.Skip("-short")
	}
	// One lab for each of the provider's parts keeps it at four calls.
	for _, tt := range goldens {
		if tt.name == "embedded-kvm" {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			out, err := Render(seedLab(t, tt.lab), tt.o)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "Vagrantfile"), out, 0o600); err != nil {
				t.Fatal(err)
			}
			args := []string{"validate"}
			if tt.o.Provider == config.VirtualBox || tt.name == "libvirt-mixed" {
				args = append(args, "--ignore-provider") // neither VirtualBox nor the other host is needed for it
			}
			cmd := exec.CommandContext(t.Context(), vagrant, args...)
			cmd.Env = append(slices.DeleteFunc(os.Environ(), func(kv string) bool {
				return strings.HasPrefix(kv, "VAGRANT_")
			}), "VAGRANT_HOME="+filepath.Join(dir, "home"), "VAGRANT_CWD="+dir, "VAGRANT_CHECKPOINT_DISABLE=1")
			said, err := cmd.CombinedOutput()
			if err != nil || !bytes.Contains(said, []byte("Vagrantfile validated successfully.")) {
				t.Errorf("vagrant validate: %v\n%s\n%s", err, said, out)
			}
		})
	}
}
