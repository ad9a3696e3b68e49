package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Embedded is the engine that belongs to one lab. All that it has lies under
// Dir, so that removing Dir after Stop removes every VM, volume and network.
type Embedded struct {
	Dir string // .labctl/engine of the lab
	// Cache is a folder, shared by engines, for what libvirtd has found out of
	// this machine's QEMU: it takes more than a second at each start to find it
	// out anew. libvirtd sees by itself when that has become wrong. "" has it
	// kept in Dir.
	Cache string
}

// Status is what an engine says of itself.
type Status struct {
	Running   bool      `json:"running"`
	PID       int       `json:"pid,omitempty"`       // of its supervisor
	NetNS     string    `json:"netns,omitempty"`     // as /proc/PID/ns/net reads
	Started   time.Time `json:"started,omitzero"`    // UTC
	Processes []string  `json:"processes,omitempty"` // "PID name", of all that lives in it
	Dir       string    `json:"dir"`
}

// record is engine.json: written by the supervisor before it starts anything,
// so that whatever it leaves can be found, and removed when it ends.
type record struct {
	PID     int       `json:"pid"`
	NetNS   string    `json:"netns"`
	Outside string    `json:"outside"` // network namespace of the labctl that started it
	Started time.Time `json:"started"`
	Ready   bool      `json:"ready"` // libvirtd answers
}

// EnvInside is set for a labctl that runs inside the engine's namespaces; it
// holds the supervisor's process id.
const EnvInside = "LABCTL_ENGINE_PID"

// envOutside tells the supervisor in which network and mount namespace labctl
// was when it started it, so that it can be sure to be elsewhere.
const envOutside = "LABCTL_ENGINE_OUTSIDE"

// envCache tells the supervisor of Cache.
const envCache = "LABCTL_ENGINE_CACHE"

// NodesSocket is where the engine lends connections to the nodes, as seen from
// inside it; the folder lies in Dir. A path in Dir itself may be longer than
// the 107 bytes that a socket's may have.
const NodesSocket = "/run/libvirt/labctl-nodes"

// The state files inside Dir.
func (e Embedded) recordFile() string { return filepath.Join(e.Dir, "engine.json") }

// LogFile is where the supervisor, libvirtd and virtlogd write.
func (e Embedded) LogFile() string { return filepath.Join(e.Dir, "engine.log") }

// Exists says whether the lab ever started an engine that still has state.
func (e Embedded) Exists() bool {
	_, err := os.Stat(e.Dir)
	return err == nil
}

func (e Embedded) read() (record, bool, error) {
	var r record
	data, err := os.ReadFile(e.recordFile())
	if errors.Is(err, fs.ErrNotExist) {
		return r, false, nil
	}
	if err != nil {
		return r, false, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, false, fmt.Errorf("%s: %w", e.recordFile(), err)
	}
	return r, true, nil
}

func (e Embedded) write(r record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	tmp := e.recordFile() + ".new"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, e.recordFile())
}
