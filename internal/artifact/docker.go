package artifact

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"
)

const (
	// atOnce is the number of questions that one engine is asked side by
	// side: more gain nothing on a node with one CPU.
	atOnce = 4
	// maxObjects is the number of containers, networks or services of one
	// node that are looked at one by one.
	maxObjects = 200
	// tail is the number of lines of a log.
	tail = "500"
)

// docker gathers what one node's Docker knows. The Engine API answers in
// milliseconds where the docker command takes seconds on an emulated node.
type docker struct {
	run     *Run
	dir     string // nodes/NAME/docker
	api     *client.Client
	perItem time.Duration
	slots   chan struct{}
	wg      sync.WaitGroup

	mu    sync.Mutex
	names map[string]bool // file names in use
	count int             // files written
	room  int             // bytes that may still be written
}

// collectDocker returns the number of files written. What could not be had is
// recorded; an engine that does not answer is asked only once.
func collectDocker(ctx context.Context, r *Run, dir string, api *client.Client, facts *NodeFacts, perItem time.Duration) int {
	d := &docker{run: r, dir: dir, api: api, perItem: perItem, slots: make(chan struct{}, atOnce), names: map[string]bool{}, room: maxArchive}
	if api == nil {
		r.Missing(dir, "no connection to the Docker engine")
		return 0
	}
	info, err := ask(ctx, d, func(ctx context.Context) (client.SystemInfoResult, error) {
		return api.Info(ctx, client.InfoOptions{})
	})
	if err != nil {
		r.Missing(dir, "the Docker engine was asked for nothing else: "+reason(err))
		return 0
	}
	*facts = FactsOf(info.Info)
	if info.Info.Swarm.ControlAvailable {
		d.cluster(ctx) // first of all: it knows the tokens that no file may hold
	}
	d.json("info.json", info.Info)

	d.wg.Go(func() {
		keep(ctx, d, "version.json", func(ctx context.Context) (client.ServerVersionResult, error) {
			return api.ServerVersion(ctx, client.ServerVersionOptions{})
		})
	})
	d.wg.Go(func() {
		keep(ctx, d, "images.json", func(ctx context.Context) (any, error) {
			res, err := api.ImageList(ctx, client.ImageListOptions{All: true})
			return res.Items, err
		})
	})
	d.wg.Go(func() { d.networks(ctx) })
	d.wg.Go(func() { d.containers(ctx) })
	if info.Info.Swarm.ControlAvailable {
		d.wg.Go(func() { d.swarm(ctx) })
	}
	d.wg.Wait()
	return d.count
}

// FactsOf takes from an engine's description what a manifest says of a node.
func FactsOf(i system.Info) NodeFacts {
	return NodeFacts{Docker: i.ServerVersion, Kernel: i.KernelVersion, OS: i.OperatingSystem}
}

// ask asks one question, which has a deadline of its own.
func ask[T any](ctx context.Context, d *docker, question func(context.Context) (T, error)) (T, error) {
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, d.perItem, fmt.Errorf("no answer within %v", d.perItem))
	defer cancel()
	answer, err := question(ctx)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return answer, err
}

// keep asks one question and keeps the answer, or why there is none.
func keep[T any](ctx context.Context, d *docker, name string, question func(context.Context) (T, error)) (T, bool) {
	answer, err := ask(ctx, d, question)
	if err != nil {
		d.missing(name, err)
		return answer, false
	}
	d.json(name, answer)
	return answer, true
}

func (d *docker) missing(name string, err error) { d.run.Missing(d.dir+"/"+name, reason(err)) }

// reason is the first line of an error, without the URL that no person asked
// for.
func reason(err error) string {
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	return first
}

// json writes v; of what the engine sent word by word it keeps the words.
func (d *docker) json(name string, v any) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		d.missing(name, err)
		return
	}
	d.write(name, out.Bytes())
}

// write keeps a file, within the limits for one node.
func (d *docker) write(name string, data []byte) {
	if len(data) > maxFile {
		d.missing(name, fmt.Errorf("cut off after %d MiB of %d bytes", maxFile>>20, len(data)))
		data = wholeLines(data[:maxFile])
	}
	d.mu.Lock()
	full := len(data) > d.room
	if !full {
		d.room -= len(data)
	}
	d.mu.Unlock()
	if full {
		d.missing(name, fmt.Errorf("not kept: more than %d MiB from this engine", maxArchive>>20))
		return
	}
	if err := d.run.Write(d.dir+"/"+name, data); err != nil {
		d.missing(name, err)
		return
	}
	d.mu.Lock()
	d.count++
	d.mu.Unlock()
}

// file makes a file name of what an engine calls its things: one that stays
// in its folder and differs from all others, in small letters too.
func (d *docker) file(prefix, name, suffix string) string {
	const most = 100
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r) {
			return r
		}
		return '_'
	}, name)
	name = prefix + name[:min(len(name), most)]
	d.mu.Lock()
	defer d.mu.Unlock()
	full := name + suffix
	for n := 2; d.names[strings.ToLower(full)]; n++ {
		full = fmt.Sprintf("%s~%d%s", name, n, suffix)
	}
	d.names[strings.ToLower(full)] = true
	return full
}

// some are the first of many.
func some[T any](d *docker, what string, all []T) []T {
	if len(all) > maxObjects {
		d.missing(what, fmt.Errorf("%d of %d left out", len(all)-maxObjects, len(all)))
		all = all[:maxObjects]
	}
	return all
}

func (d *docker) networks(ctx context.Context) {
	all, ok := keep(ctx, d, "networks.json", func(ctx context.Context) ([]network.Summary, error) {
		res, err := d.api.NetworkList(ctx, client.NetworkListOptions{})
		slices.SortFunc(res.Items, func(a, b network.Summary) int { return cmp.Compare(a.Name, b.Name) })
		return res.Items, err
	})
	if !ok {
		return
	}
	d.write("network-ls.txt", networkTable(all))
	for _, n := range some(d, "networks", all) {
		name := d.file("network-", cmp.Or(n.Name, n.ID), ".json")
		d.wg.Go(func() {
			keep(ctx, d, name, func(ctx context.Context) (json.RawMessage, error) { return d.inspectNetwork(ctx, n) })
		})
	}
}

// inspectNetwork asks an overlay for its services and peers too. An engine
// that fails at that may still know the rest.
func (d *docker) inspectNetwork(ctx context.Context, n network.Summary) (json.RawMessage, error) {
	res, err := d.api.NetworkInspect(ctx, n.ID, client.NetworkInspectOptions{Verbose: n.Scope == "swarm"})
	if err != nil && n.Scope == "swarm" {
		res, err = d.api.NetworkInspect(ctx, n.ID, client.NetworkInspectOptions{})
	}
	return res.Raw, err
}

func (d *docker) containers(ctx context.Context) {
	all, ok := keep(ctx, d, "containers.json", func(ctx context.Context) ([]container.Summary, error) {
		res, err := d.api.ContainerList(ctx, client.ContainerListOptions{All: true})
		return res.Items, err
	})
	if !ok {
		return
	}
	d.write("container-ls.txt", containerTable(all))
	for _, c := range some(d, "containers", all) {
		about := d.file("container-", containerName(c), ".json")
		log := d.file("logs/container-", containerName(c), ".log")
		d.wg.Go(func() {
			tty := false
			_, ok := keep(ctx, d, about, func(ctx context.Context) (json.RawMessage, error) {
				res, err := d.api.ContainerInspect(ctx, c.ID, client.ContainerInspectOptions{})
				tty = res.Container.Config != nil && res.Container.Config.Tty
				return res.Raw, err
			})
			if !ok {
				// While a container starts or hangs, the engine keeps both.
				d.missing(log, errors.New("not asked for: the container itself could not be inspected"))
				return
			}
			d.log(ctx, log, tty, func(ctx context.Context) (io.ReadCloser, error) {
				return d.api.ContainerLogs(ctx, c.ID, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true, Tail: tail})
			}, nil)
		})
	}
}

func containerName(c container.Summary) string {
	if len(c.Names) > 0 {
		return strings.TrimPrefix(c.Names[0], "/")
	}
	return c.ID
}

// cluster asks a manager for the swarm as such, and has its secrets redacted
// from here on.
func (d *docker) cluster(ctx context.Context) {
	s, err := ask(ctx, d, func(ctx context.Context) (client.SwarmInspectResult, error) {
		return d.api.SwarmInspect(ctx, client.SwarmInspectOptions{})
	})
	if err != nil {
		d.missing("swarm.json", err)
		return
	}
	for _, token := range []string{s.Swarm.JoinTokens.Worker, s.Swarm.JoinTokens.Manager} {
		// The last part alone is the secret, in case the whole is taken apart.
		d.run.Secret(token, token[strings.LastIndexByte(token, '-')+1:])
	}
	d.run.Secret(s.Swarm.Spec.CAConfig.SigningCAKey)
	if s.Swarm.Spec.EncryptionConfig.AutoLockManagers {
		key, err := ask(ctx, d, func(ctx context.Context) (client.SwarmGetUnlockKeyResult, error) {
			return d.api.SwarmGetUnlockKey(ctx)
		})
		if err == nil { // else its pattern has to do
			d.run.Secret(key.Key, strings.TrimPrefix(key.Key, "SWMKEY-1-"))
		}
	}
	d.json("swarm.json", s.Swarm)
}

// swarm asks a manager.
func (d *docker) swarm(ctx context.Context) {
	var nodes []swarm.Node
	var services []swarm.Service
	var tasks []swarm.Task
	var lists sync.WaitGroup
	lists.Go(func() {
		nodes, _ = keep(ctx, d, "nodes.json", func(ctx context.Context) ([]swarm.Node, error) {
			res, err := d.api.NodeList(ctx, client.NodeListOptions{})
			return res.Items, err
		})
	})
	lists.Go(func() {
		services, _ = keep(ctx, d, "services.json", func(ctx context.Context) ([]swarm.Service, error) {
			res, err := d.api.ServiceList(ctx, client.ServiceListOptions{Status: true})
			return res.Items, err
		})
	})
	lists.Go(func() {
		tasks, _ = keep(ctx, d, "tasks.json", func(ctx context.Context) ([]swarm.Task, error) {
			res, err := d.api.TaskList(ctx, client.TaskListOptions{})
			return res.Items, err
		})
	})
	lists.Wait()

	c := newCluster(nodes, services, tasks)
	d.write("node-ls.txt", c.nodeTable())
	d.write("service-ls.txt", c.serviceTable())
	d.write("service-ps.txt", c.taskTable())
	for _, s := range some(d, "services", services) {
		name := d.file("logs/service-", s.Spec.Name, ".log")
		tty := s.Spec.TaskTemplate.ContainerSpec != nil && s.Spec.TaskTemplate.ContainerSpec.TTY
		d.wg.Go(func() {
			d.log(ctx, name, tty, func(ctx context.Context) (io.ReadCloser, error) {
				return d.api.ServiceLogs(ctx, s.ID, client.ServiceLogsOptions{
					ShowStdout: true, ShowStderr: true, Timestamps: true, Details: true, Tail: tail,
				})
			}, c.arrange)
		})
	}
}
