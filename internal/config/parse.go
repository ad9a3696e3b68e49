package config

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"

	"github.com/BurntSushi/toml"
)

// maxFile bounds the size of a lab.toml, in bytes.
const maxFile = 128 << 10

// Parse reads the lab.toml src, whose name for messages is file, fills in the
// defaults and checks the whole. An empty src gives the same as Default.
//
// The error is an *Errors with every problem of the file, in the order of its
// lines; a syntax error is alone, since nothing behind it can be trusted. The
// warnings are what works but may surprise; they come with or without an error.
func Parse(file string, src []byte) (lab *Lab, warnings []Problem, err error) {
	s := &source{file: file}
	if len(src) > maxFile {
		return nil, nil, &Errors{Problems: []Problem{{File: file, Message: fmt.Sprintf("is larger than %d KiB", maxFile>>10), Hint: "is it a lab.toml?"}}}
	}
	var values map[string]any
	if _, err := toml.Decode(string(src), &values); err != nil {
		return nil, nil, &Errors{Problems: []Problem{syntaxProblem(file, err)}}
	}
	s.lines = keyLines(src)

	f := readFile(&table{src: s, values: values})
	lab = f.lab(s)
	validate(s, f, lab)
	warnings = sortProblems(s.warnings)
	if len(s.problems) > 0 {
		return nil, warnings, &Errors{Problems: sortProblems(s.problems)}
	}
	return lab, warnings, nil
}

func syntaxProblem(file string, err error) Problem {
	p := Problem{File: file, Message: "not TOML: " + err.Error()}
	var syntax toml.ParseError
	if errors.As(err, &syntax) {
		p.Line = max(0, syntax.Position.Line)
		if syntax.Message != "" {
			p.Message = "not TOML: " + syntax.Message
		}
	}
	return p
}

// file is a lab.toml as it was written, before defaults. Values that could
// not be read are left at zero.
type file struct {
	name, artifacts   string
	provider          Provider
	acceleration      Acceleration
	subnet            netip.Prefix
	workers, managers *int
	cpus, memory      int
	box               Box
	ssh               SSH
	libvirt           Place
	nodes             []Node
	docker            Docker
	swarm             Swarm
	scenario          map[string]map[string]string
}

func readFile(t *table) *file {
	f := &file{
		artifacts: defaultArtifacts, name: defaultName,
		cpus: defaultCPUs, memory: defaultMemoryMB,
	}
	t.text("name", &f.name)
	word(t, "provider", &f.provider, Auto, VirtualBox, Libvirt, Embedded, Existing)
	word(t, "acceleration", &f.acceleration, AccelAuto, AccelKVM, AccelTCG)
	var subnet string
	if t.text("subnet", &subnet) {
		f.subnet = network(t.src, t.key("subnet"), subnet, "192.168.33.0/24")
	}
	t.text("artifacts", &f.artifacts)
	f.workers = count(t, "workers")
	f.managers = count(t, "managers")
	t.number("cpus", &f.cpus)
	t.number("memory", &f.memory)
	readBox(t.table("box"), &f.box)
	readSSH(t.table("ssh"), &f.ssh)
	readLibvirt(t.table("libvirt"), &f.libvirt)
	for _, n := range t.tables("nodes") {
		f.nodes = append(f.nodes, readNode(n))
	}
	readDocker(t.table("docker"), &f.docker)
	readSwarm(t.table("swarm"), &f.swarm)
	f.scenario = readScenarios(t.table("scenario"))
	t.end()
	return f
}

func readBox(t *table, b *Box) {
	t.text("name", &b.Name)
	t.text("version", &b.Version)
	t.text("url", &b.URL)
	t.text("release", &b.Release)
	t.text("mirror", &b.Mirror)
	t.end()
}

func readSSH(t *table, s *SSH) {
	readLogin(t, &s.Login)
	t.text("config", &s.Config)
	t.text("known-hosts", &s.KnownHosts)
	t.end()
}

func readLibvirt(t *table, p *Place) {
	t.text("uri", &p.URI)
	t.text("bridge", &p.Bridge)
	t.end()
}

func readLogin(t *table, l *Login) {
	t.text("user", &l.User)
	t.number("port", &l.Port)
	t.text("key", &l.Key)
	t.text("jump", &l.Jump)
}

func readNode(t *table) Node {
	var n Node
	var ip string
	t.text("name", &n.Name)
	word(t, "role", &n.Role, Manager, Worker)
	if t.text("ip", &ip) {
		addr, err := netip.ParseAddr(ip)
		if err == nil && addr.Is4() {
			n.IP = addr
		} else {
			t.src.wrong(t.key("ip"), "write it like 192.168.33.11", "%q is no IPv4 address", ip)
		}
	}
	t.number("cpus", &n.CPUs)
	t.number("memory", &n.MemoryMB)
	t.text("address", &n.Address)
	readLogin(t, &n.Login)
	t.text("uri", &n.URI)
	t.text("bridge", &n.Bridge)
	var subnet string
	if t.text("subnet", &subnet) {
		n.Subnet = network(t.src, t.key("subnet"), subnet, "192.168.34.0/24")
	}
	t.end()
	return n
}

func readDocker(t *table, d *Docker) {
	word(t, "source", &d.Source, SourceAuto, SourceBundle, SourceApt, SourceUpstream)
	t.text("version", &d.Version)
	t.text("registry-mirror", &d.RegistryMirror)
	t.text("proxy", &d.Proxy)
	t.end()
}

func readSwarm(t *table, s *Swarm) {
	s.SubnetSize = defaultSubnetSize
	for i, text := range t.texts("default-address-pool") {
		p := network(t.src, fmt.Sprintf("%s[%d]", t.key("default-address-pool"), i), text, "10.20.0.0/16")
		s.DefaultAddressPool = append(s.DefaultAddressPool, p)
	}
	t.number("subnet-size", &s.SubnetSize)
	port := defaultDataPathPort
	if t.number("data-path-port", &port) {
		port = checkDataPathPort(t.src, t.key("data-path-port"), port)
	}
	s.DataPathPort = uint16(port)
	t.end()
}

// readScenarios returns nil if nothing is overridden, as Default does.
func readScenarios(t *table) map[string]map[string]string {
	var all map[string]map[string]string
	for _, name := range slices.Sorted(maps.Keys(t.values)) {
		one := t.table(name)
		params := map[string]string{}
		for _, key := range slices.Sorted(maps.Keys(one.values)) {
			switch v := one.values[key].(type) {
			case string:
				params[key] = v
			case int64:
				params[key] = strconv.FormatInt(v, 10)
			case bool:
				params[key] = strconv.FormatBool(v)
			default:
				t.src.wrong(one.key(key), "", "must be text, a whole number, true or false, not %s", describe(v))
			}
		}
		if len(params) == 0 {
			continue
		}
		if all == nil {
			all = map[string]map[string]string{}
		}
		all[name] = params
	}
	return all
}

// word reads one of a few fixed words.
func word[T ~string](t *table, name string, to *T, words ...T) {
	var text string
	if !t.text(name, &text) {
		return
	}
	if slices.Contains(words, T(text)) {
		*to = T(text)
		return
	}
	known := make([]string, len(words))
	for i, w := range words {
		known[i] = string(w)
	}
	hint := didYouMean(text, known)
	if hint == "" {
		hint = "choose one of " + joinWords(known)
	}
	t.src.wrong(t.key(name), hint, "unknown %s %q", name, text)
}

// count reads the workers or managers shorthand; nil if it is not there.
func count(t *table, name string) *int {
	var n int
	if !t.number(name, &n) {
		return nil
	}
	least := 0
	if name == "managers" {
		least = 1
	}
	if n < least || n > maxNodes {
		t.src.wrong(t.key(name), "", "%d is not between %d and %d", n, least, maxNodes)
		return nil
	}
	return &n
}

// network reads an IPv4 network, written like example; the zero Prefix if text
// is none.
func network(s *source, key, text, example string) netip.Prefix {
	p, err := netip.ParsePrefix(text)
	if err != nil || !p.Addr().Is4() {
		s.wrong(key, "write it like "+example, "%q is no IPv4 network", text)
		return netip.Prefix{}
	}
	if p != p.Masked() {
		s.wrong(key, fmt.Sprintf("write %s", p.Masked()), "%s is an address inside a network", text)
	}
	return p.Masked()
}
