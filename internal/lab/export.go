package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"labctl/internal/config"
	"labctl/internal/export"
	"labctl/internal/remote"
)

// Exports are the things outside the state folder that `labctl export
// --install` made and destroy takes away; "" for none.
type Exports struct {
	SSHConfig     string `json:"ssh_config,omitempty"`     // the file that includes ours
	DockerContext string `json:"docker_context,omitempty"` // its name
	AnsibleConfig string `json:"ansible_config,omitempty"` // the file
}

func (e *Env) exportsFile() string { return filepath.Join(e.StateDir(), "exports.json") }

// SSHConfigFile is where the lab's OpenSSH configuration lies.
func (e *Env) SSHConfigFile() string { return filepath.Join(e.StateDir(), "ssh_config") }

func (e *Env) inventoryFile() string { return filepath.Join(e.StateDir(), "ansible.yml") }

func (e *Env) readExports() (Exports, error) {
	var x Exports
	data, err := os.ReadFile(e.exportsFile())
	if errors.Is(err, fs.ErrNotExist) {
		return x, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &x)
	}
	if err != nil {
		return x, fmt.Errorf("%s: %w", e.exportsFile(), err)
	}
	return x, nil
}

func (e *Env) changeExports(change func(*Exports)) error {
	x, err := e.readExports()
	if err != nil {
		return err
	}
	change(&x)
	data, err := json.Marshal(x)
	if err != nil {
		return err
	}
	return writeFile(e.exportsFile(), data)
}

// Export describes the lab to other programs, and writes its OpenSSH
// configuration, which all of them go by. configFile is the lab.toml. A node
// may be off, if it was connected to before.
func (e *Env) Export(ctx context.Context, configFile string) (export.Lab, error) {
	l := export.Lab{Name: e.Lab.Name, KnownHosts: e.knownHosts()}
	for _, n := range e.Lab.Nodes {
		ep, ok := e.remembered(n)
		if !ok || e.existing() {
			c, err := e.Connect(ctx, n, func(string) {}) // which pins the host key, too
			if err != nil {
				return l, &StepError{Step: "connect", Node: n.Name, Err: err}
			}
			ep = c.Endpoint()
		}
		l.Nodes = append(l.Nodes, ep)
	}
	if e.Choice.Provider == config.Embedded {
		// Its network is out of reach without labctl.
		exe, err := os.Executable()
		if err != nil {
			return l, err
		}
		l.Proxy = []string{exe, "--config", configFile, "export", "connect"}
	}
	return l, writeFile(e.SSHConfigFile(), []byte(l.SSHConfig()))
}

// Pipe connects in and out with a node's SSH server, until that one ends.
func (e *Env) Pipe(ctx context.Context, n config.Node, in io.Reader, out io.Writer) error {
	conn, err := e.dialTCP(ctx, n)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	go func() {
		_, _ = io.Copy(conn, in)
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	}()
	_, err = io.Copy(out, conn)
	return err
}

// dialTCP connects to where the node answered last time, else to where Vagrant
// says that it is.
func (e *Env) dialTCP(ctx context.Context, n config.Node) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	dial := func(ep remote.Endpoint) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(ep.Host, strconv.Itoa(ep.Port)))
	}
	if ep, ok := e.remembered(n); ok {
		if conn, err := dial(ep); err == nil {
			return conn, nil
		}
	}
	ep, err := e.endpoint(ctx, n, func(string) {})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", n.Name, err)
	}
	conn, err := dial(ep)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", n.Name, err)
	}
	e.remember(n, ep)
	return conn, nil
}

// InstallSSH has OpenSSH's configuration in user, a file, include the lab's.
func (e *Env) InstallSSH(user string) error {
	x, err := e.readExports()
	if err != nil {
		return err
	}
	if x.SSHConfig != "" && x.SSHConfig != user {
		if err := e.editSSH(x.SSHConfig, export.Exclude); err != nil {
			return err
		}
	}
	// Noted first: what is noted and not there is no harm.
	if err := e.changeExports(func(x *Exports) { x.SSHConfig = user }); err != nil {
		return err
	}
	return e.editSSH(user, func(text, file string) string { return export.Include(text, file, e.Lab.Name) })
}

// editSSH changes the file user, if that changes anything.
func (e *Env) editSSH(user string, edit func(text, file string) string) error {
	mode := fs.FileMode(0o600)
	if info, err := os.Stat(user); err == nil {
		mode = info.Mode().Perm()
	}
	// A link of the user's stays one.
	if target, err := filepath.EvalSymlinks(user); err == nil {
		user = target
	}
	data, err := os.ReadFile(user)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text := edit(string(data), e.SSHConfigFile())
	if text == string(data) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(user), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(user+".labctl", []byte(text), mode); err != nil {
		return err
	}
	return os.Rename(user+".labctl", user)
}

// InstallAnsible writes the inventory, and beside lab.toml an ansible.cfg that
// names it. One that a person wrote is left alone, with an error.
func (e *Env) InstallAnsible(l export.Lab) (file string, err error) {
	if err := writeFile(e.inventoryFile(), []byte(l.Ansible(e.SSHConfigFile()))); err != nil {
		return "", err
	}
	file = filepath.Join(e.Dir, "ansible.cfg")
	text := export.AnsibleConfig(e.inventoryFile())
	data, err := os.ReadFile(file)
	switch {
	case err == nil && string(data) == text:
	case err == nil:
		return "", &AnsibleConfigError{File: file, Inventory: e.inventoryFile()}
	case !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	if err := e.changeExports(func(x *Exports) { x.AnsibleConfig = file }); err != nil {
		return "", err
	}
	return file, os.WriteFile(file, []byte(text), 0o644)
}

// AnsibleConfigError is an ansible.cfg that labctl did not write.
type AnsibleConfigError struct{ File, Inventory string }

func (e *AnsibleConfigError) Error() string { return e.File + " is there and not labctl's" }

// Hint says how to have both.
func (e *AnsibleConfigError) Hint() string {
	return "set in it, under [defaults]: inventory = " + e.Inventory
}

// RemoveExports takes away what was installed. What somebody has removed or
// replaced meanwhile is no error.
func (e *Env) RemoveExports(ctx context.Context) error {
	x, err := e.readExports()
	if err != nil {
		return err
	}
	if x.DockerContext != "" {
		if err := e.removeContext(ctx, x.DockerContext); err != nil {
			return err
		}
	}
	if x.SSHConfig != "" {
		if err := e.editSSH(x.SSHConfig, export.Exclude); err != nil {
			return err
		}
	}
	if data, err := os.ReadFile(x.AnsibleConfig); err == nil && string(data) == export.AnsibleConfig(e.inventoryFile()) {
		if err := os.Remove(x.AnsibleConfig); err != nil {
			return err
		}
	}
	if err := os.Remove(e.exportsFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func removeExports(ctx context.Context, e *Env, _ func(string)) (bool, error) {
	_, err := os.Stat(e.exportsFile())
	return err == nil, e.RemoveExports(ctx)
}

// contextMark is the description of a Docker context that is this lab's.
func (e *Env) contextMark() string { return fmt.Sprintf("labctl lab %s in %s", e.Lab.Name, e.Dir) }

// ContextCommand makes the Docker context, named after the lab, whose engine
// is the first manager's.
func (e *Env) ContextCommand() []string {
	return []string{"docker", "context", "create", e.Lab.Name, "--description", e.contextMark(), "--docker", "host=ssh://" + e.contextNode()}
}

func (e *Env) contextNode() string {
	return export.Lab{Name: e.Lab.Name}.Alias(e.Lab.Managers()[0].Name)
}

// InstallContext makes the Docker context, unless it is there.
func (e *Env) InstallContext(ctx context.Context) error {
	// Docker's client runs ssh, which takes no file from us.
	res, err := remote.Check(ctx, e.Host, "host", remote.Command{Argv: []string{"ssh", "-G", e.contextNode()}})
	if err != nil {
		return err
	}
	if !strings.Contains(res.Stdout, "\nhostkeyalias "+e.Lab.Managers()[0].Name+"\n") {
		return &SSHUnknownError{Node: e.contextNode()}
	}
	found, ours, err := e.context(ctx, e.Lab.Name)
	switch {
	case err != nil:
		return err
	case found && !ours:
		return &ContextTakenError{Name: e.Lab.Name}
	}
	if err := e.changeExports(func(x *Exports) { x.DockerContext = e.Lab.Name }); err != nil || found {
		return err
	}
	_, err = remote.Check(ctx, e.Host, "host", remote.Command{Argv: e.ContextCommand()})
	return err
}

// context looks for a Docker context.
func (e *Env) context(ctx context.Context, name string) (found, ours bool, err error) {
	res, err := remote.Check(ctx, e.Host, "host", remote.Command{Argv: []string{"docker", "context", "ls", "--format", "{{.Name}} {{.Description}}"}})
	if err != nil {
		return false, false, err
	}
	for line := range strings.Lines(res.Stdout) {
		have, description, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.TrimSuffix(have, "*") == name {
			return true, strings.TrimSpace(description) == e.contextMark(), nil
		}
	}
	return false, false, nil
}

func (e *Env) removeContext(ctx context.Context, name string) error {
	_, ours, err := e.context(ctx, name)
	if err != nil || !ours {
		return err
	}
	_, err = remote.Check(ctx, e.Host, "host", remote.Command{Argv: []string{"docker", "context", "rm", "--force", name}})
	return err
}

// SSHUnknownError is an ssh that does not know the lab's nodes.
type SSHUnknownError struct{ Node string }

func (e *SSHUnknownError) Error() string {
	return fmt.Sprintf("Docker's client reaches the node by running ssh, which knows no host %s", e.Node)
}

// Hint says how it gets to know them.
func (e *SSHUnknownError) Hint() string { return "`labctl export ssh-config --install` first" }

// ContextTakenError is a Docker context of the lab's name that is another's.
type ContextTakenError struct{ Name string }

func (e *ContextTakenError) Error() string {
	return fmt.Sprintf("there is a Docker context %q that is not this lab's", e.Name)
}

// Hint names both ways out.
func (e *ContextTakenError) Hint() string {
	return fmt.Sprintf("`docker context rm %s` removes it; or give the lab another name", e.Name)
}
