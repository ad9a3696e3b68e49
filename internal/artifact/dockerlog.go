package artifact

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/moby/moby/api/pkg/stdcopy"
)

// log keeps a log, also of one that breaks off what came. tty says that its
// two streams are one. arrange, which may be nil, has the last word on it.
func (d *docker) log(ctx context.Context, name string, tty bool, open func(context.Context) (io.ReadCloser, error), arrange func([]byte) []byte) {
	text, err := ask(ctx, d, func(ctx context.Context) ([]byte, error) {
		in, err := open(ctx)
		if err != nil {
			return nil, err
		}
		defer func() { _ = in.Close() }()
		return readLog(in, tty)
	})
	if err != nil {
		d.missing(name, err)
		if len(text) == 0 {
			return
		}
	}
	if arrange != nil {
		text = arrange(text)
	}
	d.write(name, text)
}

// readLog returns a log as the engine sends it: unless it is a terminal's, in
// frames that say which of the two streams they belong to. It takes little
// more than maxFile, whatever the frames say of their size, and returns what
// came before an error, too.
func readLog(in io.Reader, tty bool) ([]byte, error) {
	var out bytes.Buffer
	if tty {
		_, err := io.Copy(&out, io.LimitReader(in, maxFile+1))
		return out.Bytes(), err
	}
	var told error // what the engine says of the log itself
	for out.Len() <= maxFile {
		var head [8]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			if err == io.EOF {
				err = told
			}
			return out.Bytes(), err
		}
		kind, size := stdcopy.StdType(head[0]), int64(binary.BigEndian.Uint32(head[4:]))
		switch kind {
		case stdcopy.Stdin, stdcopy.Stdout, stdcopy.Stderr:
			if _, err := io.CopyN(&out, in, min(size, maxFile+1)); err != nil {
				return out.Bytes(), cut(err)
			}
		case stdcopy.Systemerr:
			text, err := io.ReadAll(io.LimitReader(in, min(size, 1<<10)))
			if err != nil || size > 1<<10 {
				return out.Bytes(), errors.New(strings.TrimSpace(string(text)))
			}
			told = cmp.Or(told, errors.New(strings.TrimSpace(string(text))))
		default:
			return out.Bytes(), fmt.Errorf("not a log of the Docker engine: frame of the kind %d", kind)
		}
	}
	return out.Bytes(), told
}

// cut says that a frame ended too soon.
func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// arrange puts the lines of a service's log, which come from all nodes at
// once, in the order of their time, and says which task on which node each is
// from, as the docker command does.
func (c cluster) arrange(text []byte) []byte {
	lines := strings.SplitAfter(string(text), "\n")
	if last := len(lines) - 1; lines[last] == "" {
		lines = lines[:last]
	} else {
		lines[last] += "\n"
	}
	for i, line := range lines {
		lines[i] = c.named(line)
	}
	slices.SortStableFunc(lines, func(a, b string) int {
		// The engine writes times in one length, so that they sort as text.
		ta, _, _ := strings.Cut(a, " ")
		tb, _, _ := strings.Cut(b, " ")
		return cmp.Compare(ta, tb)
	})
	return []byte(strings.Join(lines, ""))
}

// named turns the second word of a line, such as
// com.docker.swarm.node.id=x,com.docker.swarm.task.id=y, into names.
func (c cluster) named(line string) string {
	when, rest, _ := strings.Cut(line, " ")
	details, message, ok := strings.Cut(rest, " ")
	if !ok || !strings.Contains(details, "com.docker.swarm.task.id=") {
		return line
	}
	var task, node string
	for detail := range strings.SplitSeq(details, ",") {
		switch key, value, _ := strings.Cut(detail, "="); key {
		case "com.docker.swarm.task.id":
			task = value
		case "com.docker.swarm.node.id":
			node = value
		}
	}
	return fmt.Sprintf("%s %s@%s | %s", when, cmp.Or(c.tasks[task], task), cmp.Or(c.nodes[node], node), message)
}
