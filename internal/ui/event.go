// Package ui shows progress on standard error: a board with one line a node
// on a terminal, plain lines elsewhere, JSON lines on request. It decides
// nothing.
package ui

import "time"

// State is where a step stands.
type State string

// The states of a step, in the order in which they come.
const (
	Started  State = "started"
	Progress State = "progress" // Detail says what it is doing or waiting for
	Done     State = "done"     // something was done
	Kept     State = "kept"     // nothing had to be done
	Failed   State = "failed"
	Skipped  State = "skipped" // never started, since something before it failed
)

// Event is one piece of news about one step of one node.
type Event struct {
	Time    time.Time     `json:"time"`
	Node    string        `json:"node,omitempty"` // "" for a step of the lab as a whole
	Step    string        `json:"step"`
	State   State         `json:"state"`
	Detail  string        `json:"detail,omitempty"`
	Elapsed time.Duration `json:"elapsed_ns,omitempty"` // since Started
}

// Sink takes events, from several goroutines at once.
type Sink interface{ Event(Event) }
