//go:build linux

package main

import (
	"embed"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// What the real Vagrant 2.3.4 printed for two nodes, docker1 and docker2.
//
//go:embed testdata/vagrant
var recorded embed.FS

// fakeVagrant is Vagrant as a script wants it. In the folder $FAKE:
//
//	calls     every command line is added here
//	NAME      a node's SSH host, port and key
//	vm/NAME   a VM's state, if it was made
//	mode      what goes wrong: hang or deaf while booting, fail,
//	          half, killed, longline, lingers; status-fails; stays while
//	          destroying, between the first VM and the second
//	child     the process id of the child that a booting Vagrant has
func fakeVagrant(args []string) int {
	v := vagrantRun{fake: os.Getenv("FAKE"), out: os.Stdout}
	if f, err := os.OpenFile(v.file("calls"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err == nil {
		_, _ = fmt.Fprintln(f, strings.Join(args, " "))
		_ = f.Close()
	}
	mode, _ := os.ReadFile(v.file("mode"))
	v.mode = strings.TrimSpace(string(mode))
	var words, names []string
	for _, a := range args {
		if !strings.HasPrefix(a, "--") && a != "virtualbox" {
			words = append(words, a)
		}
	}
	if len(words) > 1 {
		names = words[1:]
	}
	switch {
	case slices.Contains(args, "--version"):
		_, _ = fmt.Fprintln(v.out, "Vagrant 2.3.4")
	case words[0] == "status":
		return v.status()
	case words[0] == "ssh-config":
		return v.sshConfig(names[0])
	case words[0] == "up":
		return v.up(names)
	case words[0] == "destroy":
		return v.destroy()
	case words[0] == "snapshot":
		return v.snapshot(names)
	default:
		return v.fail("Vagrant::Errors::CLIInvalidUsage", "unknown command "+words[0])
	}
	return 0
}

type vagrantRun struct {
	fake, mode string
	out        *os.File
}

func (v *vagrantRun) file(name string) string { return filepath.Join(v.fake, name) }

func (v *vagrantRun) say(target, kind string, data ...string) {
	for i := range data {
		data[i] = strings.NewReplacer(",", "%!(VAGRANT_COMMA)", "\n", `\n`).Replace(data[i])
	}
	_, _ = fmt.Fprintln(v.out, strings.Join(append([]string{fmt.Sprint(time.Now().Unix()), target, kind}, data...), ","))
}

func (v *vagrantRun) fail(class, message string) int {
	v.say("", "ui", "error", message)
	v.say("", "error-exit", class, message)
	return 1
}

// replay prints a recording, all but the lines about other nodes.
func (v *vagrantRun) replay(name string, names []string) {
	data, err := recorded.ReadFile("testdata/vagrant/" + name + ".log")
	if err != nil {
		panic(err)
	}
	for line := range strings.Lines(string(data)) {
		parts := strings.SplitN(line, ",", 3)
		if len(parts) == 3 && (parts[1] == "" || slices.Contains(names, parts[1])) {
			_, _ = v.out.WriteString(line)
		}
	}
}

// nodes are those that the Vagrantfile defines.
func (v *vagrantRun) nodes() []string {
	var out []string
	data, _ := os.ReadFile(filepath.Join(os.Getenv("VAGRANT_CWD"), "Vagrantfile"))
	for line := range strings.Lines(string(data)) {
		if _, rest, ok := strings.Cut(line, "config.vm.define('"); ok {
			name, _, _ := strings.Cut(rest, "'")
			out = append(out, name)
		}
	}
	return out
}

func (v *vagrantRun) status() int {
	if v.mode == "status-fails" {
		return v.fail("Vagrant::Errors::VagrantfileSyntaxError", "There is a syntax error in the following Vagrantfile. The syntax error\nmessage is reproduced below for convenience:\n\nunexpected end-of-input")
	}
	for _, name := range v.nodes() {
		state := "not_created"
		if data, err := os.ReadFile(v.file("vm/" + name)); err == nil {
			state = strings.TrimSpace(string(data))
		}
		v.say(name, "metadata", "provider", "virtualbox")
		v.say(name, "provider-name", "virtualbox")
		v.say(name, "state", state)
		v.say(name, "state-human-short", strings.ReplaceAll(state, "_", " "))
	}
	return 0
}

func (v *vagrantRun) sshConfig(name string) int {
	data, err := os.ReadFile(v.file(name))
	state, _ := os.ReadFile(v.file("vm/" + name))
	if err != nil || strings.TrimSpace(string(state)) != "running" {
		return v.fail("Vagrant::Errors::SSHNotReady", "The provider for this Vagrant-managed machine is reporting that it\nis not yet ready for SSH.")
	}
	at := strings.Fields(string(data))
	text := fmt.Sprintf("Host %s\n  HostName %s\n  User vagrant\n  Port %s\n  UserKnownHostsFile /dev/null\n  StrictHostKeyChecking no\n  PasswordAuthentication no\n  IdentityFile %s\n  IdentitiesOnly yes\n  LogLevel FATAL\n", name, at[0], at[1], at[2])
	v.say(name, "metadata", "provider", "virtualbox")
	v.say(name, "ssh-config", text)
	return 0
}

func (v *vagrantRun) made(name string) {
	id := filepath.Join(os.Getenv("VAGRANT_DOTFILE_PATH"), "machines", name, "virtualbox", "id")
	_ = os.MkdirAll(filepath.Dir(id), 0o755)
	_ = os.WriteFile(id, []byte("5f3b"), 0o644)
	_ = os.WriteFile(v.file("vm/"+name), []byte("running\n"), 0o644)
}

func (v *vagrantRun) up(names []string) int {
	switch v.mode {
	case "hang", "deaf":
		return v.hang(names)
	case "fail":
		v.replay("failed", names)
		return 1
	case "half": // docker1 comes up, then the other fails
		v.made(names[0])
		v.replay("up", names[:1])
		v.replay("failed", names[1:])
		return 1
	case "killed":
		v.replay("waiting", names)
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "longline":
		v.say(names[0], "ui", "info", "==> "+names[0]+": "+strings.Repeat("long, ", 100<<10/6))
	}
	for _, name := range names {
		v.made(name)
	}
	v.replay("up", names)
	if v.mode == "lingers" { // as the real one does, which then writes its own notes
		time.Sleep(2 * time.Second)
		_ = os.WriteFile(v.file("finished"), nil, 0o644)
	}
	return 0
}

// hang is a boot that never ends: the VMs get no address. Like the real one it
// has a child, and leaves in order at an interrupt.
func (v *vagrantRun) hang(names []string) int {
	child := exec.Command("sleep", "600")
	if err := child.Start(); err != nil {
		panic(err)
	}
	interrupts := make(chan os.Signal, 2)
	signal.Notify(interrupts, os.Interrupt)
	signal.Ignore(syscall.SIGPIPE) // so does Ruby: labctl may be dead
	v.replay("waiting", names)
	_ = os.WriteFile(v.file("child"), []byte(fmt.Sprint(child.Process.Pid)), 0o644)
	_ = os.WriteFile(v.file("pid"), []byte(fmt.Sprint(os.Getpid())), 0o644)
	<-interrupts
	if v.mode == "deaf" {
		time.Sleep(10 * time.Minute)
	}
	v.replay("interrupted", names)
	select {
	case <-interrupts: // a second one is "exit without cleaning up" to it
		_ = os.WriteFile(v.file("twice"), nil, 0o644)
		return 1
	case <-time.After(100 * time.Millisecond):
	}
	_ = child.Process.Kill()
	_ = child.Wait()
	return 1
}

// snapshot keeps one list for all nodes, in the file snapshots.
func (v *vagrantRun) snapshot(words []string) int {
	data, _ := os.ReadFile(v.file("snapshots"))
	have := strings.Fields(string(data))
	switch words[0] {
	case "list":
		for _, node := range v.nodes() {
			if len(have) == 0 {
				v.say(node, "ui", "output", "==> "+node+": No snapshots have been taken yet!")
				v.say(node, "ui", "detail", "    "+node+": You can take a snapshot using `vagrant snapshot save`. Note that\n    "+node+": not all providers support this yet.")
				continue
			}
			v.say(node, "ui", "output", "==> "+node+": ")
			for _, name := range have {
				v.say(node, "ui", "detail", name)
			}
		}
		return 0
	case "save":
		have = append(slices.DeleteFunc(have, func(s string) bool { return s == words[1] }), words[1])
	case "delete":
		have = slices.DeleteFunc(have, func(s string) bool { return s == words[1] })
	case "restore":
		if !slices.Contains(have, words[1]) {
			return v.fail("Vagrant::Errors::SnapshotNotFound", "The snapshot name `"+words[1]+"` was not found for the\nvirtual machine.")
		}
	}
	_ = os.WriteFile(v.file("snapshots"), []byte(strings.Join(have, "\n")+"\n"), 0o644)
	return 0
}

func (v *vagrantRun) destroy() int {
	for i, name := range v.nodes() {
		if i == 1 && v.mode == "stays" {
			interrupts := make(chan os.Signal, 2)
			signal.Notify(interrupts, os.Interrupt)
			_ = os.WriteFile(v.file("pid"), []byte(fmt.Sprint(os.Getpid())), 0o644)
			<-interrupts
			return 1
		}
		_ = os.Remove(v.file("vm/" + name))
		v.say(name, "ui", "info", "==> "+name+": Destroying VM and associated drives...")
		_ = os.RemoveAll(filepath.Join(os.Getenv("VAGRANT_DOTFILE_PATH"), "machines", name))
	}
	return 0
}
