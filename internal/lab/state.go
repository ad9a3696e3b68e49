package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

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
	// Lab, Subnet and Nodes are what the VMs that stand were made with, which
	// lab.toml may not say any more. A lab of an older labctl has none of them.
	Lab    string       `json:"lab,omitempty"`
	Subnet netip.Prefix `json:"subnet,omitzero"`
	Nodes  []MadeNode   `json:"nodes,omitempty"`
	// SSH is how machines that labctl did not make were reached.
	SSH config.SSH `json:"ssh,omitzero"`
	// Outdated says that create has changed nodes since it took the snapshot
	// pristine. It is written before the change, so that a kill leaves it.
	Outdated bool `json:"outdated,omitempty"`

	mu   sync.Mutex // see Change
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

// Change changes the state and writes it. Steps that may run beside others do
// it so.
func (s *State) Change(change func(*State)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
	return s.Save()
}

// Save writes the state.
func (s *State) Save() error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(s.file, append(data, '\n'))
}
