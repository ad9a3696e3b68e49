//go:build linux

package main

import (
	"slices"
	"time"
)

// The two ways to a lab, the plain one in its two forms.
const (
	sideLabctl     = "labctl"
	sideParallel   = "plain, parallel"
	sideSequential = "plain, sequential"
)

// What is measured. "create" of a plain side is measured against several of
// labctl's.
const (
	coldCreate      = "cold create"
	warmCreate      = "warm create"
	secondCreate    = "second create"
	bake            = "bake"
	status          = "status"
	execTrue        = "exec"
	snapshotSave    = "snapshot save"
	snapshotRestore = "snapshot restore"
	reset           = "reset"
	destroy         = "destroy"
	create          = "create"
)

// Result is one run of the benchmark, as it is kept in bench/.
type Result struct {
	Schema   int               `json:"schema"`
	Date     time.Time         `json:"date"`    // UTC
	Command  string            `json:"command"` // that makes it again
	Rounds   int               `json:"rounds"`
	Machine  Machine           `json:"machine"`
	Versions map[string]string `json:"versions"`
	Samples  []Sample          `json:"samples"`
	Counts   []Count           `json:"counts"`
	// Timelines are of labctl's creates, by step.
	Timelines []Timeline `json:"timelines"`
	// Incomplete says why the run ended early; "" for a whole one.
	Incomplete string `json:"incomplete,omitempty"`
}

// Machine is where it ran.
type Machine struct {
	CPU          string `json:"cpu"`
	Cores        int    `json:"cores"`
	MemoryMB     int    `json:"memory_mb"`
	Acceleration string `json:"acceleration"` // kvm or tcg
}

// Sample is one measurement.
type Sample struct {
	Round   int     `json:"round"`
	Side    string  `json:"side"`
	What    string  `json:"what"`
	Seconds float64 `json:"seconds"`
	// Load is the machine's load average over the minute before: what others
	// did on it makes a figure doubtful.
	Load float64 `json:"load"`
}

// Count is what a create cost in numbers that no machine changes.
type Count struct {
	Round int    `json:"round"`
	Side  string `json:"side"`
	// Nodes and VMsMB, the memory of their VMs, are told of labs of other sizes.
	Nodes int `json:"nodes,omitempty"`
	VMsMB int `json:"vms_mb,omitempty"`
	// Logins is how many SSH handshakes each node's sshd accepted, whoever
	// made them.
	Logins map[string]int `json:"logins,omitempty"`
	// VagrantCalls, Handshakes, Commands and Sent (bytes) are labctl's own
	// count of its create.
	VagrantCalls int   `json:"vagrant_calls,omitempty"`
	Handshakes   int   `json:"ssh_handshakes,omitempty"`
	Commands     int   `json:"ssh_commands,omitempty"`
	Sent         int64 `json:"ssh_sent,omitempty"`
}

// values returns the seconds of all samples of one thing.
func (r *Result) values(side, what string) []float64 {
	var out []float64
	for _, s := range r.Samples {
		if s.Side == side && s.What == what {
			out = append(out, s.Seconds)
		}
	}
	return out
}

// median is that of all samples of one thing; ok is false if there is none.
func (r *Result) median(side, what string) (seconds float64, ok bool) {
	v := r.values(side, what)
	if len(v) == 0 {
		return 0, false
	}
	slices.Sort(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2, true
	}
	return v[len(v)/2], true
}

// Comparison is one of labctl's medians against one of the plain way's.
type Comparison struct {
	What        string
	Against     string // the plain side
	AgainstWhat string
	Target      float64 // the largest ratio that is wanted; 0 for none
	Labctl      float64 // seconds
	Plain       float64
}

// Ratio is below 1 where labctl is quicker.
func (c Comparison) Ratio() float64 { return c.Labctl / c.Plain }

// wanted are the comparisons with the ratios that were promised.
var wanted = []Comparison{
	{What: coldCreate, Against: sideSequential, AgainstWhat: create, Target: 0.25},
	{What: coldCreate, Against: sideParallel, AgainstWhat: create, Target: 0.50},
	{What: warmCreate, Against: sideParallel, AgainstWhat: create, Target: 0.33},
	{What: reset, Against: sideSequential, AgainstWhat: create, Target: 0.05},
	{What: reset, Against: sideParallel, AgainstWhat: create},
	{What: status, Against: sideParallel, AgainstWhat: status, Target: 0.10},
	{What: execTrue, Against: sideParallel, AgainstWhat: execTrue, Target: 0.10},
	{What: destroy, Against: sideParallel, AgainstWhat: destroy},
}

// resetSeconds is the most that reset may take on two nodes without KVM.
const resetSeconds = 10

// comparisons returns those of which both sides were measured.
func (r *Result) comparisons() []Comparison {
	var out []Comparison
	for _, c := range wanted {
		var mine, plain bool
		c.Labctl, mine = r.median(sideLabctl, c.What)
		c.Plain, plain = r.median(c.Against, c.AgainstWhat)
		if mine && plain {
			out = append(out, c)
		}
	}
	return out
}
