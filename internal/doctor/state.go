package doctor

import (
	"fmt"
	"time"
)

func judgeState(f *Facts) []Finding {
	s := f.State
	var out []Finding
	if s.Unwritable != "" {
		out = append(out, found("state", Problem, "put lab.toml into a folder of your own", "%s cannot be written: %s", s.Path, s.Unwritable))
	}
	if s.NoLocks != "" {
		out = append(out, found("state", Problem, "put the lab's folder on a local disk", "files cannot be locked in %s: %s", s.Path, s.NoLocks))
	}
	if s.Kind != "" {
		out = append(out, found("state", Warning, "put the lab's folder on a local disk", "%s lies on %s, which keeps neither rights nor locks as a local disk does", s.Path, s.Kind))
	}
	if s.Exists && s.Owner >= 0 && s.Self >= 0 && s.Owner != s.Self {
		remedy := "run labctl as that user"
		if s.Owner == 0 {
			remedy = "run labctl as root (sudo)"
		} else if s.Self == 0 {
			remedy = "run labctl as that user, without sudo"
		}
		out = append(out, found("state", Problem, remedy, "%s belongs to user %d, and you are user %d", s.Path, s.Owner, s.Self))
	}
	if s.Exists && s.Mode&0o077 != 0 {
		x := found("state", Warning, fmt.Sprintf("chmod 700 %s", s.Path), "%s has mode %04o: others can reach the keys in it", s.Path, s.Mode)
		x.Fix = &Fix{Text: fmt.Sprintf("set mode 0700 on %s", s.Path), Private: s.Path}
		out = append(out, x)
	}
	if out == nil {
		word := "can be made"
		if s.Exists {
			word = "is yours alone"
		}
		out = append(out, fine("state", "%s %s", s.Path, word))
	}
	return out
}

// youngest is a year before that of any clock that is right.
const youngest = 2025

// clockSlack is what two clocks on one machine may differ by: files on a
// network's disk have its time.
const clockSlack = 2 * time.Minute

func judgeClock(f *Facts) []Finding {
	const remedy = "set the clock, for instance with `sudo timedatectl set-ntp true`"
	now := f.Now
	switch {
	case now.Year() < youngest || now.Year() > 2200:
		return []Finding{found("clock", Problem, remedy, "the clock of this host says %s: certificates of swarm and registries will not be valid", now.UTC().Format(time.DateOnly))}
	case !f.State.Newest.IsZero() && f.State.Newest.After(now.Add(clockSlack)):
		return []Finding{found("clock", Warning, remedy, "%s was written %v after what the clock of this host says now: has it gone back?", f.State.NewestFile, f.State.Newest.Sub(now).Round(time.Second))}
	}
	return []Finding{fine("clock", "%s", now.UTC().Format("2006-01-02 15:04 MST"))}
}
