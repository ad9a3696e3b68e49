package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"labctl/internal/config"
	"labctl/internal/fault"
	"labctl/internal/lab"
	"labctl/internal/ui"
)

func (a *app) faultCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "fault", Short: "Break one thing of the lab on purpose, and mend it again", Args: cobra.NoArgs, RunE: help}
	var asJSON bool
	list := &cobra.Command{
		Use: "list", Short: "List what can be broken", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.faultList(asJSON) },
	}
	list.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	status := &cobra.Command{
		Use: "status", Short: "Show which fault is on; the nodes are asked", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.faultStatus(cmd.Context(), asJSON) },
	}
	status.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.AddCommand(list, a.faultInjectCommand(), status,
		&cobra.Command{
			Use: "clear", Short: "Undo the fault that is on, whoever injected it, and wait until the lab is sound", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return a.faultClear(cmd.Context()) },
		},
		&cobra.Command{
			Use: "reveal", Short: "Tell what a random fault is", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return a.faultReveal(cmd.Context()) },
		})
	return cmd
}

func (a *app) faultInjectCommand() *cobra.Command {
	var s fault.Spec
	var seed uint64
	values := map[string]*string{}
	cmd := &cobra.Command{
		Use:   "inject KIND",
		Short: "Break one thing, and wait for the symptom; KIND is one of `labctl fault list`, or random",
		Long: "Break one thing, and wait for the symptom. KIND is one of `labctl fault list`, or random,\n" +
			"which chooses a kind and a node and keeps them to itself: `labctl fault reveal` tells.\n\n" +
			"How to undo it is written down on the node before anything is broken. With --for a timer\n" +
			"of the node undoes it, whatever has become of labctl; else `labctl fault clear` does, and\n" +
			"so does the node's next boot. NODE is a node's name, or a role such as @worker or @manager2.",
		Args: cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	f.StringArrayVar(&s.Nodes, "node", nil, "the node to break; may be given several times; default: the last worker")
	f.StringArrayVar(&s.From, "from", nil, "only what goes between that node and this one; may be given several times; default: all others")
	f.DurationVar(&s.For, "for", 0, "undo it after this time; 0: not before `labctl fault clear`")
	f.Uint64Var(&seed, "seed", 0, "for random: the same seed on the same lab is the same fault; 0: any")
	for _, k := range fault.Kinds() {
		for _, p := range k.Params {
			values[p.Name] = f.String(p.Name, "", fmt.Sprintf("for %s: %s; default %s", k.Kind, p.Help, p.Default))
		}
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s.Kind, s.Params = fault.Kind(args[0]), map[string]string{}
		for name, value := range values {
			if f.Changed(name) {
				s.Params[name] = *value
			}
		}
		var mystery *uint64
		if _, ok := fault.Of(s.Kind); !ok && s.Kind != fault.Random {
			return misused(cmd, fmt.Errorf("there is no fault %q: `labctl fault list` names them", s.Kind))
		}
		switch {
		case s.Kind == fault.Random:
			if len(s.Nodes)+len(s.From)+len(s.Params) > 0 {
				return misused(cmd, errors.New("random takes --seed and --for only"))
			}
			mystery = &seed
		case f.Changed("seed"):
			return misused(cmd, errors.New("--seed is for random"))
		}
		return a.faultInject(cmd.Context(), s, mystery)
	}
	return cmd
}

func (a *app) faultList(asJSON bool) error {
	if asJSON {
		return a.printJSON(fault.Kinds())
	}
	w := tabwriter.NewWriter(a.streams.Out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "FAULT\tWHAT IT DOES\tOPTIONS")
	for _, k := range fault.Kinds() {
		var options []string
		for _, p := range k.Params {
			options = append(options, fmt.Sprintf("--%s %s", p.Name, p.Default))
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", k.Kind, k.Does, dash(strings.Join(options, " ")))
	}
	_, _ = fmt.Fprintln(w, "random\tone of these, which it does not tell\t--seed 0")
	return w.Flush()
}

// inBlock tells that a scenario runs this command, which holds the lab's lock
// and keeps the evidence.
func inBlock() bool { return os.Getenv("LAB_FILE") != "" }

// faultStage is a lab whose faults are looked at.
type faultStage struct {
	*fault.Lab
	e    *lab.Env
	lock *lab.Lock
}

func (st *faultStage) close() {
	if st.lock != nil {
		st.lock.Release()
	}
	st.e.Close()
}

// faultReach is how long a node may take to answer before it counts as gone.
const faultReach = 20 * time.Second

// faultStage connects to the nodes that can be reached. Without a command the
// lab is only looked at, and not locked.
func (a *app) faultStage(ctx context.Context, command string) (*faultStage, error) {
	e, err := a.attach(ctx)
	if err != nil {
		return nil, err
	}
	if e.State.Provider == "" {
		return nil, &errNoLab{e.Dir}
	}
	if a.outside(e) {
		return nil, errEngineOff{}
	}
	st := &faultStage{e: e}
	if command != "" && !inBlock() {
		if st.lock, err = lab.TakeLock(e.StateDir(), command); err != nil {
			e.Close()
			return nil, err
		}
	}
	l := &fault.Lab{Dir: fault.Dir(e.StateDir()), DataPath: e.Lab.Swarm.DataPathPort, Nodes: make([]fault.Node, len(e.Lab.Nodes))}
	if slices.Contains([]config.Provider{config.Embedded, config.Libvirt, config.VirtualBox}, e.State.Provider) {
		l.Boot = e.Create // labctl made these machines
	}
	l.Reach = func(ctx context.Context, name string) fault.Access {
		n, _ := e.Lab.Node(name)
		return reachNode(ctx, e, n)
	}
	var wg sync.WaitGroup
	for i, n := range e.Lab.Nodes {
		wg.Go(func() { l.Nodes[i] = fault.Node{Name: n.Name, Role: n.Role, IP: n.IP, Access: reachNode(ctx, e, n)} })
	}
	wg.Wait()
	if ctx.Err() != nil {
		st.close()
		return nil, context.Cause(ctx)
	}
	st.Lab = l
	return st, nil
}

func reachNode(ctx context.Context, e *lab.Env, n config.Node) fault.Access {
	ctx, cancel := context.WithTimeoutCause(ctx, faultReach, fmt.Errorf("no answer within %v", faultReach))
	defer cancel()
	conn, err := e.Connect(ctx, n, func(string) {})
	if err != nil {
		return fault.Access{Err: err}
	}
	api, err := e.API(n)
	if err != nil {
		return fault.Access{Err: err}
	}
	return fault.Access{Runner: conn, API: api}
}

// changeFaults runs what injects or clears, with its progress and evidence.
func (a *app) changeFaults(ctx context.Context, command string, change func(context.Context, *faultStage) ([]fault.Record, error)) (err error) {
	st, err := a.faultStage(ctx, "fault "+command)
	if err != nil {
		return err
	}
	defer st.close()
	var records []fault.Record
	begin := time.Now()
	event := func(state ui.State, detail string) {
		st.e.Event(ui.Event{Step: "fault", State: state, Detail: detail, Elapsed: time.Since(begin)})
	}
	st.Say = func(text string) { event(ui.Progress, text) }
	if inBlock() {
		_, err = change(ctx, st)
		return asFaultUsage(err)
	}
	s, err := a.begin(st.e, "fault-"+command, true)
	if err != nil {
		return err
	}
	defer func() { err = s.end(ctx, err, factsOnly) }()
	event(ui.Started, "")
	records, err = change(ctx, st)
	var kept strings.Builder
	for _, r := range records {
		kept.Write(append(r.Encode(), '\n'))
	}
	if kept.Len() > 0 {
		err = errors.Join(err, s.run.Write("faults.jsonl", []byte(kept.String())))
	}
	if err == nil {
		event(ui.Done, "")
	} else {
		event(ui.Failed, err.Error())
	}
	s.ui.Close()
	return asFaultUsage(err)
}

// asFaultUsage marks a fault that cannot be asked for as a wrong command line.
func asFaultUsage(err error) error {
	if errors.As(err, new(*fault.SpecError)) {
		return &usageError{err}
	}
	return err
}

func (a *app) faultInject(ctx context.Context, s fault.Spec, mystery *uint64) error {
	return a.changeFaults(ctx, "inject", func(ctx context.Context, st *faultStage) ([]fault.Record, error) {
		if mystery != nil {
			s = st.Draw(mystery, s.For)
		}
		r, err := st.Inject(ctx, s, mystery)
		if err != nil {
			if r.Since.IsZero() {
				return nil, err // nothing was done
			}
			return []fault.Record{r}, err
		}
		a.printf("injected: %s\n", r.Name())
		if r.Mystery {
			a.printf("seed: %d\nfind out what is wrong; `labctl fault reveal` tells\n", r.Seed)
		} else {
			a.printf("symptom: %s\n", cmp.Or(r.Seen, r.Symptom))
		}
		if r.Until.IsZero() {
			a.printf("undo: `labctl fault clear`: %s\n", map[bool]string{true: "it mends whatever it is", false: r.Undo}[r.Mystery])
		} else {
			a.printf("undo: by itself at %s, or before that by `labctl fault clear`\n", r.Until.Local().Format(time.TimeOnly))
		}
		return []fault.Record{r}, nil
	})
}

func (a *app) faultClear(ctx context.Context) error {
	return a.changeFaults(ctx, "clear", func(ctx context.Context, st *faultStage) ([]fault.Record, error) {
		done, err := st.Clear(ctx)
		for i, r := range done {
			done[i].Mystery = false // it is over: it may be told
			a.printf("undone: %s\n", done[i].Name())
			if r.Mystery {
				a.printf("it was the mystery of seed %d: %s\n", r.Seed, r.Symptom)
			}
		}
		if len(done) == 0 && err == nil {
			a.printf("no fault is on\n")
		}
		return done, err
	})
}

func (a *app) faultStatus(ctx context.Context, asJSON bool) error {
	st, err := a.faultStage(ctx, "")
	if err != nil {
		return err
	}
	defer st.close()
	current, err := st.Current(ctx)
	if err != nil {
		return err
	}
	over, err := st.Tidy(current)
	if err != nil {
		return err
	}
	current = slices.DeleteFunc(current, fault.Standing.Over)
	if asJSON {
		return a.printJSON(standingJSON(current))
	}
	for _, r := range over {
		a.printf("over: %s since %s\n", r.Name(), r.Since.Local().Format(time.TimeOnly))
	}
	if len(current) == 0 {
		a.printf("no fault is on\n")
		return nil
	}
	w := tabwriter.NewWriter(a.streams.Out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "FAULT\tSINCE\tLEFT\tNODES")
	for _, s := range current {
		left, nodes := "-", "-"
		if s.Left >= 0 {
			left = s.Left.String()
		}
		if !s.Mystery {
			nodes = s.States()
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", s.Name(), s.Since.Local().Format(time.TimeOnly), left, nodes)
	}
	return w.Flush()
}

// standingJSON keeps a mystery to itself.
func standingJSON(current []fault.Standing) []any {
	out := []any{}
	for _, s := range current {
		if s.Mystery {
			out = append(out, map[string]any{"id": s.ID, "mystery": true, "seed": s.Seed, "since": s.Since})
		} else {
			out = append(out, s)
		}
	}
	return out
}

func (a *app) faultReveal(ctx context.Context) error {
	st, err := a.faultStage(ctx, "fault reveal")
	if err != nil {
		return err
	}
	defer st.close()
	told, err := st.Reveal(ctx)
	if err != nil {
		return err
	}
	for _, r := range told {
		info, _ := fault.Of(r.Kind)
		a.printf("%s\n  does     %s\n  symptom  %s\n", r.Name(), info.Does, info.Symptom)
		if r.Seen != "" {
			a.printf("  seen     %s\n", r.Seen)
		}
		a.printf("  undo     %s\n", info.Undo)
	}
	if len(told) == 0 {
		a.printf("no fault is on\n")
	}
	return nil
}

// tellFaults says in a line that a fault is on, as far as this machine knows.
func tellFaults(w io.Writer, e *lab.Env) {
	noted, err := fault.Noted(fault.Dir(e.StateDir()))
	if err != nil {
		_, _ = fmt.Fprintf(w, "warning: %v\n", err)
	}
	for _, r := range noted {
		// What a timer had to undo by now is most likely over.
		if r.Until.IsZero() || time.Now().Before(r.Until) {
			_, _ = fmt.Fprintf(w, "warning: %s\n", r.Line())
		}
	}
}
