package provision

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// aptSource is one entry of apt's source lists.
type aptSource struct {
	types, uris, suites, components []string
	signedBy                        string // path or, after a line break, a key
}

// parseList reads the one-line format of sources.list.
func parseList(text string) []aptSource {
	var out []aptSource
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		var s aptSource
		if i, j := strings.IndexByte(line, '['), strings.IndexByte(line, ']'); i >= 0 && j > i {
			for opt := range strings.FieldsSeq(line[i+1 : j]) {
				if v, ok := strings.CutPrefix(opt, "signed-by="); ok {
					s.signedBy = v
				}
			}
			line = line[:i] + line[j+1:]
		}
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		s.types, s.uris, s.suites, s.components = f[:1], f[1:2], f[2:3], f[3:]
		out = append(out, s)
	}
	return out
}

// parseDeb822 reads the paragraphs of a .sources file.
func parseDeb822(text string) []aptSource {
	var out []aptSource
	for _, p := range parseStanzas(text) {
		if strings.EqualFold(p["enabled"], "no") {
			continue
		}
		out = append(out, aptSource{
			types:      strings.Fields(p["types"]),
			uris:       strings.Fields(p["uris"]),
			suites:     strings.Fields(p["suites"]),
			components: strings.Fields(p["components"]),
			signedBy:   p["signed-by"],
		})
	}
	return out
}

// parseStanzas reads paragraphs of "Field: value" lines, as in apt's sources
// and in the descriptions of packages. Fields are in lower case; lines that
// continue a value keep their leading space.
func parseStanzas(text string) []map[string]string {
	var out []map[string]string
	var stanza map[string]string
	field := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \t\r\n")
		switch {
		case line == "":
			stanza = nil
		case line[0] == '#':
		case line[0] == ' ' || line[0] == '\t':
			if stanza != nil && field != "" {
				stanza[field] += "\n" + line
			}
		default:
			name, value, ok := strings.Cut(line, ":")
			if !ok {
				continue
			}
			if stanza == nil {
				stanza = map[string]string{}
				out = append(out, stanza)
			}
			field = strings.ToLower(name)
			stanza[field] = strings.TrimSpace(value)
		}
	}
	return out
}

// debianSources picks Debian's own entries and turns them to the wanted
// release. host is the code name of the host's release, for which apt's
// entries may also say "stable". An entry of somebody else who uses Debian's
// suite names shows by its key.
func debianSources(all []aptSource, host, release string) []aptSource {
	suites := map[string]string{}
	for _, suffix := range []string{"", "-updates", "-security", "/updates"} {
		for _, name := range []string{host, "stable", "oldstable"} {
			suites[name+suffix] = release + suffix
		}
	}
	var out []aptSource
	for _, s := range all {
		if !slices.Contains(s.types, "deb") || !slices.Contains(s.components, "main") {
			continue
		}
		if s.signedBy != "" && !strings.Contains(s.signedBy, "\n") && !strings.Contains(s.signedBy, "debian-archive") {
			continue
		}
		picked := aptSource{types: []string{"deb"}, components: []string{"main"}, signedBy: s.signedBy}
		for _, uri := range s.uris {
			if !strings.HasPrefix(uri, "cdrom:") {
				picked.uris = append(picked.uris, uri)
			}
		}
		for _, suite := range s.suites {
			if as := suites[suite]; as != "" && !slices.Contains(picked.suites, as) {
				picked.suites = append(picked.suites, as)
			}
		}
		if len(picked.uris) > 0 && len(picked.suites) > 0 {
			out = append(out, picked)
		}
	}
	return out
}

// deb822 writes the entries as a .sources file.
func deb822(sources []aptSource) string {
	var b strings.Builder
	for _, s := range sources {
		fmt.Fprintf(&b, "Types: %s\nURIs: %s\nSuites: %s\nComponents: %s\n", strings.Join(s.types, " "),
			strings.Join(s.uris, " "), strings.Join(s.suites, " "), strings.Join(s.components, " "))
		if s.signedBy != "" {
			fmt.Fprintf(&b, "Signed-By: %s\n", s.signedBy)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// aptConf is the whole configuration of an apt that keeps its state in dir,
// believes that nothing is installed, and reaches its mirrors as the host's
// apt does: of the host's own settings (the output of apt-config dump) only
// those for fetching are kept, no hooks and no pins.
func aptConf(dir, hostDump string) string {
	var b strings.Builder
	for _, kv := range [][2]string{
		{"Dir::State", dir + "/state"},
		{"Dir::State::status", dir + "/status"},
		{"Dir::Cache", dir + "/cache"},
		{"Dir::Etc::main", "/dev/null"},
		{"Dir::Etc::parts", dir + "/none"},
		{"Dir::Etc::sourcelist", dir + "/debian.sources"},
		{"Dir::Etc::sourceparts", dir + "/none"},
		{"Dir::Etc::preferences", dir + "/preferences"},
		{"Dir::Etc::preferencesparts", dir + "/none"},
		{"Acquire::Languages", "none"},
		{"Acquire::Retries", "3"},
		{"APT::Install-Recommends", "false"},
	} {
		fmt.Fprintf(&b, "%s %q;\n", kv[0], kv[1])
	}
	for line := range strings.Lines(hostDump) {
		for _, prefix := range []string{"Acquire::http", "Acquire::ftp", "Acquire::Check-", "Acquire::ForceIP", "Acquire::Max-"} {
			// A key without a value only opens a list.
			if strings.HasPrefix(line, prefix) && !strings.HasSuffix(strings.TrimSpace(line), ` "";`) {
				b.WriteString(line)
			}
		}
	}
	return b.String()
}

var instLine = regexp.MustCompile(`^Inst (\S+) \((\S+) .*\[(\S+)\]\)`)

// parseInst reads what `apt-get --simulate install` would install, as
// "name=version".
func parseInst(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if m := instLine.FindStringSubmatch(line); m != nil {
			out = append(out, m[1]+"="+m[2])
		}
	}
	slices.Sort(out)
	return out
}

// parsePackages reads the output of apt-cache show into packages by
// "name=version".
func parsePackages(text string) (map[string]Package, error) {
	out := map[string]Package{}
	for _, s := range parseStanzas(text) {
		p := Package{Name: s["package"], Version: s["version"], Arch: s["architecture"], SHA256: s["sha256"]}
		var err error
		if p.Size, err = strconv.ParseInt(s["size"], 10, 64); err != nil {
			return nil, fmt.Errorf("size of package %s: %w", p.Name, err)
		}
		if p.InstalledKB, err = strconv.ParseInt(s["installed-size"], 10, 64); err != nil {
			p.InstalledKB = p.Size / 1024 * 4 // the field is optional
		}
		// As apt-get download names it.
		p.File = p.Name + "_" + strings.ReplaceAll(p.Version, ":", "%3a") + "_" + p.Arch + ".deb"
		p.Depends = append(splitList(s["pre-depends"]), splitList(s["depends"])...)
		for _, provided := range splitList(s["provides"]) {
			p.Provides = append(p.Provides, alternatives(provided)[0])
		}
		out[p.Name+"="+p.Version] = p
	}
	return out, nil
}

func splitList(s string) []string {
	var out []string
	for item := range strings.SplitSeq(strings.ReplaceAll(s, "\n", " "), ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}
