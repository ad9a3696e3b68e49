package config

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

const (
	maxLabel    = 63 // of a DNS label
	maxLabName  = 40 // leaves room for a node's name in the names of VMs and networks
	maxCPUs     = 64
	minMemoryMB = 512
	maxMemoryMB = 1 << 20
)

// validate notes everything in the finished lab that cannot work, at the key
// that the file sets it with.
func validate(s *source, f *file, l *Lab) {
	checkLabel(s, "name", l.Name, maxLabName)
	checkLogins(s, f, l)
	checkHypervisors(s, f, l)
	checkShorthand(s, f)
	checkNumber(s, "cpus", f.cpus, maxCPUs)
	checkMemory(s, "memory", f.memory)
	checkNodes(s, f, l)
	checkRoles(s, l)
	if l.Provider == Existing {
		checkExisting(s, f, l)
	} else {
		checkSubnet(s, l, "subnet", l.Subnet)
		checkSubnets(s, f, l)
		checkAddresses(s, f, l)
	}
	checkPools(s, l)
	checkBox(s, &l.Box)
	checkDocker(s, &l.Docker)
	checkScenarios(s, l.Scenario)
	switch {
	case strings.TrimSpace(l.Artifacts) == "":
		s.wrong("artifacts", "name a folder, as in \"artifacts\"", "is empty")
	case strings.ContainsFunc(l.Artifacts, unprintable):
		s.wrong("artifacts", "", "holds a character that cannot be printed")
	case path.Clean(strings.ReplaceAll(l.Artifacts, `\`, "/")) == ".":
		s.wrong("artifacts", "name a folder of its own, as in \"artifacts\"", "is the folder of lab.toml itself")
	}
	if l.Provider == VirtualBox && l.Acceleration != AccelAuto {
		s.warn("acceleration", "", "has no effect with the provider virtualbox")
	}
}

// nodeKey is the path of a key of the i-th node.
func nodeKey(i int, name string) string { return fmt.Sprintf("nodes[%d].%s", i, name) }

func checkShorthand(s *source, f *file) {
	if len(f.nodes) == 0 {
		return
	}
	for _, key := range []string{"managers", "workers"} {
		if s.has(key) {
			s.wrong(key, "keep one of the two", "counts nodes up, but the file also lists them under nodes")
			break
		}
	}
	if len(f.nodes) > maxNodes {
		s.wrong("nodes", "", "%d nodes are more than %d", len(f.nodes), maxNodes)
	}
}

func checkNodes(s *source, f *file, l *Lab) {
	first := map[string]int{}
	for i, n := range f.nodes {
		if key := nodeKey(i, "name"); s.has(key) && !s.isWrong(key) {
			checkLabel(s, key, n.Name, maxLabel)
			if n.Name == "localhost" {
				s.wrong(key, "choose another name", "localhost is every node's name for itself")
			}
			if k, ok := first[n.Name]; ok && !s.isWrong(key) {
				s.wrong(key, "give each node its own name", "%q is already the name of nodes[%d]", n.Name, k)
			} else if !ok {
				first[n.Name] = i
			}
		}
		if key := nodeKey(i, "cpus"); s.has(key) {
			checkNumber(s, key, l.Nodes[i].CPUs, maxCPUs)
		}
		if key := nodeKey(i, "memory"); s.has(key) {
			checkMemory(s, key, l.Nodes[i].MemoryMB)
		}
	}
}

// checkRoles counts managers. Raft needs more than half of them to agree.
func checkRoles(s *source, l *Lab) {
	n := len(l.Managers())
	key := "managers"
	if !s.has(key) {
		key = "nodes"
	}
	switch {
	case n == 0:
		s.wrong(key, `give one node role = "manager"`, "no node is a manager")
	case n == 2:
		s.warn(key, "take 1 or 3", "2 managers tolerate no failure: without either of them the swarm cannot be managed")
	case n > 7:
		s.warn(key, "take 3, 5 or 7", "%d managers slow the swarm down; Docker advises at most 7", n)
	case n%2 == 0:
		s.warn(key, fmt.Sprintf("take %d or %d", n-1, n+1), "%d managers tolerate no more failures than %d", n, n-1)
	}
}

func checkNumber(s *source, key string, n, most int) {
	if (n < 1 || n > most) && !s.isWrong(key) {
		s.wrong(key, "", "%d is not between 1 and %d", n, most)
	}
}

func checkMemory(s *source, key string, mb int) {
	switch {
	case s.isWrong(key):
	case mb < minMemoryMB:
		s.wrong(key, "take 1024", "%d MiB is too little: Docker needs at least %d", mb, minMemoryMB)
	case mb > maxMemoryMB:
		s.wrong(key, "write it in MiB", "%d MiB is more than any host has", mb)
	}
}

func checkBox(s *source, b *Box) {
	checkPrintable(s, "box.name", b.Name)
	checkPrintable(s, "box.version", b.Version)
	if b.URL != "" {
		checkURL(s, "box.url", b.URL, "http", "https", "file")
		if b.Name == "" && !s.isWrong("box.name") {
			s.wrong("box.url", "set box.name too", "a box from a URL needs a name")
		}
	}
	checkPattern(s, "box.release", b.Release, releasePattern, "write it like bookworm")
	if b.Mirror != "" {
		checkURL(s, "box.mirror", b.Mirror, "http", "https", "file")
	}
}

func checkDocker(s *source, d *Docker) {
	checkPattern(s, "docker.version", d.Version, versionPattern, "write it as `apt-cache policy` shows it")
	if d.RegistryMirror != "" {
		checkURL(s, "docker.registry-mirror", d.RegistryMirror, "http", "https")
	}
	if d.Proxy != "" {
		checkURL(s, "docker.proxy", d.Proxy, "http", "https")
	}
}

var (
	releasePattern = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	// versionPattern is what a Debian package version may hold.
	versionPattern  = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.+~:-]*$`)
	scenarioPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)
	// paramPattern: a parameter becomes an environment variable.
	paramPattern = regexp.MustCompile(`^[a-z][a-z0-9_-]*$`)
)

func checkPattern(s *source, key, value string, pattern *regexp.Regexp, hint string) {
	if value != "" && !pattern.MatchString(value) {
		s.wrong(key, hint, "%q holds a character that it may not hold", value)
	}
}

func checkScenarios(s *source, all map[string]map[string]string) {
	for name, params := range all {
		table := joinKey("scenario", name)
		if !scenarioPattern.MatchString(name) {
			s.wrong(table, "write it like lb", "%q cannot be the name of a scenario", name)
			continue
		}
		for param, value := range params {
			key := joinKey(table, param)
			if !paramPattern.MatchString(param) {
				s.wrong(key, "use a-z, 0-9 and _", "%q cannot be the name of a parameter", param)
			} else if strings.ContainsRune(value, 0) {
				s.wrong(key, "", "holds a NUL character, which no environment variable can")
			}
		}
	}
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

func checkPrintable(s *source, key, value string) {
	if strings.ContainsFunc(value, unprintable) {
		s.wrong(key, "", "holds a character that cannot be printed")
	}
}

// checkURL never repeats the URL: a proxy's may hold a password.
func checkURL(s *source, key, text string, schemes ...string) {
	u, err := url.Parse(text)
	switch {
	case err != nil || strings.ContainsFunc(text, unprintable):
		s.wrong(key, "write it like https://mirror.example/debian", "is no URL")
	case !slices.Contains(schemes, u.Scheme):
		s.wrong(key, "begin it with "+joinWords(suffixed(schemes, "://")), "is no URL of a known kind")
	case u.Scheme == "file" && (u.Host != "" || !strings.HasPrefix(u.Path, "/") || u.Path == "/"):
		s.wrong(key, "write it like file:///srv/boxes/debian.box", "names no file by its absolute path")
	case u.Scheme != "file" && u.Hostname() == "":
		s.wrong(key, fmt.Sprintf("write it like %s://mirror.example", u.Scheme), "names no host")
	}
}

// checkLabel notes why name cannot be a DNS label; at most one reason.
func checkLabel(s *source, key, name string, most int) {
	if s.isWrong(key) {
		return
	}
	other := strings.IndexFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-')
	})
	switch {
	case name == "":
		s.wrong(key, "use a-z, 0-9 and -", "is empty")
	case len([]rune(name)) > most:
		s.wrong(key, fmt.Sprintf("at most %d are allowed", most), "is %d characters long", len([]rune(name)))
	case strings.Contains(name, "_"):
		s.wrong(key, fmt.Sprintf("write %q", strings.ReplaceAll(name, "_", "-")), `%q holds "_", which no host name may`, name)
	case name != strings.ToLower(name):
		s.wrong(key, fmt.Sprintf("write %q", strings.ToLower(name)), "%q holds capital letters", name)
	case other >= 0:
		s.wrong(key, "use a-z, 0-9 and -", "%q holds %q, which no host name may", name, []rune(name[other:])[0])
	case strings.HasPrefix(name, "-") || strings.HasSuffix(name, "-"):
		s.wrong(key, "begin and end it with a letter or digit", `%q begins or ends with "-"`, name)
	}
}

func suffixed(words []string, suffix string) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = w + suffix
	}
	return out
}

// joinWords writes a, b or c.
func joinWords(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}
