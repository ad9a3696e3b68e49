package scenario

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"

	"labctl/internal/fault"
)

// A block @host that begins with the word labctl is one command, `labctl
// fault …`, which labctl runs itself: no shell, and no program that somebody
// else put into PATH. labctlCall returns its words, nil for any other block.
func labctlCall(b *Block) ([]*syntax.Word, error) {
	if b.Place != "host" {
		return nil, nil
	}
	file, err := syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).Parse(strings.NewReader(b.Script), "")
	if err != nil || len(file.Stmts) == 0 {
		return nil, nil // lint tells of it elsewhere
	}
	first, ok := file.Stmts[0].Cmd.(*syntax.CallExpr)
	if !ok || len(first.Args) == 0 || prefixOf(first.Args[0]) != "labctl" {
		return nil, nil
	}
	s := file.Stmts[0]
	if len(file.Stmts) > 1 || len(s.Redirs) > 0 || len(first.Assigns) > 0 || s.Background || s.Negated {
		return nil, errors.New("a block that begins with labctl holds one command and nothing else; to run labctl in a shell, write \"$LABCTL\" --config \"$LAB_FILE\"")
	}
	return first.Args[1:], nil
}

// faultWords are the commands of `labctl fault` that each kind may run: what
// breaks something must be a fault, which has an undo.
var faultWords = map[Kind][]string{
	Fault: {"inject"}, Undo: {"clear"}, Cleanup: {"clear"}, Step: {"clear", "reveal", "status"}, Solve: {"clear", "reveal", "status"},
}

// labctl checks a block that begins with that word.
func (l *linter) labctl(b *Block) {
	words, err := labctlCall(b)
	if err != nil {
		l.add(b.Line+1, "", "%v", err)
	}
	if words == nil {
		return
	}
	var args []string
	for _, w := range words {
		text, known := expand(w, nil)
		if !known && !onlyVariables(w) {
			l.add(b.Line+1, "", "labctl reads words and variables here, and nothing that a shell would have to work out")
			return
		}
		if !known {
			text = fault.Unknown
		}
		args = append(args, text)
	}
	allowed := faultWords[b.Kind]
	if len(args) < 2 || args[0] != "fault" || !slices.Contains(allowed, args[1]) {
		suggest := ""
		if len(allowed) > 0 {
			suggest = "labctl fault " + allowed[0]
		}
		l.add(b.Line+1, suggest, "%s cannot run `labctl %s`", b.Kind.withArticle(), strings.Join(args, " "))
		return
	}
	if args[1] == "inject" {
		err = fault.CheckWords(args[2:])
	} else if len(args) > 2 {
		err = fmt.Errorf("`labctl fault %s` takes nothing else", args[1])
	}
	if err != nil {
		l.add(b.Line+1, "", "%v", err)
	}
}

// onlyVariables tells that a word holds no command, nor anything else that
// expand cannot do with the values at hand.
func onlyVariables(w *syntax.Word) bool {
	plain := true
	syntax.Walk(w, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.CmdSubst, *syntax.ArithmExp, *syntax.ProcSubst:
			plain = false
		case *syntax.ParamExp:
			plain = plain && n.Exp == nil && !n.Length
		}
		return plain
	})
	return plain
}

// labctlArgs are the arguments with which labctl runs the block, nil for a
// block that a shell runs.
func (r *run) labctlArgs(b *Block, vars map[string]string) ([]string, error) {
	words, err := labctlCall(b)
	if words == nil || err != nil {
		return nil, err
	}
	if r.o.Labctl == "" {
		return nil, errors.New("the program labctl cannot find itself")
	}
	args := []string{r.o.Labctl, "--config", r.o.LabFile, "--progress", "plain"}
	for _, w := range words {
		text, known := expand(w, vars)
		if !known {
			return nil, errors.New("a variable in it has no value")
		}
		args = append(args, text)
	}
	return args, nil
}

// RunsLabctl tells that the block is a command of labctl, and no shell's.
func (b *Block) RunsLabctl() bool {
	words, err := labctlCall(b)
	return err == nil && words != nil
}
