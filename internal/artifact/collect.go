package artifact

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/client"

	"labctl/internal/remote"
)

//go:embed collect.sh
var collectScript string

// Node is a node to be asked for evidence.
type Node struct {
	Name   string
	Runner remote.Runner  // nil: there is no connection, recorded as missing
	API    *client.Client // nil: its Docker cannot be reached, recorded as missing
	// Connect, if set, is called once to fill in Runner and API. Its error is
	// why there is no connection.
	Connect func(context.Context) (remote.Runner, *client.Client, error)
}

// CollectOptions says how long to wait.
type CollectOptions struct {
	PerItem time.Duration // for one question, in whole seconds; 0: 10 s
	PerNode time.Duration // for all of one node; 0: 2 min
	Connect time.Duration // for Node.Connect, a part of PerNode; 0: 30 s
	// DockerOnly leaves out what only the node's system knows, which takes an
	// emulated node seconds.
	DockerOnly bool
	Progress   func(node, detail string)
}

// Collect asks all nodes side by side for what they can tell, and puts it into
// nodes/NAME/ of r: what only the node's system knows by one script, what
// Docker knows through its API, both at once. Managers are asked about the
// swarm as well. What could not be had is recorded in r, a node that does not
// answer once. It returns what each node says of itself, in the order of nodes.
func Collect(ctx context.Context, r *Run, nodes []Node, o CollectOptions) []NodeFacts {
	o.PerItem = cmp.Or(o.PerItem, 10*time.Second)
	o.PerNode = cmp.Or(o.PerNode, 2*time.Minute)
	o.Connect = cmp.Or(o.Connect, 30*time.Second)
	facts := make([]NodeFacts, len(nodes))
	if o.Progress == nil {
		o.Progress = func(string, string) {}
	}
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() {
			dir := "nodes/" + n.Name
			o.Progress(n.Name, "gathering evidence")
			count, err := collect(ctx, r, n, dir, &facts[i], o)
			if err != nil {
				facts[i].Error = err.Error()
				r.Missing(dir, err.Error())
				o.Progress(n.Name, fmt.Sprintf("%d files of evidence, incomplete: %v", count, err))
				return
			}
			o.Progress(n.Name, fmt.Sprintf("%d files of evidence", count))
		})
	}
	wg.Wait()
	return facts
}

func collect(ctx context.Context, r *Run, n Node, dir string, facts *NodeFacts, o CollectOptions) (int, error) {
	ctx, stop := context.WithTimeoutCause(ctx, o.PerNode, fmt.Errorf("no answer within %v", o.PerNode))
	defer stop()
	if n.Connect != nil {
		if err := n.connect(ctx, o.Connect); err != nil {
			return 0, err
		}
	}
	if n.Runner == nil && n.API == nil {
		return 0, errors.New("no connection")
	}
	var docker, system NodeFacts
	var dockerFiles int
	var wg sync.WaitGroup
	wg.Go(func() { dockerFiles = collectDocker(ctx, r, dir+"/docker", n.API, &docker, o.PerItem) })
	var systemFiles int
	var err error
	if !o.DockerOnly {
		systemFiles, err = collectSystem(ctx, r, n.Runner, dir, &system, o)
	}
	wg.Wait()
	*facts = NodeFacts{Docker: docker.Docker, Kernel: cmp.Or(docker.Kernel, system.Kernel), OS: cmp.Or(docker.OS, system.OS)}
	return systemFiles + dockerFiles, err
}

func (n *Node) connect(ctx context.Context, within time.Duration) error {
	ctx, stop := context.WithTimeoutCause(ctx, within, fmt.Errorf("no connection within %v", within))
	defer stop()
	runner, api, err := n.Connect(ctx)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	n.Runner, n.API = runner, api
	return err
}

// start runs the script as root if it may: without that some items lack, but
// not all.
const start = `[ "$(id -u)" = 0 ] || ! sudo -n true </dev/null 2>/dev/null || exec sudo -n sh -s -- "$@"
exec sh -s -- "$@"`

// collectSystem runs the script on the node.
func collectSystem(ctx context.Context, r *Run, node remote.Runner, dir string, facts *NodeFacts, o CollectOptions) (int, error) {
	if node == nil {
		return 0, errors.New("no connection")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// A quarter of the time is left for the way and for the last item.
	total := o.PerNode * 3 / 4
	archive := &limited{max: maxArchive, full: cancel}
	res, err := node.Run(ctx, remote.Command{
		Argv:   []string{"sh", "-c", start, "collect", seconds(o.PerItem), seconds(total)},
		Stdin:  strings.NewReader(collectScript),
		Stdout: archive,
	})
	switch {
	case err != nil && ctx.Err() != nil:
		err = context.Cause(ctx)
	case err == nil && res.ExitCode != 0:
		said, _, _ := strings.Cut(strings.TrimSpace(res.Stderr), "\n")
		err = fmt.Errorf("the collecting script ended with exit code %d: %s", res.ExitCode, short(string(r.clean([]byte(said)))))
	case err == nil && len(archive.bytes()) == 0:
		err = errors.New("the collecting script sent nothing")
	}
	// What came before a failure is kept.
	u := unpacking{run: r, dir: dir, facts: facts}
	unpackErr := u.all(bytes.NewReader(archive.bytes()))
	return u.count, cmp.Or(err, unpackErr)
}

// seconds is d for the script: whole seconds, at least one.
func seconds(d time.Duration) string {
	return strconv.Itoa(max(1, int(d/time.Second)))
}

// limited keeps what is written up to max bytes, and calls full at more.
type limited struct {
	max  int
	full context.CancelCauseFunc

	mu  sync.Mutex
	buf []byte
}

func (l *limited) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	room := l.max - len(l.buf)
	l.buf = append(l.buf, p[:min(room, len(p))]...)
	if len(p) > room {
		err := fmt.Errorf("sent more than %d MiB", l.max>>20)
		l.full(err)
		return room, err
	}
	return len(p), nil
}

func (l *limited) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf
}
