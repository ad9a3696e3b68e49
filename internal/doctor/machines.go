package doctor

import (
	"cmp"
	"strings"

	"labctl/internal/existing"
)

// Machine is what was learned of a machine that labctl did not make.
type Machine struct {
	Node  string
	Facts existing.Facts
	About existing.About
	Err   error // why it could not be looked at, or must not be touched
}

// What a machine should have: room for labctl's image and some containers,
// room for Docker as well, and memory.
const (
	machineSpare  = 64 * mib
	machineDocker = 600 * mib
	machineMemory = 400 * mib
)

func judgeMachines(f *Facts) []Finding {
	var out []Finding
	for _, m := range f.Machines {
		out = append(out, judgeMachine(m)...)
	}
	return out
}

func judgeMachine(m Machine) []Finding {
	if m.Err != nil {
		x := found(m.Node, Problem, "", "%s", strings.TrimPrefix(m.Err.Error(), m.Node+": "))
		if h, ok := m.Err.(interface{ Hint() string }); ok {
			x.Remedy = h.Hint()
		}
		x.Cause = m.Err
		return []Finding{x}
	}
	var out []Finding
	add := func(l Level, remedy, format string, args ...any) {
		out = append(out, found(m.Node, l, remedy, format, args...))
	}
	a, docker := m.About, m.Facts.Docker
	free, memory := a.FreeKB<<10, a.MemoryKB<<10
	system := cmp.Or(a.System, "an unknown system")
	switch {
	case !a.Systemd:
		add(Problem, "", "%s has no systemd, which starts Docker", system)
	case !docker && a.Installer == "":
		add(Problem, "install Docker there by hand", "%s is neither of Debian's nor of Red Hat's family: labctl cannot install Docker there", system)
	}
	const room = "make room on its disk"
	switch {
	case a.FreeKB == 0: // it did not say
	case free < machineSpare:
		add(Problem, room, "%s are free in /var/lib, %s are needed at least", size(free), size(machineSpare))
	case free < machineDocker && !docker:
		add(Warning, room, "%s are free in /var/lib, Docker takes up to %s", size(free), size(machineDocker))
	}
	if a.MemoryKB > 0 && memory < machineMemory {
		add(Warning, "", "it has %s of memory: too little for Docker and more than a few containers", size(memory))
	}
	if out == nil {
		has := map[bool]string{true: "has Docker", false: "no Docker yet"}[docker]
		add(OK, "", "%s, %s, %s of memory, %s are free, %s", system, a.Arch, size(memory), size(free), has)
	}
	return out
}
