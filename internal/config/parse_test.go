package config

import (
	"bytes"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var cmpNet = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

func mustParse(t *testing.T, src string) *Lab {
	t.Helper()
	lab, _, err := Parse("lab.toml", []byte(src))
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	return lab
}

func TestDefaultIsTheSeedsLab(t *testing.T) {
	want := &Lab{
		Name: "lab", Provider: Auto, Acceleration: AccelAuto,
		Subnet: netip.MustParsePrefix("192.168.33.0/24"),
		Nodes: []Node{
			{Name: "docker1", Role: Manager, IP: netip.MustParseAddr("192.168.33.11"), CPUs: 1, MemoryMB: 1024},
			{Name: "docker2", Role: Worker, IP: netip.MustParseAddr("192.168.33.12"), CPUs: 1, MemoryMB: 1024},
		},
		Docker:    Docker{Source: SourceAuto},
		Swarm:     Swarm{SubnetSize: 24, DataPathPort: 4789},
		Artifacts: "artifacts",
	}
	for name, got := range map[string]*Lab{
		"Default":         Default(),
		"empty file":      mustParse(t, ""),
		"only nodes":      mustParse(t, "[[nodes]]\nname = \"docker1\"\n[[nodes]]\nname = \"docker2\"\n"),
		"unnamed nodes":   mustParse(t, "nodes = [{}, {}]"),
		"written by init": mustParse(t, string(Template())),
	} {
		if diff := cmp.Diff(want, got, cmpNet); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestEveryKey(t *testing.T) {
	got := mustParse(t, `
name = "class-7"
provider = "embedded"
acceleration = "tcg"
subnet = "10.44.0.0/16"
artifacts = "evidence/today"
cpus = 2
memory = 2048

[box]
name = "debian/bookworm64"
version = "12.1"
url = "file:///srv/my boxes/b.box"
release = "bookworm"
mirror = "https://mirror.example/debian"

[[nodes]]
name = "m1"
role = "manager"
ip = "10.44.3.4"
cpus = 4
memory = 4096

[[nodes]]
role = "worker"

[docker]
source = "apt"
version = "20.10.24+dfsg1-1"
registry-mirror = "https://registry.example:5000"
proxy = "http://user:secret@proxy.example:3128"

[swarm]
default-address-pool = ["10.20.0.0/16", "10.21.0.0/16"]
subnet-size = 25
data-path-port = 4790

[scenario.lb]
replicas = 6
service = "web"
keep = true
`)
	want := &Lab{
		Name: "class-7", Provider: Embedded, Acceleration: AccelTCG,
		Subnet: netip.MustParsePrefix("10.44.0.0/16"),
		Box: Box{"debian/bookworm64", "12.1", "file:///srv/my boxes/b.box",
			"bookworm", "https://mirror.example/debian"},
		Nodes: []Node{
			{Name: "m1", Role: Manager, IP: netip.MustParseAddr("10.44.3.4"), CPUs: 4, MemoryMB: 4096},
			{Name: "docker2", Role: Worker, IP: netip.MustParseAddr("10.44.0.11"), CPUs: 2, MemoryMB: 2048},
		},
		Docker: Docker{SourceApt, "20.10.24+dfsg1-1", "https://registry.example:5000",
			"http://user:secret@proxy.example:3128"},
		Swarm: Swarm{
			[]netip.Prefix{netip.MustParsePrefix("10.20.0.0/16"), netip.MustParsePrefix("10.21.0.0/16")}, 25, 4790},
		Scenario:  map[string]map[string]string{"lb": {"replicas": "6", "service": "web", "keep": "true"}},
		Artifacts: "evidence/today",
	}
	if diff := cmp.Diff(want, got, cmpNet); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCountingUp(t *testing.T) {
	tests := []struct{ name, src, want string }{
		{"workers", "workers = 3", "docker1 manager 192.168.33.11, docker2 worker 192.168.33.12, docker3 worker 192.168.33.13, docker4 worker 192.168.33.14"},
		{"managers", "managers = 3\nworkers = 0", "docker1 manager 192.168.33.11, docker2 manager 192.168.33.12, docker3 manager 192.168.33.13"},
		{"managers alone keep one worker", "managers = 1", "docker1 manager 192.168.33.11, docker2 worker 192.168.33.12"},
		{"past names and addresses of others",
			"nodes = [{}, {name = \"docker1\", ip = \"192.168.33.12\"}, {}, {name = \"docker3\", ip = \"192.168.33.11\"}]",
			"docker2 manager 192.168.33.13, docker1 worker 192.168.33.12, docker4 worker 192.168.33.14, docker3 worker 192.168.33.11"},
		{"a manager by name leaves the first a worker",
			"nodes = [{}, {role = \"manager\"}]", "docker1 worker 192.168.33.11, docker2 manager 192.168.33.12"},
		{"the first without a role leads",
			"nodes = [{role = \"worker\"}, {}, {}]", "docker1 worker 192.168.33.11, docker2 manager 192.168.33.12, docker3 worker 192.168.33.13"},
		{"a small subnet is filled from its start",
			"subnet = \"192.168.40.0/28\"\nworkers = 5",
			"docker1 manager 192.168.40.11, docker2 worker 192.168.40.12, docker3 worker 192.168.40.13, docker4 worker 192.168.40.14, docker5 worker 192.168.40.2, docker6 worker 192.168.40.3"},
		{"the smallest subnet", "subnet = \"192.168.40.8/29\"\nworkers = 4",
			"docker1 manager 192.168.40.10, docker2 worker 192.168.40.11, docker3 worker 192.168.40.12, docker4 worker 192.168.40.13, docker5 worker 192.168.40.14"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var nodes []string
			for _, n := range mustParse(t, tt.src).Nodes {
				nodes = append(nodes, n.Name+" "+string(n.Role)+" "+n.IP.String())
			}
			if diff := cmp.Diff(tt.want, strings.Join(nodes, ", ")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestFiveMistakesAreFiveMessages(t *testing.T) {
	src, err := os.ReadFile("testdata/five-mistakes.toml")
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = Parse("lab.toml", src)
	if err == nil {
		t.Fatal("no error")
	}
	golden := filepath.Join("testdata", "five-mistakes.txt")
	got := err.Error() + "\n"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := strings.Count(got, "\n"); n != 5 {
		t.Errorf("%d messages, want 5", n)
	}
}

// Every key that the template shows behind a "#" must be one that exists, with
// a value that passes.
func TestTemplateExamples(t *testing.T) {
	example := regexp.MustCompile(`(?m)^#([a-z-]+) = `)
	src := Template()
	found := example.FindAllSubmatchIndex(src, -1)
	if len(found) < 20 {
		t.Fatalf("only %d examples in lab.toml", len(found))
	}
	listed := regexp.MustCompile(`(?ms)^\[\[nodes\]\]\n.*?^\n`)
	for _, at := range found {
		name := string(src[at[2]:at[3]])
		one := append(bytes.Clone(src[:at[0]]), src[at[0]+1:]...)
		switch name {
		case "managers", "workers":
			one = listed.ReplaceAll(one, nil)
		case "url":
			one = bytes.Replace(one, []byte("#name = \"debian"), []byte("name = \"debian"), 1)
		}
		_, warnings, err := Parse("lab.toml", one)
		warnings = slices.DeleteFunc(warnings, func(p Problem) bool { return strings.HasPrefix(p.Key, "ssh.") || strings.HasPrefix(p.Key, "libvirt.") }) // for another provider
		if err != nil || len(warnings) > 0 {
			t.Errorf("with %s uncommented: %v %v", name, err, warnings)
		}
	}
	all := example.ReplaceAll(listed.ReplaceAll(src, nil), []byte("$1 = "))
	lab := mustParse(t, string(all))
	if lab.Scenario["lb"]["replicas"] != "6" || lab.Docker.Proxy == "" || len(lab.Nodes) != 4 {
		t.Errorf("with all uncommented: %+v", lab)
	}
}

func TestKeyLines(t *testing.T) {
	src := `# first
name = "x" # nodes = 3
"quoted.key" = '''
[not.a.table]
''''' # two quotes of its own
text = """\"""" # ends here
a.b.c = 1
list = [ # with a comment ]
  "one", "two",
  [3, { d = 4,
  e = 5 }],
]

[[nodes]]
ip = "1"
[nodes.extra]
deep = 1979-05-27 07:32:00
[[nodes]]
ip = "2"
[[nodes.disk]]
[[nodes.disk]]
size = 1
[ t . "u v" ]
w = true`
	want := map[string]int{
		"name": 2, `"quoted.key"`: 3, "text": 6, "a": 7, "a.b": 7, "a.b.c": 7,
		"list": 8, "list[0]": 9, "list[1]": 9, "list[2]": 10, "list[2][0]": 10,
		"list[2][1]": 10, "list[2][1].d": 10, "list[2][1].e": 11,
		"nodes": 14, "nodes[0]": 14, "nodes[0].ip": 15, "nodes[0].extra": 16, "nodes[0].extra.deep": 17,
		"nodes[1]": 18, "nodes[1].ip": 19, "nodes[1].disk": 20, "nodes[1].disk[0]": 20, "nodes[1].disk[1]": 21,
		"nodes[1].disk[1].size": 22, "t": 23, `t."u v"`: 23, `t."u v".w`: 24,
	}
	if diff := cmp.Diff(want, keyLines([]byte(src))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	crlf := strings.ReplaceAll(src, "\n", "\r\n")
	if diff := cmp.Diff(want, keyLines([]byte(crlf))); diff != "" {
		t.Errorf("with CR LF (-want +got):\n%s", diff)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(""))
	f.Add(Template())
	for _, name := range []string{"testdata/five-mistakes.toml"} {
		src, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	for _, tt := range problemTests {
		f.Add([]byte(tt.src))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		keyLines(src) // must end, even on what is no TOML
		lab, warnings, err := Parse("lab.toml", src)
		problems := warnings
		if err != nil {
			if lab != nil {
				t.Error("a lab beside an error")
			}
			found := err.(*Errors).Problems
			if len(found) == 0 {
				t.Error("an error without a problem")
			}
			problems = append(problems, found...)
		} else {
			seen := map[string]bool{}
			for _, n := range lab.Nodes {
				if n.Name == "" || !lab.Subnet.Contains(n.IP) || seen[n.Name] || seen[n.IP.String()] {
					t.Errorf("node %+v of %+v", n, lab)
				}
				seen[n.Name], seen[n.IP.String()] = true, true
			}
			if len(lab.Managers()) == 0 || lab.Swarm.DataPathPort < 1024 {
				t.Errorf("accepted: %+v", lab)
			}
		}
		for _, p := range problems {
			if p.Line < 0 || p.Line > bytes.Count(src, []byte("\n"))+1 || p.Message == "" || p.File != "lab.toml" {
				t.Errorf("problem %+v", p)
			}
		}
	})
}
