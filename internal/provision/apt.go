package provision

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// parseStanzas reads paragraphs of "Field: value" lines, as in the
// descriptions of packages. Fields are in lower case; lines that continue a
// value keep their leading space.
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
		if p.File != filepath.Base(p.File) || p.Size < 0 || p.InstalledKB < 0 {
			return nil, fmt.Errorf("package %q has the version %q, size %d and installed size %d", p.Name, p.Version, p.Size, p.InstalledKB)
		}
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
