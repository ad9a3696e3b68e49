package diagnose

import (
	"bytes"
	"context"
	_ "embed" // for probe.pl
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"labctl/internal/config"
	"labctl/internal/remote"
)

//go:embed probe.pl
var probeScript string

// The ports that the nodes of a swarm need from each other; the data path's
// is lab.toml's.
const (
	managePort = 2377
	gossipPort = 7946
	unusedPort = 7947 // see probe.pl
)

// probeReady is how long a node may take to come to the start, and probeWithin
// how long it then tries. A sound lab is through in a moment; what costs time
// is an answer that does not come, and a busy emulated node is slow to answer.
// If nothing but the bulk through the overlay is missing, there is bulkWithin
// more: TCP waits longer with each packet that is lost while the engines still
// learn where their neighbours are.
const (
	probeReady  = 20 * time.Second
	probeWithin = 8 * time.Second
	bulkWithin  = 16 * time.Second
)

// tries lets all nodes try each other's ports at the same time: what one
// sends, the others must be there to see.
type tries struct {
	dataPath uint16
	ready    time.Duration // probeReady
	within   time.Duration // probeWithin
	bulk     time.Duration // bulkWithin

	mu      sync.Mutex
	nodes   []*tryNode
	started bool
}

// tryNode is one node's part in the tries.
type tryNode struct {
	config.Node
	runner  remote.Runner
	stdin   *io.PipeReader
	feed    *io.PipeWriter
	ready   bool
	ended   bool
	err     error
	listens []uint16
	said    map[string]bool   // "echo IP", "udp IP PORT", "gossip IP", "bulk IP", "dns IP"
	tcp     map[string]string // "IP PORT" to the answer
	sizes   map[string]int    // "mtu IP", "large IP", "overmtu IP", "over IP" to bytes
	sandbox string            // address of the ingress sandbox; "" if there is none
	asks    []string          // name servers
}

// newTries takes the nodes that can be reached, if there are two at least.
func newTries(targets []Target, dataPath uint16) *tries {
	t := &tries{dataPath: dataPath, ready: probeReady, within: probeWithin, bulk: bulkWithin}
	for _, target := range targets {
		if target.Runner != nil {
			stdin, feed := io.Pipe()
			t.nodes = append(t.nodes, &tryNode{Node: target.Node, runner: target.Runner, stdin: stdin, feed: feed,
				said: map[string]bool{}, tcp: map[string]string{}, sizes: map[string]int{}})
		}
	}
	if len(t.nodes) < 2 {
		t.nodes = nil
	}
	return t
}

// tcpPorts are those that a node needs to reach on n.
func tcpPorts(manager bool) []uint16 {
	if manager {
		return []uint16{gossipPort, managePort}
	}
	return []uint16{gossipPort}
}

func (t *tries) run(ctx context.Context) {
	ctx, cancel := context.WithTimeoutCause(ctx, t.ready+t.within+t.bulk+10*time.Second, errors.New("the node did not end its tries in time"))
	defer cancel()
	mark := fmt.Sprintf("labctl-probe-%x", time.Now().UnixNano())
	ready := time.AfterFunc(t.ready, func() { t.start(true) })
	defer ready.Stop()
	var wg sync.WaitGroup
	for _, n := range t.nodes {
		argv := []string{"sudo", "-n", "perl", "-e", probeScript, "--", mark,
			strconv.Itoa(int((t.within + t.bulk) / time.Second)), strconv.Itoa(int(t.dataPath))}
		for _, other := range t.nodes {
			if other == n {
				continue
			}
			peer := other.IP.String()
			for _, port := range tcpPorts(other.Role == config.Manager) {
				peer += "," + strconv.Itoa(int(port))
			}
			argv = append(argv, peer)
		}
		wg.Go(func() {
			out := &lineWriter{each: func(line string) { t.heard(n, line) }}
			_, err := remote.Check(ctx, n.runner, n.Name, remote.Command{Argv: argv, Stdin: n.stdin, Stdout: out})
			_ = n.stdin.Close()
			t.done(n, err)
		})
	}
	wg.Wait()
}

// start gives the word to go as soon as every node is ready or has failed, or
// at once if late; who is not ready then does not take part.
func (t *tries) start(late bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.startLocked(late)
}

func (t *tries) startLocked(late bool) {
	if t.started || !late && slices.ContainsFunc(t.nodes, func(n *tryNode) bool { return !n.ready && !n.ended }) {
		return
	}
	t.started = true
	for _, n := range t.nodes {
		word := "go"
		for _, other := range t.nodes {
			if other != n && other.sandbox != "" && n.sandbox != "" {
				word += " " + other.IP.String() + "=" + other.sandbox
			}
		}
		if n.ended {
			continue
		}
		if !n.ready {
			n.err = fmt.Errorf("%s was not ready within %v", n.Name, t.ready)
		}
		if n.err != nil {
			_ = n.feed.Close()
			continue
		}
		// A pipe blocks until it is read.
		go func() { _, _ = io.WriteString(n.feed, word+"\n") }()
	}
	time.AfterFunc(t.within, t.enough)
}

// enough ends the tries, unless only the bulk is still missing.
func (t *tries) enough() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.completeLocked(false) {
		t.endLocked()
	}
}

func (t *tries) endLocked() {
	for _, n := range t.nodes {
		_ = n.feed.Close()
	}
}

// heard takes one line of probe.pl, and ends the tries when nothing is left
// to wait for.
func (t *tries) heard(n *tryNode, line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := strings.Fields(line)
	switch {
	case line == "ready":
		n.ready = true
		t.startLocked(false)
		return
	case line == "end":
		_ = n.feed.Close()
		return
	case len(f) == 2 && f[0] == "listens":
		if port, err := strconv.ParseUint(f[1], 10, 16); err == nil && !slices.Contains(n.listens, uint16(port)) {
			n.listens = append(n.listens, uint16(port))
		}
		return
	case len(f) >= 4 && f[0] == "tcp":
		n.tcp[f[1]+" "+f[2]] = strings.Join(f[3:], " ")
	case len(f) == 2 && f[0] == "sandbox":
		n.sandbox = f[1]
	case len(f) == 2 && f[0] == "asks":
		n.asks = append(n.asks, f[1])
	case len(f) == 3 && slices.Contains([]string{"mtu", "large", "overmtu", "over"}, f[0]):
		if size, err := strconv.Atoi(f[2]); err == nil {
			key := f[0] + " " + f[1]
			n.sizes[key] = max(n.sizes[key], size)
		}
	default:
		n.said[line] = true
	}
	if !t.started {
		return
	}
	if t.completeLocked(true) {
		t.endLocked()
	}
}

func (t *tries) done(n *tryNode, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n.ended = true
	if n.err == nil {
		n.err = err
	}
	if err == nil && !t.started {
		n.err = errors.New("it ended before it tried")
	}
	t.startLocked(false)
}

// completeLocked tells that everything that can be open is known to be, with or
// without the bulk.
func (t *tries) completeLocked(bulk bool) bool {
	for _, from := range t.nodes {
		if from.err == nil && slices.ContainsFunc(from.asks, func(ip string) bool { return !from.said["dns "+ip] }) {
			return false
		}
		for _, to := range t.nodes {
			if from == to || from.err != nil || to.err != nil {
				continue
			}
			p := t.probeLocked(from, to)
			if !p.Echo || !p.Marked || p.MTU == 0 || p.Large < p.MTU {
				return false
			}
			if o := p.Overlay; o != nil && (bulk && !o.Bulk || o.MTU == 0 || o.Large < o.MTU) {
				return false
			}
			for _, port := range tcpPorts(to.Role == config.Manager) {
				// A refusal will not become an answer.
				if a := p.Ports[tcp(port)]; a == "" {
					return false
				}
			}
			if p.Ports[udp(gossipPort)] != Arrived || p.Ports[udp(t.dataPath)] != Arrived {
				return false
			}
		}
	}
	return true
}

func tcp(port uint16) string { return strconv.Itoa(int(port)) + "/tcp" }
func udp(port uint16) string { return strconv.Itoa(int(port)) + "/udp" }

func (t *tries) probeLocked(from, to *tryNode) Probe {
	arrived := func(port uint16) bool {
		return to.said["udp "+from.IP.String()+" "+strconv.Itoa(int(port))]
	}
	p := Probe{From: from.Name, To: to.Name, Echo: from.said["echo "+to.IP.String()], Marked: arrived(unusedPort),
		Gossip: to.said["gossip "+from.IP.String()], Ports: map[string]string{},
		MTU: from.sizes["mtu "+to.IP.String()], Large: to.sizes["large "+from.IP.String()]}
	if from.sandbox != "" && to.sandbox != "" {
		p.Overlay = &OverlayProbe{MTU: from.sizes["overmtu "+to.IP.String()], Large: to.sizes["over "+from.IP.String()],
			Bulk: to.said["bulk "+from.IP.String()]}
	}
	for _, port := range tcpPorts(to.Role == config.Manager) {
		if a := from.tcp[to.IP.String()+" "+strconv.Itoa(int(port))]; a != "" {
			p.Ports[tcp(port)] = a
		}
	}
	for _, port := range []uint16{gossipPort, t.dataPath} {
		p.Ports[udp(port)] = Lost
		if arrived(port) {
			p.Ports[udp(port)] = Arrived
		}
	}
	return p
}

// tell puts what was learned into the facts.
func (t *tries) tell(f *Facts) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range t.nodes {
		i := slices.IndexFunc(f.Nodes, func(m Node) bool { return m.Name == n.Name })
		if n.err != nil {
			f.Nodes[i].ProbeError = withoutScript(n.err)
			continue
		}
		slices.Sort(n.listens)
		f.Nodes[i].Listens = n.listens
		for _, ip := range n.asks {
			if f.Nodes[i].DNS == nil {
				f.Nodes[i].DNS = map[string]bool{}
			}
			f.Nodes[i].DNS[ip] = n.said["dns "+ip]
		}
		for _, to := range t.nodes {
			if to != n && to.err == nil {
				f.Probes = append(f.Probes, t.probeLocked(n, to))
			}
		}
	}
}

// withoutScript puts an error into words that do not hold the whole of
// probe.pl, which is an argument.
func withoutScript(err error) string {
	var exit *remote.ExitError
	var run *remote.RunError
	switch {
	case errors.As(err, &exit):
		return fmt.Sprintf("sudo perl: exit code %d: %s", exit.Result.ExitCode, oneLine(exit.Output()))
	case errors.As(err, &run):
		return "sudo perl: " + run.Err.Error()
	}
	return err.Error()
}

// lineWriter hands over each whole line.
type lineWriter struct {
	each func(string)
	rest []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		i := bytes.IndexByte(w.rest, '\n')
		if i < 0 {
			return len(p), nil
		}
		line := string(w.rest[:i])
		w.rest = w.rest[i+1:]
		w.each(line)
	}
}
