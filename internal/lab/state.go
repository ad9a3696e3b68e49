package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"labctl/internal/config"
)

// State is state.json: only what cannot be asked for again.
type State struct {
	Schema int `json:"schema"`
	// Provider, Accel and CPU are what the lab was created on, so that a
	// VirtualBox installed later does not make a second lab of it.
	Provider config.Provider     `json:"provider,omitempty"`
	Accel    config.Acceleration `json:"acceleration,omitempty"`
	CPU      string              `json:"cpu,omitempty"`
	// Booting names the VMs that a `vagrant up` was making when the file was
	// written. A VM that Vagrant does not know is half-made if it stands
	// here, and a person's if it does not.
	Booting []string `json:"booting,omitempty"`
	// Former holds the swarm node ids of members that left.
	Former []string `json:"former,omitempty"`

	file string
}

// LoadState reads the state of the folder; one that is not there is empty.
func LoadState(stateDir string) (*State, error) {
	s := &State{Schema: 1, file: filepath.Join(stateDir, "state.json")}
	data, err := os.ReadFile(s.file)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("%s: %w", s.file, err)
	}
	return s, nil
}

// Save writes the state.
func (s *State) Save() error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(s.file, append(data, '\n'))
}

// Lock is the right to change a lab. The kernel frees it when its holder dies.
type Lock struct{ f *flock.Flock }

// holder is what the lock file says of who holds it.
type holder struct {
	PID     int       `json:"pid"`
	Command string    `json:"command"`
	Since   time.Time `json:"since"`
}

// LockedError is a lab that another labctl is changing.
type LockedError struct{ Holder string }

func (e *LockedError) Error() string { return "the lab is in use: " + e.Holder }

// Hint says what to do.
func (e *LockedError) Hint() string { return "wait until it has ended, then try again" }

// TakeLock takes the lab's lock for command, or returns a LockedError.
func TakeLock(stateDir, command string) (*Lock, error) {
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return nil, err
	}
	name := filepath.Join(stateDir, "lock")
	f := flock.New(name, flock.SetPermissions(0o600))
	ok, err := f.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock the lab: %w", err)
	}
	if !ok {
		var h holder
		who := "another labctl holds it"
		if data, err := os.ReadFile(name); err == nil && json.Unmarshal(data, &h) == nil && h.PID != 0 {
			who = fmt.Sprintf("`labctl %s` (pid %d) holds it since %s", h.Command, h.PID, h.Since.Local().Format(time.TimeOnly))
		}
		return nil, &LockedError{who}
	}
	data, err := json.Marshal(holder{os.Getpid(), strings.TrimSpace(command), time.Now()})
	if err == nil {
		// Not through a new name: the lock is on this very file. Windows
		// lets nobody write to a locked file; there it stays unnamed.
		if err = os.WriteFile(name, data, 0o600); runtime.GOOS == "windows" {
			err = nil
		}
	}
	if err != nil {
		_ = f.Unlock()
		return nil, fmt.Errorf("lock the lab: %w", err)
	}
	return &Lock{f}, nil
}

// Release gives the lock back.
func (l *Lock) Release() { _ = l.f.Unlock() }
