//go:build linux

package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"labctl/internal/engine"
)

// Deadlines, for two cores without KVM that do other things as well.
const (
	createWithin = 25 * time.Minute
	shortWithin  = 5 * time.Minute
)

// asked is how often the short questions are asked.
const asked = 5

// The nodes are the same on all sides.
var nodes = []string{"docker1", "docker2"}

// labctlSide measures labctl in a folder of its own.
func (b *bench) labctlSide(ctx context.Context, round int) (err error) {
	dir, err := b.folder(fmt.Sprintf("labctl-%d", round))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "lab.toml"), []byte("provider = \"embedded\"\n"), 0o644); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.removeLab(ctx, dir)) }()

	if err := b.forgetMade(); err != nil {
		return err
	}
	if _, err := b.create(ctx, round, dir, coldCreate); err != nil {
		return err
	}
	if err := b.noteEngine(ctx, dir); err != nil {
		return err
	}
	if err := b.count(ctx, round, dir); err != nil {
		return err
	}
	if _, err := b.create(ctx, round, dir, secondCreate); err != nil {
		return err
	}
	for range asked {
		if _, err := b.labctlTimed(ctx, round, dir, status, "status"); err != nil {
			return err
		}
		if _, err := b.labctlTimed(ctx, round, dir, execTrue, "exec", nodes[0], "--", "true"); err != nil {
			return err
		}
	}
	if _, err := b.labctlTimed(ctx, round, dir, snapshotSave, "snapshot", "save", "bench"); err != nil {
		return err
	}
	// What a trainee leaves: a network, and a service on it.
	const mess = "docker network create -d overlay mess && docker service create --detach --no-resolve-image --name web --network mess --replicas 2 labctl/toolbox"
	if _, err := b.labctl(ctx, dir, shortWithin, "exec", nodes[0], "--", "sh", "-c", mess); err != nil {
		return err
	}
	if _, err := b.labctlTimed(ctx, round, dir, snapshotRestore, "snapshot", "restore", "bench"); err != nil {
		return err
	}
	if _, err := b.labctl(ctx, dir, shortWithin, "exec", nodes[0], "--", "sh", "-c", mess); err != nil {
		return err
	}
	if _, err := b.labctlTimed(ctx, round, dir, reset, "reset"); err != nil {
		return err
	}
	if err := b.pristine(ctx, dir); err != nil {
		return err
	}
	if b.canBake {
		// By force, since an earlier round has baked.
		if _, err := b.labctlTimed(ctx, round, dir, bake, "bake", "--force"); err != nil {
			return err
		}
	}
	if _, err := b.labctlTimed(ctx, round, dir, destroy, "destroy", "--force"); err != nil {
		return err
	}
	if !b.canBake {
		return nil
	}
	if _, err = b.create(ctx, round, dir, warmCreate); err != nil {
		return err
	}
	return b.noteEngine(ctx, dir)
}

// noteEngine notes in which network namespace the lab lives.
func (b *bench) noteEngine(ctx context.Context, dir string) error {
	f, err := b.labctl(ctx, dir, shortWithin, "engine", "status", "--json")
	if err != nil {
		return err
	}
	var st engine.Status
	if err := json.Unmarshal(f.stdout, &st); err != nil {
		return fmt.Errorf("labctl engine status --json: %w", err)
	}
	b.engines = append(b.engines, st.NetNS)
	return nil
}

// create measures one `labctl create`, with its timeline.
func (b *bench) create(ctx context.Context, round int, dir, what string) (finished, error) {
	f, err := b.labctlTimed(ctx, round, dir, what, "create")
	if err != nil {
		return f, err
	}
	if what != secondCreate {
		events, _ := readEvents(f.stderr)
		b.result.Timelines = append(b.result.Timelines, newTimeline(round, what, f.start, f.took, events))
	}
	return f, nil
}

// pristine makes sure that a lab was really set back.
func (b *bench) pristine(ctx context.Context, dir string) error {
	f, err := b.labctl(ctx, dir, shortWithin, "exec", nodes[0], "--", "sh", "-c", "docker node ls --format '{{.Status}}'; docker service ls -q; docker network ls -q -f name=mess")
	if err != nil {
		return err
	}
	if got := string(f.stdout); got != "Ready\nReady\n" {
		return fmt.Errorf("after labctl reset the swarm says %q, want two Ready nodes and nothing else", got)
	}
	return nil
}

// ownCount is labctl's own count of its last command, from its log.
func ownCount(round int, dir string) (Count, error) {
	c := Count{Round: round, Side: sideLabctl}
	log, err := os.ReadFile(filepath.Join(dir, "artifacts/latest/labctl.log"))
	if err != nil {
		return c, err
	}
	last := func(name string) int {
		all := regexp.MustCompile(name+`=(\d+)`).FindAllSubmatch(log, -1)
		if len(all) == 0 {
			return 0
		}
		n, _ := strconv.Atoi(string(all[len(all)-1][1]))
		return n
	}
	c.VagrantCalls, c.Handshakes, c.Commands, c.Sent = last("vagrant_calls"), last("ssh_handshakes"), last("ssh_commands"), int64(last("ssh_sent"))
	return c, nil
}

// count takes labctl's own count of its create, and asks each node's sshd.
func (b *bench) count(ctx context.Context, round int, dir string) error {
	c, err := ownCount(round, dir)
	if err != nil {
		return err
	}
	c.Logins = map[string]int{}
	for _, n := range nodes {
		f, err := b.labctl(ctx, dir, shortWithin, "exec", n, "--", "sh", "-c", countLogins)
		if err != nil {
			return err
		}
		c.Logins[n] = logins(f)
	}
	b.result.Counts = append(b.result.Counts, c)
	return nil
}

// countLogins counts the SSH handshakes that a node's sshd has accepted.
const countLogins = "sudo journalctl -b -t sshd -o cat | grep -c ^Accepted || true"

// logins reads its answer, less the login that asked.
func logins(f finished) int {
	n, _ := strconv.Atoi(strings.TrimSpace(string(f.stdout)))
	return max(n-1, 0)
}

func (b *bench) labctl(ctx context.Context, dir string, within time.Duration, args ...string) (finished, error) {
	return runProgram(ctx, b.log, dir, b.env, within, append([]string{b.binary, "--progress", "json"}, args...)...)
}

// labctlTimed is labctl with a sample taken.
func (b *bench) labctlTimed(ctx context.Context, round int, dir, what string, args ...string) (finished, error) {
	before := load()
	b.say("round %d, labctl: %s", round, what)
	f, err := b.labctl(ctx, dir, createWithin, args...)
	if err == nil {
		b.sample(Sample{Round: round, Side: sideLabctl, What: what, Seconds: toSeconds(f.took), Load: before})
	}
	return f, err
}

// removeLab removes what is left of a lab, also when ctx has ended.
func (b *bench) removeLab(ctx context.Context, dir string) error {
	_, err := b.labctl(context.WithoutCancel(ctx), dir, shortWithin, "destroy", "--force")
	return err
}

//go:embed plain
var plainFiles embed.FS

// plainSide measures the plain way, in an engine of its own.
func (b *bench) plainSide(ctx context.Context, round int, side string) (err error) {
	dir, err := b.folder(fmt.Sprintf("plain-%d-%s", round, strings.TrimPrefix(side, "plain, ")))
	if err != nil {
		return err
	}
	if err := b.plainFolder(dir); err != nil {
		return err
	}
	e, err := b.startEngine(ctx, filepath.Join(dir, "engine"))
	if err != nil {
		return err
	}
	// The engine takes its VMs along, whatever Vagrant made of them.
	defer func() { err = errors.Join(err, e.stop(ctx)) }()
	inside := func(within time.Duration, argv ...string) (finished, error) {
		return runProgram(ctx, b.log, dir, b.plainEnv(), within, e.enter(dir, argv...)...)
	}
	timed := func(what string, argv ...string) error {
		before := load()
		b.say("round %d, %s: %s", round, side, what)
		f, err := inside(createWithin, argv...)
		if err == nil {
			b.sample(Sample{Round: round, Side: side, What: what, Seconds: toSeconds(f.took), Load: before})
		}
		return err
	}

	form := map[string]string{sideParallel: "--parallel", sideSequential: "--no-parallel"}[side]
	if err := timed(create, "sh", "create.sh", form); err != nil {
		return err
	}
	c := Count{Round: round, Side: side, Logins: map[string]int{}}
	for _, n := range nodes {
		f, err := inside(shortWithin, "vagrant", "ssh", n, "-c", countLogins)
		if err != nil {
			return err
		}
		c.Logins[n] = logins(f)
	}
	b.result.Counts = append(b.result.Counts, c)
	if side == sideParallel {
		for range asked {
			if err := timed(status, "vagrant", "status"); err != nil {
				return err
			}
			if err := timed(execTrue, "vagrant", "ssh", nodes[0], "-c", "true"); err != nil {
				return err
			}
		}
	}
	return timed(destroy, "vagrant", "destroy", "-f")
}

// plainFolder puts the Vagrantfile, the scripts and the packages into a folder.
func (b *bench) plainFolder(dir string) error {
	for _, name := range []string{"Vagrantfile", "install.sh", "create.sh"} {
		data, err := plainFiles.ReadFile("plain/" + name)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o644)
		}
		if err != nil {
			return err
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "debs"), 0o755); err != nil {
		return err
	}
	for _, deb := range b.debs {
		if err := link(deb, filepath.Join(dir, "debs", filepath.Base(deb))); err != nil {
			return err
		}
	}
	return nil
}

// plainPackages names the packages that the plain way sends.
func plainPackages() []string {
	data, _ := plainFiles.ReadFile("plain/packages.txt") // it is embedded
	var out []string
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return out
}
