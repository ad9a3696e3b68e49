package provision

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"labctl/internal/remote"
)

// hostProbe prints what the host's apt is told, in sections that begin with
// the byte 036.
const hostProbe = `
section() { printf '\036%s\n' "$1"; }
section os; cat /etc/os-release 2>/dev/null || :
command -v apt-get >/dev/null && command -v dpkg >/dev/null || exit 0
section arch; dpkg --print-architecture
section config; apt-config dump
section keyring; ls /usr/share/keyrings/debian-archive-keyring.gpg 2>/dev/null || :
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
	if [ -r "$file" ]; then section list; cat "$file"; fi
done
for file in /etc/apt/sources.list.d/*.sources; do
	if [ -r "$file" ]; then section sources; cat "$file"; fi
done
`

// host is what is known of the machine that builds the bundle.
type host struct {
	id, codename, arch, config, keyring string
	sources                             []aptSource
}

func probeHost(ctx context.Context, r remote.Runner) (host, error) {
	var h host
	res, err := remote.Check(ctx, r, "host", remote.Script(hostProbe))
	if err != nil {
		return h, err
	}
	for part := range strings.SplitSeq(res.Stdout, "\036") {
		name, text, _ := strings.Cut(part, "\n")
		switch name {
		case "os":
			for line := range strings.Lines(text) {
				key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
				value = strings.Trim(value, `"'`)
				switch key {
				case "ID":
					h.id = value
				case "VERSION_CODENAME":
					h.codename = value
				}
			}
		case "arch":
			h.arch = strings.TrimSpace(text)
		case "config":
			h.config = text
		case "keyring":
			h.keyring = strings.TrimSpace(text)
		case "list":
			h.sources = append(h.sources, parseList(text)...)
		case "sources":
			h.sources = append(h.sources, parseDeb822(text)...)
		}
	}
	return h, nil
}

// ErrNotDebian is a host that cannot build a bundle.
var ErrNotDebian = errors.New("a bundle is made of Debian's packages with Debian's apt; docker.source = \"apt\" needs no bundle")

// sources are the apt sources to build from.
func (o BundleOptions) sources(h host) ([]aptSource, error) {
	system := h.id
	if system == "" {
		system = "an unknown system"
	}
	if h.arch == "" || (h.id != "debian" && (o.Mirror == "" || o.Release == "" || o.Release == h.codename)) {
		return nil, fmt.Errorf("this machine runs %s: %w", system, ErrNotDebian)
	}
	if o.Release == "" {
		return nil, errors.New("this machine's Debian has no release name in /etc/os-release: set box.release")
	}
	if o.Mirror != "" {
		return []aptSource{{
			types: []string{"deb"}, uris: []string{o.Mirror}, suites: []string{o.Release},
			components: []string{"main"}, signedBy: h.keyring,
		}}, nil
	}
	sources := debianSources(h.sources, h.codename, o.Release)
	if len(sources) == 0 {
		return nil, fmt.Errorf("no entry for Debian %s in this machine's /etc/apt/sources.list or sources.list.d: set box.mirror", h.codename)
	}
	return sources, nil
}
