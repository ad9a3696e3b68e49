package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong, or doubtful, in a lab.toml.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line"` // from 1; 0 if it concerns the file as a whole
	Key     string `json:"key"`  // as in nodes[1].ip; "" for a syntax error
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"` // what to do about it
}

// String writes the problem on one line, in the form that editors can follow.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	b.WriteString(": ")
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.Message)
	if p.Hint != "" {
		b.WriteString("; " + p.Hint)
	}
	return b.String()
}

// Errors is every problem of a lab.toml at once, in the order of its lines.
type Errors struct{ Problems []Problem }

// Error writes one line a problem.
func (e *Errors) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// source is the file under examination: where its keys stand, and what was
// found wrong so far.
type source struct {
	file     string
	lines    map[string]int // key path to line
	problems []Problem
	warnings []Problem
}

// has reports whether the file itself sets key.
func (s *source) has(key string) bool {
	_, ok := s.lines[key]
	return ok
}

// line returns the line of key or, if the file does not hold it, of the
// nearest table around it; 0 if there is none.
func (s *source) line(key string) int {
	for key != "" {
		if n, ok := s.lines[key]; ok {
			return n
		}
		key = key[:max(0, strings.LastIndexAny(key, ".["))]
	}
	return 0
}

// wrong notes a problem. The same one twice (a default that several nodes
// inherit) is one.
func (s *source) wrong(key, hint, format string, args ...any) {
	s.problems = s.add(s.problems, key, hint, fmt.Sprintf(format, args...))
}

func (s *source) warn(key, hint, format string, args ...any) {
	s.warnings = s.add(s.warnings, key, hint, fmt.Sprintf(format, args...))
}

func (s *source) add(to []Problem, key, hint, message string) []Problem {
	p := Problem{File: s.file, Line: s.line(key), Key: key, Message: message, Hint: hint}
	if slices.Contains(to, p) {
		return to
	}
	return append(to, p)
}

// isWrong reports whether a problem of exactly this key was noted.
func (s *source) isWrong(key string) bool {
	return slices.ContainsFunc(s.problems, func(p Problem) bool { return p.Key == key })
}

func sortProblems(ps []Problem) []Problem {
	slices.SortStableFunc(ps, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return ps
}
