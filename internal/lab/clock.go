package lab

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"labctl/internal/config"
	"labctl/internal/remote"
)

// clockLimit is how far a node's clock may be off before it is set. A swarm's
// certificates bear an hour, and are not valid at all some days off; ten
// seconds leave its logs and the scenarios' tables in order.
const clockLimit = 10 * time.Second

// matchClock compares a node's clock with this machine's before the node comes
// into a swarm, and sets it if they differ.
func (e *Env) matchClock(ctx context.Context, n config.Node, say func(string)) (changed bool, err error) {
	if _, ok := e.inTime.Load(n.Name); ok {
		return false, nil
	}
	c := e.Runner(n.Name)
	off, fuzz, err := clockOf(ctx, c, n.Name)
	if err != nil || off.Abs()-fuzz <= clockLimit {
		return false, err
	}
	if e.existing() {
		return false, &ClockError{Node: n.Name, Off: off, Theirs: true}
	}
	how := "ahead of"
	if off < 0 {
		how = "behind"
	}
	say(fmt.Sprintf("its clock is %v %s this machine's: setting it", off.Abs().Round(time.Second), how))
	if err := setClock(ctx, c, n.Name); err != nil {
		return false, err
	}
	if off, fuzz, err = clockOf(ctx, c, n.Name); err == nil && off.Abs()-fuzz > clockLimit {
		err = &ClockError{Node: n.Name, Off: off}
	}
	return true, err
}

// clockOfPrepare takes what the preparation of a node says of its clock: of one
// that is plainly right matchClock need not ask again.
func (e *Env) clockOfPrepare(n config.Node) func(time.Duration) {
	return func(ahead time.Duration) {
		if ahead.Abs() < clockLimit/2 {
			e.inTime.Store(n.Name, nil)
		}
	}
}

// clockOf tells how far a node's clock is ahead of this machine's, give or
// take fuzz.
func clockOf(ctx context.Context, c remote.Runner, node string) (off, fuzz time.Duration, err error) {
	begin := time.Now()
	res, err := remote.Check(ctx, c, node, remote.Command{Argv: []string{"date", "-u", "+%s.%N"}})
	if err != nil {
		return 0, 0, err
	}
	fuzz = time.Since(begin) / 2
	seconds, err := strconv.ParseFloat(strings.TrimSpace(res.Stdout), 64)
	if err != nil {
		return 0, 0, fmt.Errorf("%s: its clock: %w", node, err)
	}
	return time.UnixMicro(int64(seconds * 1e6)).Sub(begin.Add(fuzz)), fuzz, nil
}

// ClockError is a node whose clock does not stay where it was set.
type ClockError struct {
	Node string
	Off  time.Duration // ahead of this machine's; negative: behind
	// Theirs says that labctl did not make the machine, and left the clock.
	Theirs bool
}

func (e *ClockError) Error() string {
	if e.Theirs {
		return fmt.Sprintf("%s: its clock and this machine's are %v apart, with which no swarm can be formed", e.Node, e.Off.Abs().Round(time.Second))
	}
	return fmt.Sprintf("%s: its clock was set and is off again by %v", e.Node, e.Off.Abs().Round(time.Second))
}

// Hint says what sets clocks.
func (e *ClockError) Hint() string {
	if e.Theirs {
		return fmt.Sprintf("labctl sets no clock of a machine that it did not make; on %s: sudo timedatectl set-ntp true", e.Node)
	}
	return fmt.Sprintf("a service on %s sets it to another time: labctl exec %s -- timedatectl", e.Node, e.Node)
}

// setClock gives a node this machine's time. Only a node that was set back,
// or stood still, needs it.
func setClock(ctx context.Context, c *remote.Conn, node string) error {
	now := time.Now()
	_, err := remote.Check(ctx, c, node, remote.Script(`sudo -n date -u -s "@$1" >/dev/null`, fmt.Sprintf("%d.%03d", now.Unix(), now.Nanosecond()/1e6)))
	return err
}

// setClocks sets those of the connected nodes, side by side.
func setClocks(ctx context.Context, e *Env) error {
	var connected []config.Node
	for _, n := range e.Lab.Nodes {
		if e.Runner(n.Name) != nil {
			connected = append(connected, n)
		}
	}
	errs := make(chan error, len(connected))
	for _, n := range connected {
		go func() { errs <- setClock(ctx, e.Runner(n.Name), n.Name) }()
	}
	var all []error
	for range connected {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}
