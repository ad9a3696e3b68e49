package scenario

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"labctl/internal/config"
)

// Lint lists what is wrong with a parsed document beyond its form: what could
// never work, and, as warnings, what a reader would stumble over. It knows no
// lab; Run checks the document again against the nodes that there are.
func Lint(d *Document) []Problem {
	l := &linter{doc: d, ids: map[string]*Block{}}
	l.ownIDs()
	checks, given := 0, 0
	for _, b := range d.Blocks {
		switch {
		case b.Given:
			given++
		case b.Kind == Check:
			checks++
		}
		l.place(b)
		l.reference(b)
		l.prose(b)
	}
	l.scripts()
	if checks == 0 && given > 0 {
		l.add(max(d.Head.Line, 1), "", "every check is given: nothing that a trainee does could fail")
	} else if checks == 0 {
		l.add(max(d.Head.Line, 1), "", "no block is a check: such a document could not fail")
	}
	sortProblems(l.problems)
	return l.problems
}

type linter struct {
	doc      *Document
	ids      map[string]*Block
	problems []Problem
}

func (l *linter) add(line int, suggest, format string, args ...any) {
	l.problems = append(l.problems, Problem{
		File: l.doc.File, Line: line, Reason: fmt.Sprintf(format, args...), Suggest: suggest})
}

func (l *linter) warn(line int, format string, args ...any) {
	l.problems = append(l.problems, Problem{
		File: l.doc.File, Line: line, Reason: fmt.Sprintf(format, args...), Warning: true})
}

func (l *linter) ownIDs() {
	for _, b := range l.doc.Blocks {
		if b.ID == "" {
			continue
		}
		if first := l.ids[b.ID]; first != nil {
			l.add(b.Line, "", "id=%s is used twice, first in line %d", b.ID, first.Line)
			continue
		}
		l.ids[b.ID] = b
	}
}

var nth = regexp.MustCompile(`^(manager|worker)([1-9][0-9]*)$`)

// place refuses what is no node's name but a slip of a role, and a role that
// the head does not ask for.
func (l *linter) place(b *Block) {
	needs := l.doc.Head.Needs
	want := func(role string, n, have int) {
		if n > have && !l.doc.headUnread {
			l.add(b.Line, "", "@%s needs %d %s(s), but the head asks for %ss = %d", b.Place, n, role, role, have)
		}
	}
	switch b.Place {
	case "all", "host", "":
	case "manager", "managers":
		want("manager", 1, needs.Managers)
	case "worker", "workers":
		want("worker", 1, needs.Workers)
	default:
		if m := nth.FindStringSubmatch(b.Place); m != nil {
			n, _ := strconv.Atoi(m[2])
			if m[1] == "manager" {
				want(m[1], n, needs.Managers)
			} else {
				want(m[1], n, needs.Workers)
			}
			return
		}
		// A node's name is not known here. One without a digit that differs
		// from a role by a letter or two is taken for a slip.
		if s := nearest(b.Place, placeWords); s != "" && !strings.ContainsAny(b.Place, "0123456789") {
			l.add(b.Line, "@"+s, "unknown place @%s", b.Place)
		}
	}
}

// reference checks undo and cleanup against the block that they name.
func (l *linter) reference(b *Block) {
	if b.Kind == Fault && b.ID != "" {
		if !slices.ContainsFunc(l.doc.Blocks, func(u *Block) bool { return u.Kind == Undo && u.For == b.ID }) {
			l.add(b.Line, "", "fault id=%s has no undo for=%s", b.ID, b.ID)
		}
	}
	if b.For == "" {
		return
	}
	target := l.ids[b.For]
	var fit []string
	for _, t := range l.doc.Blocks {
		if t.ID != "" && (t.Kind == Fault) == (b.Kind == Undo) && makes(t.Kind) {
			fit = append(fit, t.ID)
		}
	}
	switch {
	case target == nil:
		l.add(b.Line, nearest(b.For, fit), "for=%s: no block has this id", b.For)
	case !slices.Contains(fit, b.For):
		l.add(b.Line, "", "for=%s: the block in line %d is %s, which %s cannot belong to", b.For, target.Line, target.Kind.withArticle(), b.Kind.withArticle())
	case target.Index > b.Index:
		l.add(b.Line, "", "for=%s: the block in line %d comes later", b.For, target.Line)
	}
	if b.Kind == Undo {
		for _, u := range l.doc.Blocks[:b.Index] {
			if u.Kind == Undo && u.For == b.For {
				l.add(b.Line, "", "a second undo for=%s; the first is in line %d", b.For, u.Line)
			}
		}
	}
}

// makes tells the kinds that leave something behind.
func makes(k Kind) bool { return k == Step || k == Solve || k == Fault }

// scripts parses the shell of each block and looks up its variables.
func (l *linter) scripts() {
	known := map[string]bool{}
	values := map[string]string{}
	for _, p := range l.doc.Head.Params {
		known[p.Var()] = true
		values[p.Var()] = p.Default
	}
	for _, v := range slices.Concat(wellKnown, inherited) {
		known[v] = true
	}
	saved := map[string]bool{}
	for _, b := range l.doc.Blocks {
		s, line, err := readScript(b.Script)
		if err != nil {
			l.add(b.Line+line, "", "shell syntax: %v", err)
		}
		if !l.doc.headUnread { // else every parameter would be unknown
			l.variables(b, s, known, saved)
		}
		l.ports(b, s, values)
		l.labctl(b)
		if b.Save == "" {
			continue
		}
		if reserved(b.Save) || slices.ContainsFunc(l.doc.Head.Params, func(p Param) bool { return p.Var() == b.Save }) {
			l.add(b.Line, "", "save=%s would overwrite a variable that is already there", b.Save)
		}
		saved[b.Save] = true
	}
}

func (l *linter) variables(b *Block, s script, known, saved map[string]bool) {
	told := map[string]bool{}
	for _, u := range s.uses {
		ok := (known[u.name] || saved[u.name] || s.assigned[u.name] || strings.HasPrefix(u.name, "LAB_IP_")) &&
			!(u.name == "LAB_IP" && b.Place == "host" && !s.assigned["LAB_IP"]) &&
			!(slices.Contains(hostOnly, u.name) && b.Place != "host" && !s.assigned[u.name]) || told[u.name]
		if ok {
			continue
		}
		told[u.name] = true
		var words []string
		for _, m := range []map[string]bool{known, saved, s.assigned} {
			for w := range m {
				words = append(words, w)
			}
		}
		slices.Sort(words)
		suggest := nearest(u.name, words)
		if suggest != "" {
			suggest = "$" + suggest
		}
		l.add(b.Line+u.line, suggest, "$%s is not set: it is no parameter, not saved before, and not assigned in the block", u.name)
	}
}

func (l *linter) ports(b *Block, s script, values map[string]string) {
	for _, u := range s.ports {
		if port := u.cutsOff(values); port != 0 {
			l.add(b.Line+u.line, "", "publishing port %d would cut the lab off: %s", port, labPorts[port])
		}
	}
}

// placeNames are the words by which prose may name a place, in the languages
// that documents are written in.
var placeNames = map[string][]string{
	"manager":  {"manager", "マネージャ"},
	"managers": {"managers", "each manager", "every manager", "マネージャ"},
	"worker":   {"worker", "ワーカ"},
	"workers":  {"workers", "each worker", "every worker", "ワーカ"},
	"all":      {"every node", "each node", "all nodes", "both nodes", "全ノード", "すべてのノード", "各ノード"},
	"host":     {"host", "your own machine", "ホスト"},
}

// prose warns where the text above a block does not say where it runs: Git
// hosts hide the words of the fence.
func (l *linter) prose(b *Block) {
	names, ok := placeNames[b.Place]
	if !ok {
		names = []string{strings.ToLower(b.Place)}
		if m := nth.FindStringSubmatch(b.Place); m != nil {
			names = append(names, placeNames[m[1]]...)
		}
	}
	if b.Place == "" {
		return
	}
	text := strings.ToLower(b.prose)
	if !slices.ContainsFunc(names, func(n string) bool { return strings.Contains(text, n) }) {
		l.warn(b.Line, "the text above the block does not say that it runs on @%s (a reader does not see that word): write %s", b.Place, oneOf(names))
	}
}

// against lists what cannot work with the nodes and values of one run.
func (d *Document) against(nodes []Node, vars map[string]string) []Problem {
	l := &linter{doc: d}
	saved := map[string]bool{}
	for _, b := range d.Blocks {
		if b.Place != "host" && len(pick(b.Place, nodes)) == 0 {
			names := slices.Clone(placeWords)
			for _, n := range nodes {
				names = append(names, n.Name)
			}
			suggest := nearest(b.Place, names)
			if suggest != "" {
				suggest = "@" + suggest
			}
			l.add(b.Line, suggest, "the lab has no node for @%s", b.Place)
		}
		s, _, err := readScript(b.Script)
		if err != nil {
			continue
		}
		for _, u := range s.uses {
			_, set := vars[u.name]
			if !set && !saved[u.name] && !s.assigned[u.name] && (strings.HasPrefix(u.name, "LAB_IP_") || u.name == "WORKER_IP" || u.name == "MANAGER_IP") {
				l.add(b.Line+u.line, "", "the lab has no node for $%s", u.name)
			}
		}
		l.ports(b, s, vars)
		saved[b.Save] = true
	}
	return l.problems
}

// pick returns the nodes that a place names, nil if there is none. It does
// not know @host, which is no node.
func pick(place string, nodes []Node) []Node {
	byRole := func(r config.Role) []Node {
		return slices.DeleteFunc(slices.Clone(nodes), func(n Node) bool { return n.Role != r })
	}
	one := func(list []Node, i int) []Node {
		if i >= len(list) {
			return nil
		}
		return list[i : i+1]
	}
	switch place {
	case "all":
		return nodes
	case "managers":
		return byRole(config.Manager)
	case "workers":
		return byRole(config.Worker)
	}
	// A node's own name wins over a role's number.
	for i, n := range nodes {
		if n.Name == place {
			return nodes[i : i+1]
		}
	}
	switch place {
	case "manager":
		return one(byRole(config.Manager), 0)
	case "worker":
		return one(byRole(config.Worker), 0)
	}
	if m := nth.FindStringSubmatch(place); m != nil {
		i, _ := strconv.Atoi(m[2])
		return one(byRole(config.Role(m[1])), i-1)
	}
	return nil
}
