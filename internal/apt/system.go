package apt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// OSRelease is the file in which a system says what it is.
const OSRelease = "/etc/os-release"

// System is what this host says of itself. The zero value is an unknown one.
type System struct {
	ID       string // such as "debian"
	Codename string // such as "bookworm"
	Pretty   string // for people
}

// ReadSystem reads an os-release file; a missing one gives the zero value.
func ReadSystem(file string) (System, error) {
	data, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return System{}, err
	}
	var s System
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.Trim(value, `"'`)
		switch key {
		case "ID":
			s.ID = value
		case "VERSION_CODENAME":
			s.Codename = value
		case "PRETTY_NAME":
			s.Pretty = value
		}
	}
	return s, nil
}

func (s System) debian() bool { return s.ID == "debian" && s.Codename != "" }

func (s System) notDebian(key string) error {
	name := s.Pretty
	if name == "" {
		name = "not Debian"
	}
	return &NotDebianError{Host: name, Key: key}
}

// Release returns the code name of the wanted release; wanted is lab.toml's,
// and "" means the host's, which then must be a Debian: see NotDebianError.
func (s System) Release(wanted string) (string, error) {
	if wanted == "" {
		if !s.debian() {
			return "", s.notDebian("box.release")
		}
		wanted = s.Codename
	}
	// Nothing but a plain word may get into paths and apt's sources.
	for _, r := range wanted {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') {
			return "", fmt.Errorf("%q is not the code name of a Debian release", wanted)
		}
	}
	return wanted, nil
}

// CanServe returns a NotDebianError if no mirror is named and the host's own
// settings say nothing about Debian.
func (s System) CanServe(mirror string) error {
	if mirror == "" && !s.debian() {
		return s.notDebian("box.mirror")
	}
	return nil
}

// NotDebianError is a host whose settings cannot be taken.
type NotDebianError struct {
	Host string // what the host calls itself
	Key  string // the key of lab.toml that has to be set
}

func (e *NotDebianError) Error() string {
	return fmt.Sprintf("this host is %s, so its apt settings say nothing about Debian", e.Host)
}

// Hint says what to set.
func (e *NotDebianError) Hint() string { return "set " + e.Key + " in lab.toml" }
