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
}

// CollectOptions says how long to wait.
type CollectOptions struct {
	PerItem  time.Duration // for one question, in whole seconds; 0: 10 s
	PerNode  time.Duration // for all of one node; 0: 2 min
	Progress func(node, detail string)
}

// Collect asks all nodes side by side for what they can tell, and puts it into
// nodes/NAME/ of r: what only the node's system knows by one script, what
// Docker knows through its API, both at once. Managers are asked about the
// swarm as well. What could not be had is recorded in r, a node that does not
// answer once.
func Collect(ctx context.Context, r *Run, nodes []Node, o CollectOptions) {
	o.PerItem = cmp.Or(o.PerItem, 10*time.Second)
	o.PerNode = cmp.Or(o.PerNode, 2*time.Minute)
	if o.Progress == nil {
		o.Progress = func(string, string) {}
	}
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(func() {
			dir := "nodes/" + n.Name
			o.Progress(n.Name, "gathering evidence")
			count, err := collect(ctx, r, n, dir, o)
			if err != nil {
				r.Missing(dir, err.Error())
				o.Progress(n.Name, fmt.Sprintf("%d files of evidence, incomplete: %v", count, err))
				return
			}
			o.Progress(n.Name, fmt.Sprintf("%d files of evidence", count))
		})
	}
	wg.Wait()
}

func collect(ctx context.Context, r *Run, n Node, dir string, o CollectOptions) (int, error) {
	if n.Runner == nil && n.API == nil {
		return 0, errors.New("no connection")
	}
	ctx, stop := context.WithTimeoutCause(ctx, o.PerNode, fmt.Errorf("no answer within %v", o.PerNode))
	defer stop()
	var docker int
	var wg sync.WaitGroup
	wg.Go(func() { docker = collectDocker(ctx, r, dir+"/docker", n.API, o.PerItem) })
	system, err := collectSystem(ctx, r, n.Runner, dir, o)
	wg.Wait()
	return system + docker, err
}

// start runs the script as root if it may: without that some items lack, but
// not all.
const start = `[ "$(id -u)" = 0 ] || ! sudo -n true </dev/null 2>/dev/null || exec sudo -n sh -s -- "$@"
exec sh -s -- "$@"`

// collectSystem runs the script on the node.
func collectSystem(ctx context.Context, r *Run, node remote.Runner, dir string, o CollectOptions) (int, error) {
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
		err = fmt.Errorf("the collecting script ended with exit code %d: %s", res.ExitCode, short(said))
	case err == nil && len(archive.bytes()) == 0:
		err = errors.New("the collecting script sent nothing")
	}
	// What came before a failure is kept.
	count, unpackErr := unpack(r, dir, bytes.NewReader(archive.bytes()))
	return count, cmp.Or(err, unpackErr)
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
