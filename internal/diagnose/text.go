package diagnose

import (
	"fmt"
	"io"
	"strings"
)

// WriteText writes the findings for people: what one sees, why, what proves
// it, and what to type.
func WriteText(w io.Writer, f Facts, found []Finding) error {
	var s strings.Builder
	for _, x := range found {
		s.WriteString(x.text())
		s.WriteByte('\n')
	}
	for _, n := range f.Nodes {
		if n.answered() && n.ProbeError != "" {
			fmt.Fprintf(&s, "not tried: ports from and to %s: %s\n", n.Name, oneLine(n.ProbeError))
		}
		if n.answered() && n.FirewallError != "" {
			fmt.Fprintf(&s, "not read: the firewall of %s: %s\n", n.Name, oneLine(n.FirewallError))
		}
	}
	if found == nil {
		services, overlays := 0, map[string]bool{}
		if f.Swarm != nil {
			services = len(f.Swarm.Services)
		}
		for _, n := range f.Nodes {
			for _, o := range n.Networks {
				if o.Scope == "swarm" {
					overlays[o.ID] = true
				}
			}
		}
		fmt.Fprintf(&s, "nothing wrong was found: %s, %s, %s\n", count(len(f.Nodes), "node"), count(len(overlays), "overlay network"), count(services, "service"))
	} else {
		fmt.Fprintf(&s, "%s\n", count(len(found), "finding"))
	}
	_, err := io.WriteString(w, s.String())
	return err
}

func (x Finding) text() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s: %s\n", x.Severity, x.ID)
	part := func(name, text string) {
		for i, line := range strings.Split(text, "\n") {
			if i > 0 {
				name = ""
			}
			fmt.Fprintf(&s, "  %-9s %s\n", name, line)
		}
	}
	part("symptom", x.Symptom)
	part("cause", x.Cause)
	if x.Evidence != nil {
		part("evidence", strings.Join(x.Evidence, "\n"))
	}
	part("remedy", x.Remedy)
	return s.String()
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
