package existing

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"labctl/internal/remote"
)

// Made is what labctl notes on a machine, in /var/lib/labctl/made.json, so
// that destroy knows it from any other checkout, too.
type Made struct {
	Lab string `json:"lab"` // the name of the lab that has the machine
	// Docker says that labctl installed it.
	Docker bool `json:"docker"`
	// Swarm is the machine's node id in the swarm that labctl formed; Forming
	// from before until it is known; "" for none.
	Swarm string `json:"swarm,omitempty"`
	// Spare are the ids of containers, volumes and networks that were there
	// before the lab.
	Spare []string `json:"spare,omitempty"`
}

// Forming stands for a swarm that labctl was about to form or to join.
const Forming = "forming"

// Ours says whether the swarm in which the machine is the given node is
// labctl's.
func (m *Made) Ours(nodeID string) bool {
	return m != nil && m.Swarm != "" && (m.Swarm == Forming || m.Swarm == nodeID)
}

const file = "/var/lib/labctl/made.json"

// Facts are what a machine says of itself before labctl touches it.
type Facts struct {
	Hostname string
	Docker   bool // dockerd is installed
	// Swarm is the state of its engine's part in a swarm, "" without an engine
	// that answers; Node its id there, and Managers where that swarm's are.
	Swarm    string
	Node     string
	Managers []string
	Things   []string // ids of containers and networks, names of volumes
	Made     *Made    // nil: no labctl was here
}

// Foreign says whether the machine is in a swarm that is not labctl's.
func (f Facts) Foreign() bool {
	return f.Swarm != "" && f.Swarm != "inactive" && !f.Made.Ours(f.Node)
}

// look prints a line for each of the facts, then the note.
const look = `hostname
command -v dockerd >/dev/null && echo docker || echo none
docker info --format '{{.Swarm.LocalNodeState}} {{.Swarm.NodeID}}{{range .Swarm.RemoteManagers}} {{.Addr}}{{end}}' 2>/dev/null || echo
{ docker ps -aq --no-trunc; docker network ls -q --no-trunc; docker volume ls -q; } 2>/dev/null | tr '\n' ' ' || :
echo
cat ` + file + ` 2>/dev/null || :`

// Look asks a machine. The SSH user must be root, or sudo without a password.
func Look(ctx context.Context, r remote.Runner, node string) (Facts, error) {
	res, err := remote.Check(ctx, r, node, remote.Command{Argv: []string{"sudo", "-n", "sh", "-euc", look}})
	if err != nil {
		return Facts{}, &SudoError{Node: node, Err: err}
	}
	lines := strings.SplitN(res.Stdout, "\n", 5)
	if len(lines) < 5 {
		return Facts{}, fmt.Errorf("%s: unreadable answer %q", node, res.Stdout)
	}
	f := Facts{Hostname: lines[0], Docker: lines[1] == "docker", Things: strings.Fields(lines[3])}
	if words := strings.Fields(lines[2]); len(words) > 0 {
		f.Swarm = words[0]
		if len(words) > 1 {
			f.Node, f.Managers = words[1], words[2:]
		}
	}
	if text := strings.TrimSpace(lines[4]); text != "" {
		if err := json.Unmarshal([]byte(text), &f.Made); err != nil {
			return f, fmt.Errorf("%s: %s: %w", node, file, err)
		}
	}
	return f, nil
}

// SudoError is a machine on which the SSH user may not become root.
type SudoError struct {
	Node string
	Err  error
}

func (e *SudoError) Error() string {
	return fmt.Sprintf("%s: cannot look around as root: %v", e.Node, e.Err)
}
func (e *SudoError) Unwrap() error { return e.Err }

// Output returns what the machine said.
func (e *SudoError) Output() string {
	if out, ok := e.Err.(interface{ Output() string }); ok {
		return out.Output()
	}
	return ""
}

// Hint says what is needed.
func (e *SudoError) Hint() string {
	return "the SSH user needs sudo without a password there: a line `USER ALL=(ALL) NOPASSWD: ALL` in /etc/sudoers.d"
}

const note = `umask 077
mkdir -p /var/lib/labctl
cat >` + file + `.new
mv ` + file + `.new ` + file

// Write notes it on the machine.
func (m *Made) Write(ctx context.Context, r remote.Runner, node string) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = remote.Check(ctx, r, node, remote.Command{Argv: []string{"sudo", "-n", "sh", "-euc", note}, Stdin: strings.NewReader(string(data))})
	return err
}
