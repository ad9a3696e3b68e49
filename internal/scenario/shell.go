package scenario

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// script is what lint knows about the shell text of a block.
type script struct {
	uses     []varUse
	assigned map[string]bool
	ports    []portUse
}

type varUse struct {
	name string
	line int // in the script, from 1
}

// portUse is one published port as written: words with variables in them.
type portUse struct {
	word *syntax.Word
	skip string // what stands before the port in the same word: "--publish="
	line int
}

// readScript parses the text as POSIX shell. err holds line and reason.
func readScript(text string) (s script, line int, err error) {
	file, err := syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).Parse(strings.NewReader(text), "")
	if err != nil {
		var pe syntax.ParseError
		var le syntax.LangError
		switch {
		case errors.As(err, &pe):
			return s, int(pe.Pos.Line()), errors.New(pe.Text)
		case errors.As(err, &le):
			return s, int(le.Pos.Line()), fmt.Errorf("a plain sh does not know %s", le.Feature)
		}
		return s, 1, err
	}
	s.assigned = map[string]bool{}
	functions, setsArgs := 0, false
	var stack []syntax.Node
	syntax.Walk(file, func(n syntax.Node) bool {
		if n == nil {
			if _, ok := stack[len(stack)-1].(*syntax.FuncDecl); ok {
				functions--
			}
			stack = stack[:len(stack)-1]
			return true
		}
		stack = append(stack, n)
		switch n := n.(type) {
		case *syntax.FuncDecl:
			functions++
		case *syntax.Assign:
			if n.Name != nil {
				s.assigned[n.Name.Value] = true
			}
		case *syntax.WordIter:
			s.assigned[n.Name.Value] = true
		case *syntax.CallExpr:
			setsArgs = s.call(n) || setsArgs
		case *syntax.ParamExp:
			s.param(n, functions > 0 || setsArgs)
		}
		return true
	})
	// awk reads variables in a way of its own, and takes a misspelled one for
	// an empty one.
	for _, at := range inAwk.FindAllStringSubmatchIndex(text, -1) {
		s.uses = append(s.uses, varUse{name: text[at[2]:at[3]], line: strings.Count(text[:at[0]], "\n") + 1})
	}
	return s, 0, nil
}

var inAwk = regexp.MustCompile(`ENVIRON\["([A-Za-z_][A-Za-z0-9_]*)"\]`)

func (s *script) param(n *syntax.ParamExp, argsSet bool) {
	if n.Param == nil {
		return
	}
	name := n.Param.Value
	if n.Exp != nil {
		switch n.Exp.Op {
		case syntax.DefaultUnset, syntax.DefaultUnsetOrNull, syntax.AlternateUnset, syntax.AlternateUnsetOrNull:
			return
		case syntax.AssignUnset, syntax.AssignUnsetOrNull:
			s.assigned[name] = true
			return
		}
	}
	if strings.Contains("@*#?-$!0", name) {
		return
	}
	if _, err := strconv.Atoi(name); err == nil && argsSet {
		return
	}
	s.uses = append(s.uses, varUse{name: name, line: int(n.Pos().Line())})
}

var assignForm = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]*)(=|$)`)

// call looks at one simple command: what it sets, what it publishes. It
// reports whether it sets the positional parameters.
func (s *script) call(c *syntax.CallExpr) bool {
	words := make([]string, len(c.Args))
	for i, w := range c.Args {
		words[i] = prefixOf(w)
	}
	if len(words) == 0 {
		return false
	}
	switch words[0] {
	case "set":
		return true
	case "read", "getopts", "export", "readonly", "local":
		for _, w := range words[1:] {
			if m := assignForm.FindStringSubmatch(w); m != nil && (words[0] != "export" || m[2] == "=") {
				s.assigned[m[1]] = true
			}
		}
	}
	for i, w := range words {
		if w == "docker" {
			s.docker(c.Args[i:], words[i:])
		} else if !slices.Contains([]string{"sudo", "command", "exec", "env"}, w) {
			break
		}
	}
	return false
}

func (s *script) docker(args []*syntax.Word, words []string) {
	if !slices.ContainsFunc(words, func(w string) bool {
		return w == "service" || w == "run" || w == "create" || w == "stack"
	}) {
		return
	}
	publish := []string{"-p", "--publish", "--publish-add"}
	for i := 1; i < len(words); i++ {
		line := int(args[i].Pos().Line())
		for _, flag := range publish {
			switch {
			case words[i] == flag && i+1 < len(args):
				s.ports = append(s.ports, portUse{word: args[i+1], line: line})
			case strings.HasPrefix(words[i], flag+"="):
				s.ports = append(s.ports, portUse{word: args[i], skip: flag + "=", line: line})
			case flag == "-p" && strings.HasPrefix(words[i], "-p") && len(words[i]) >= 2 && words[i] != "-p" && !strings.HasPrefix(words[i], "-p="):
				s.ports = append(s.ports, portUse{word: args[i], skip: "-p", line: line})
			case flag == "-p" && words[i] == "-p" && len(args[i].Parts) > 1: // -p"$PORT:80"
				s.ports = append(s.ports, portUse{word: args[i], skip: "-p", line: line})
			}
		}
	}
}

// prefixOf is the literal text of a word up to its first expansion.
func prefixOf(w *syntax.Word) string {
	text, _ := expand(w, nil)
	return text
}

// expand is the text of a word with its variables replaced. It stops at what
// cannot be known before the run, and then reports false.
func expand(w *syntax.Word, vars map[string]string) (string, bool) {
	var out strings.Builder
	var parts func(list []syntax.WordPart) bool
	parts = func(list []syntax.WordPart) bool {
		for _, p := range list {
			switch p := p.(type) {
			case *syntax.Lit:
				out.WriteString(strings.ReplaceAll(p.Value, `\`, ""))
			case *syntax.SglQuoted:
				out.WriteString(p.Value)
			case *syntax.DblQuoted:
				if !parts(p.Parts) {
					return false
				}
			case *syntax.ParamExp:
				value, known := "", false
				if p.Param != nil && p.Exp == nil && !p.Length {
					value, known = vars[p.Param.Value]
				}
				if !known {
					return false
				}
				out.WriteString(value)
			default:
				return false
			}
		}
		return true
	}
	whole := parts(w.Parts)
	return out.String(), whole
}

// labPorts are those by which the lab itself lives.
var labPorts = map[int]string{
	22: "labctl reaches the nodes by it", 2377: "the managers speak by it",
	7946: "the nodes of the swarm gossip by it", 4789: "the overlay networks run over it",
}

// cutsOff says which of the lab's own ports a published port would take, with
// vars as the values of the variables; 0 if none.
func (u portUse) cutsOff(vars map[string]string) int {
	text, whole := expand(u.word, vars)
	text = strings.TrimPrefix(text, u.skip)
	published, known := text, whole || strings.Contains(text, ":")
	if strings.Contains(text, "=") { // published=8080,target=80
		published = ""
		for _, field := range strings.Split(text, ",") {
			if key, value, _ := strings.Cut(field, "="); key == "published" {
				published = value
			}
		}
	} else {
		fields := strings.Split(strings.SplitN(text, "/", 2)[0], ":")
		switch {
		case !known || len(fields) == 1 && whole:
			return 0 // unknown, or a target alone: the engine picks the port
		case len(fields) >= 3:
			published = fields[len(fields)-2]
		default:
			published = fields[0]
		}
	}
	from, to, isRange := strings.Cut(published, "-")
	low, err := strconv.Atoi(strings.TrimSpace(from))
	if err != nil {
		return 0
	}
	high := low
	if isRange {
		if high, err = strconv.Atoi(strings.TrimSpace(to)); err != nil {
			return 0
		}
	}
	for _, port := range []int{22, 2377, 4789, 7946} {
		if low <= port && port <= high {
			return port
		}
	}
	return 0
}
