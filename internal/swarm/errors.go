package swarm

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"time"
)

// StateError is an engine whose part in a swarm is not what lab.toml wants
// and which labctl does not change on its own.
type StateError struct {
	Node    string
	Problem string
	Remedy  string
}

func (e *StateError) Error() string { return e.Node + ": " + e.Problem }

// Hint tells what to do about it.
func (e *StateError) Hint() string { return e.Remedy }

// ForeignSwarmError is a node that is in a swarm other than the lab's.
type ForeignSwarmError struct {
	Node     string
	Managers []string // the other swarm's managers, host:port
	// Existing says that labctl did not make the machine.
	Existing bool
}

func (e *ForeignSwarmError) Error() string {
	if len(e.Managers) == 0 {
		return e.Node + ": is already in another swarm"
	}
	return fmt.Sprintf("%s: is already in another swarm, with its managers at %s", e.Node, strings.Join(e.Managers, ", "))
}

// Hint tells how to take the node out of it.
func (e *ForeignSwarmError) Hint() string {
	if e.Existing {
		return fmt.Sprintf("labctl neither joins nor leaves a swarm that it did not form; nothing was changed. If it is of no more use, on %s: docker swarm leave --force; else take the machine out of lab.toml", e.Node)
	}
	return fmt.Sprintf("if that swarm is of no more use: labctl exec %s -- docker swarm leave --force, then the same command again", e.Node)
}

// JoinError is a join that did not come to its end.
type JoinError struct {
	Node   string
	Leader string     // node name
	Addr   netip.Addr // of the leader
	State  string     // the engine's local node state
	Detail string     // what the engine says, "" if nothing
	After  time.Duration
}

func (e *JoinError) Error() string {
	s := fmt.Sprintf("%s: join the swarm of %s at %s: state %s after %v", e.Node, e.Leader, controlAddr(e.Addr), e.State, e.After.Round(time.Second))
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// Hint names the usual cause.
func (e *JoinError) Hint() string {
	return fmt.Sprintf("can %s reach %s? 2377/tcp is needed for joining, 7946/tcp, 7946/udp and 4789/udp later; the clocks must agree too. The same command tries again",
		e.Node, controlAddr(e.Addr))
}

// DeviationError lists in what the swarm differs from lab.toml.
type DeviationError struct {
	Deviations []string // each "NODE: what is, want what"
	Within     time.Duration
}

func (e *DeviationError) Error() string {
	return fmt.Sprintf("the swarm is not as lab.toml wants it after %v:\n  %s", e.Within, strings.Join(e.Deviations, "\n  "))
}

// Hint says how to see more.
func (e *DeviationError) Hint() string {
	return "`labctl status` shows the swarm as it is; `labctl swarm leave` and `labctl swarm form` make it anew"
}

// secret matches join tokens and unlock keys in full.
var secret = regexp.MustCompile(`SWM(TKN|KEY)-[0-9A-Za-z+/=-]+`)

// redact takes tokens out of an error that an engine echoes. The chain is cut
// then, since the error below still holds the token.
func redact(err error) error {
	if err == nil || !secret.MatchString(err.Error()) {
		return err
	}
	return errors.New(redactText(err.Error()))
}

func redactText(s string) string { return secret.ReplaceAllString(s, "SWM$1-[redacted]") }
