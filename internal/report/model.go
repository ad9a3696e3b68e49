package report

import (
	"time"
)

// Schema is the version of report.json's format.
const Schema = 1

// Report is what is known of one run; it marshals to report.json. All texts
// are valid UTF-8 without control characters other than line feeds and tabs.
// Times named Start are seconds since Started.
type Report struct {
	Schema   int       `json:"schema"`
	Run      string    `json:"run"`     // the folder's name
	Command  string    `json:"command"` // such as "create" or "scenario-lb"; "" if unknown
	Lab      string    `json:"lab,omitempty"`
	Subnet   string    `json:"subnet,omitempty"`   // of the nodes
	Provider string    `json:"provider,omitempty"` // of the VMs
	Verdict  string    `json:"verdict"`            // a word; see the Verdict constants, and scenario.Result.Word
	OK       bool      `json:"ok"`
	Summary  string    `json:"summary"` // a sentence
	Error    string    `json:"error,omitempty"`
	Started  time.Time `json:"started"` // zero: unknown
	Seconds  float64   `json:"seconds"` // of the whole command; 0: unknown
	Labctl   string    `json:"labctl,omitempty"`
	Versions []Version `json:"versions"`
	Nodes    []Node    `json:"nodes"`
	Networks []Network `json:"networks"` // swarm-wide ones
	Services []Service `json:"services"`
	Replicas []Replica `json:"replicas"` // tasks that shall run or failed
	Steps    []Step    `json:"steps"`    // what labctl did, in order of their start; not a scenario's blocks
	Scenario *Scenario `json:"scenario,omitempty"`
	Failure  *Failure  `json:"failure,omitempty"`
	Answers  []Answers `json:"answers"`
	Pings    []Pings   `json:"pings"`
	Faults   []Fault   `json:"faults"`
	Findings []Finding `json:"findings"` // of diagnose, for the lab as a whole
	Files    []File    `json:"files"`
	Missing  []Missing `json:"missing"` // evidence that could not be had
	Notes    []string  `json:"notes"`   // what was wrong with the folder itself

	room int // bytes of blocks' outputs that may still be taken in
}

// Verdicts of commands that are no scenario.
const (
	VerdictOK         = "OK"
	VerdictFailed     = "FAILED"
	VerdictUnfinished = "UNFINISHED" // there is no manifest.json, or none that can be read
)

// Version is a version of something and where it was found.
type Version struct {
	What  string   `json:"what"`
	Value string   `json:"value"`
	Nodes []string `json:"nodes,omitempty"` // nil: the machine that ran labctl
}

// Node is one node of the lab.
type Node struct {
	Name      string `json:"name"`
	Role      string `json:"role,omitempty"`
	LabIP     string `json:"lab_ip,omitempty"`
	State     string `json:"state,omitempty"` // of the swarm's member, such as "ready" or "down"
	Drained   bool   `json:"drained,omitempty"`
	Leader    bool   `json:"leader,omitempty"`
	Docker    string `json:"docker,omitempty"`
	OS        string `json:"os,omitempty"`
	Kernel    string `json:"kernel,omitempty"`
	CPUs      int    `json:"cpus,omitempty"`
	MemoryMiB int    `json:"memory_mib,omitempty"`
	Error     string `json:"error,omitempty"` // why it could not be asked
}

// Network is a network that spans nodes.
type Network struct {
	Name    string   `json:"name"`
	Driver  string   `json:"driver"` // "": it never got addresses
	Subnets []string `json:"subnets"`
	Ingress bool     `json:"ingress,omitempty"`
	Nodes   []string `json:"nodes"` // that take part in it
}

// Service is a service of the swarm.
type Service struct {
	Name     string   `json:"name"`
	Image    string   `json:"image,omitempty"`
	Running  int      `json:"running"`
	Desired  int      `json:"desired"`
	Ports    []string `json:"ports"`    // such as "8080 to 80/tcp"
	Networks []string `json:"networks"` // names
}

// Replica is a task of a service.
type Replica struct {
	Name    string `json:"name"` // such as test01.2
	Service string `json:"service"`
	Node    string `json:"node"` // "": none yet
	State   string `json:"state"`
	Desired string `json:"desired"`
	Error   string `json:"error,omitempty"`
}

// Step is a step of labctl's own.
type Step struct {
	Node    string  `json:"node"` // "": the lab as a whole
	Name    string  `json:"name"`
	State   string  `json:"state"` // started (it never ended), done, kept, failed or skipped
	Detail  string  `json:"detail,omitempty"`
	Start   float64 `json:"start"`
	Seconds float64 `json:"seconds"`
}

// Scenario is a scenario's result.
type Scenario struct {
	ID       string            `json:"id"`
	Title    string            `json:"title"`
	File     string            `json:"file"`
	Params   map[string]string `json:"params,omitempty"`
	Held     int               `json:"held"`   // checks that held
	Checks   int               `json:"checks"` // all of them but given ones
	Seconds  float64           `json:"seconds"`
	Chapters []Chapter         `json:"chapters"`
}

// Chapter is a chapter of a scenario.
type Chapter struct {
	Title   string  `json:"title"` // "" before the first
	Verdict string  `json:"verdict"`
	Seconds float64 `json:"seconds"` // of its blocks together
	Blocks  []Block `json:"blocks"`
}

// Block is a block of a scenario.
type Block struct {
	Name    string   `json:"name"` // as in "lb.md:45 check"
	Line    int      `json:"line"`
	Kind    string   `json:"kind"`
	Place   string   `json:"place"`
	ID      string   `json:"id,omitempty"`
	For     string   `json:"for,omitempty"`
	Given   bool     `json:"given,omitempty"`
	Text    string   `json:"text,omitempty"`   // the paragraph above it
	Script  string   `json:"script,omitempty"` // "" if transcript.md does not tell
	Verdict string   `json:"verdict"`
	Reason  string   `json:"reason,omitempty"`
	Start   float64  `json:"start"`
	Seconds float64  `json:"seconds"`
	Nodes   []Output `json:"nodes"`
}

// Output is what a block printed on one node.
type Output struct {
	Node     string  `json:"node"`
	Verdict  string  `json:"verdict"`
	Reason   string  `json:"reason,omitempty"`
	Tries    int     `json:"tries"`
	ExitCode int     `json:"exit_code"`
	Seconds  float64 `json:"seconds"`
	Stdout   string  `json:"stdout,omitempty"`
	Stderr   string  `json:"stderr,omitempty"`
}

// Failure is what a scenario failed at.
type Failure struct {
	Block    string `json:"block"`
	Chapter  string `json:"chapter,omitempty"`
	Node     string `json:"node"`
	Reason   string `json:"reason"`
	Command  string `json:"command"`
	Output   string `json:"output"`
	Tries    int    `json:"tries"`
	Deadline string `json:"deadline"`
}

// Answers is a table of who answered whom, as a block printed it.
type Answers struct {
	Chapter string   `json:"chapter"`
	Block   string   `json:"block"`
	Rows    []Answer `json:"rows"`
}

// Answer says how often a replica answered those who asked an address.
type Answer struct {
	Asked   string `json:"asked"`
	Replica string `json:"replica"`
	Node    string `json:"node"`
	Answers int    `json:"answers"`
}

// Pings is a table of who reached whom, as a block printed it.
type Pings struct {
	Chapter string            `json:"chapter"`
	Block   string            `json:"block"`
	Node    string            `json:"node"`            // on which the block ran
	Where   map[string]string `json:"where,omitempty"` // node of each end, as far as it is known
	Rows    []Ping            `json:"rows"`
}

// Ping is one way from a container to another, by one form of its name.
type Ping struct {
	From    string   `json:"from"`
	To      string   `json:"to"`
	Form    string   `json:"form"`
	Address string   `json:"address"`
	Verdict string   `json:"verdict"` // "ok", or what else the block says
	RTT     *float64 `json:"rtt_ms"`  // nil: none was measured
	Target  string   `json:"target"`
}

// Fault is a fault that a scenario made, and how it was found.
type Fault struct {
	ID       string    `json:"id"`
	Chapter  string    `json:"chapter"`
	Verdict  string    `json:"verdict"` // of all from the fault to its undo
	Text     string    `json:"text,omitempty"`
	Symptom  string    `json:"symptom"` // what was seen, in diagnose's words or a check's
	Findings []Finding `json:"findings"`
	Remedy   string    `json:"remedy"`
	// Seconds from the fault's end; nil where it did not come to that.
	SymptomAfter *float64 `json:"symptom_after"`
	FoundAfter   *float64 `json:"found_after"`
	MendedAfter  *float64 `json:"mended_after"`
}

// Finding is what diagnose found.
type Finding struct {
	ID       string   `json:"id"`
	Severity string   `json:"severity"`
	Symptom  string   `json:"symptom"`
	Cause    string   `json:"cause"`
	Evidence []string `json:"evidence"`
	Remedy   string   `json:"remedy"`
}

// File is a file of the run's folder.
type File struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
	href string // relative, escaped; "" if it is not there
}

// Missing is evidence that could not be had.
type Missing struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}
