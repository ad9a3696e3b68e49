package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"labctl/internal/config"
	"labctl/internal/fault"
	"labctl/internal/lab"
	"labctl/internal/remote"
	"labctl/internal/ui"
)

func (a *app) createCommand() *cobra.Command {
	var o createOptions
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Boot the VMs, install Docker and form the swarm, or do what of it is missing",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.create(cmd.Context(), o) },
	}
	cmd.Flags().DurationVar(&o.bootTimeout, "boot-timeout", 0, "how long the VMs may take to boot, a download of their box included; 0: 15m, with software emulation 30m")
	cmd.Flags().BoolVar(&o.force, "force", false, "remove VMs and volumes of this lab that Vagrant has lost")
	cmd.Flags().BoolVar(&o.noCache, "no-cache", false, "make a new lab from the plain box, and install Docker on each node")
	cmd.Flags().IntVar(&o.parallel, "parallel", 0, "on how many nodes to work at a time once their VMs run; 0: 16")
	cmd.Flags().StringSliceVar(&o.rebuild, "rebuild", nil, "make this node anew: drained, out of the swarm, then a new VM; may be given several times")
	cmd.Flags().BoolVar(&o.prune, "prune", false, "remove nodes that stand and that lab.toml does not name any more: drained, out of the swarm, then the VM; a machine of the provider existing is given back")
	return cmd
}

// createOptions are the flags of create.
type createOptions struct {
	force, prune, noCache bool
	bootTimeout           time.Duration
	parallel              int
	rebuild               []string
}

// open makes the Env of a command on this lab.
func (a *app) open() (*lab.Env, error) {
	l, warnings, err := a.load()
	if err != nil {
		return nil, err
	}
	dir, err := a.dir()
	if err != nil {
		return nil, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("the user's cache folder: %w", err)
	}
	e := &lab.Env{Lab: l, Dir: dir, Cache: filepath.Join(cache, "labctl"), Version: buildVersion(), Host: remote.Host{}, Warnings: warnings}
	e.State, err = lab.LoadState(e.StateDir())
	return e, err
}

// show starts the display of progress, with a line for each node or without.
func (a *app) show(e *lab.Env, withNodes bool) (ui.UI, error) {
	mode, err := ui.ParseMode(a.progress)
	if err != nil {
		return nil, &usageError{err}
	}
	var nodes []string
	for _, n := range e.Lab.Nodes {
		if withNodes {
			nodes = append(nodes, n.Name)
		}
	}
	return ui.New(a.streams.Err, mode, nodes), nil
}

// enter continues inside the lab's embedded engine if that is where the lab
// lives; it returns nil if this process is in the right place already.
func (a *app) enter(ctx context.Context, e *lab.Env) error {
	if e.State.Provider != config.Embedded || e.Engine().Inside() {
		return nil
	}
	st, err := e.Engine().Status()
	if err != nil || !st.Running {
		return err
	}
	return e.Engine().Enter(ctx, a.args)
}

func (a *app) create(ctx context.Context, o createOptions) (err error) {
	if o.bootTimeout < 0 {
		return &usageError{fmt.Errorf("--boot-timeout %v: it cannot be negative", o.bootTimeout)}
	}
	if o.parallel < 0 {
		return &usageError{fmt.Errorf("--parallel %d: it cannot be negative", o.parallel)}
	}
	e, err := a.open()
	if err != nil {
		return err
	}
	defer e.Close()
	e.Force, e.BootWithin, e.NoCache, e.Parallel = o.force, o.bootTimeout, o.noCache, o.parallel
	lock, err := lab.TakeLock(e.StateDir(), "create")
	if err != nil {
		return err
	}
	defer lock.Release()
	inside := e.Engine().Inside()
	if !inside {
		// The lab may already live in an engine that runs.
		if err := e.Choose(ctx); err != nil {
			return err
		}
	}
	if len(o.rebuild) > 0 {
		nodes, err := selectNodes(e.Lab, o.rebuild)
		if err != nil {
			return err
		}
		for _, n := range nodes {
			e.Rebuild = append(e.Rebuild, n.Name)
		}
	}
	if err := e.CheckRebuild(); err != nil {
		return err
	}
	differs, err := e.CheckChanges(o.prune)
	if err != nil {
		return err
	}
	s, err := a.begin(e, "create", inside || e.Choice.Provider != config.Embedded)
	if err != nil {
		return err
	}
	defer func() {
		if s != nil {
			// A lab on which nothing was done is as its last evidence says.
			err = s.end(ctx, err, s.ofChange())
		}
	}()
	if !inside {
		printWarnings(s.ui, e.Warnings)
		printChanges(s.ui, differs)
		_, _ = fmt.Fprintf(s.ui, "provider %s: %s\n", e.Choice.Provider, e.Choice.Reason)
		if err := e.PrepareHost(ctx); err != nil {
			return err
		}
		if e.Choice.Provider == config.Embedded {
			_ = s.end(ctx, nil, factsOnly)
			s = nil
			lock.Release()
			return e.Engine().Enter(ctx, a.args)
		}
	} else if err := e.Choose(ctx); err != nil {
		return err
	}
	tellFaults(s.ui, e)
	begin := time.Now()
	if err := e.Apply(ctx, o.prune); err != nil {
		return err
	}
	// All nodes run now.
	if err := fault.Forget(fault.Dir(e.StateDir()), fault.NodeDown); err != nil {
		return err
	}
	s.ui.Close()
	_, _ = fmt.Fprintf(a.streams.Err, "lab %q is ready after %v: %d nodes\n", e.Lab.Name, time.Since(begin).Round(time.Second), len(e.Lab.Nodes))
	return nil
}

func (a *app) statusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the nodes: VM, Docker, swarm",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.status(cmd.Context(), asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) status(ctx context.Context, asJSON bool) error {
	e, err := a.attach(ctx)
	if err != nil {
		return err
	}
	defer e.Close()
	st, err := e.Status(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(st)
	}
	w := tabwriter.NewWriter(a.streams.Out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "NODE\tROLE\tADDRESS\tVM\tDOCKER\tSWARM")
	for _, n := range st.Nodes {
		sw := n.Swarm
		if n.Leader {
			sw += " (leader)"
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", n.Name, n.Role, n.IP, n.VM, dash(n.Docker), dash(sw))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, n := range st.Nodes {
		if n.Error != "" {
			_, _ = fmt.Fprintf(a.streams.Err, "warning: %s: %s\n", n.Name, strings.TrimPrefix(n.Error, n.Name+": "))
		}
	}
	tellFaults(a.streams.Err, e)
	return nil
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.streams.Out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// attach opens the lab for a command that neither makes nor removes it.
func (a *app) attach(ctx context.Context) (*lab.Env, error) {
	e, err := a.open()
	if err != nil {
		return nil, err
	}
	if err := a.enter(ctx, e); err != nil {
		return nil, err
	}
	if e.State.Provider == "" {
		return e, nil
	}
	return e, e.Choose(ctx)
}

// errNoLab is a command that needs a lab where there is none.
type errNoLab struct{ dir string }

func (e *errNoLab) Error() string { return "there is no lab in " + e.dir }
func (e *errNoLab) Hint() string  { return "make it with `labctl create`" }

// errEngineOff is an embedded lab whose engine does not run.
type errEngineOff struct{}

func (errEngineOff) Error() string {
	return "the lab's embedded engine is not running, so its VMs are off"
}
func (errEngineOff) Hint() string { return "start it and the VMs with `labctl create`" }

// connected opens the lab and connects to the named nodes, all for none.
func (a *app) connected(ctx context.Context, names ...string) (*lab.Env, []config.Node, error) {
	e, err := a.attach(ctx)
	if err != nil {
		return nil, nil, err
	}
	if e.State.Provider == "" {
		return nil, nil, &errNoLab{e.Dir}
	}
	if e.State.Provider == config.Embedded && !e.Engine().Inside() {
		return nil, nil, errEngineOff{}
	}
	nodes, err := selectNodes(e.Lab, names)
	if err != nil {
		return nil, nil, err
	}
	if err := e.ConnectAll(ctx, nodes); err != nil {
		e.Close()
		return nil, nil, err
	}
	return e, nodes, nil
}

// selectNodes resolves node names and @all, @managers, @workers.
func selectNodes(l *config.Lab, names []string) ([]config.Node, error) {
	if len(names) == 0 {
		return l.Nodes, nil
	}
	var out []config.Node
	for _, name := range names {
		switch name {
		case "@all":
			out = append(out, l.Nodes...)
		case "@managers":
			out = append(out, l.Managers()...)
		case "@workers":
			out = append(out, l.Workers()...)
		default:
			n, ok := l.Node(name)
			if !ok {
				var known []string
				for _, k := range l.Nodes {
					known = append(known, k.Name)
				}
				return nil, &usageError{fmt.Errorf("no node %q in this lab: it has %s", name, strings.Join(known, ", "))}
			}
			out = append(out, n)
		}
	}
	return out, nil
}

func (a *app) swarmCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "swarm", Short: "Form the swarm over the nodes, or leave it", Args: cobra.NoArgs, RunE: help}
	cmd.AddCommand(
		&cobra.Command{
			Use: "form", Short: "Form the swarm, or what of it is missing", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return a.changeSwarm(cmd.Context(), "swarm form", (*lab.Env).FormSwarm)
			},
		},
		&cobra.Command{
			Use: "leave", Short: "Take every node out of the swarm", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return a.changeSwarm(cmd.Context(), "swarm leave", (*lab.Env).LeaveSwarm)
			},
		},
	)
	return cmd
}

func help(cmd *cobra.Command, _ []string) error { return cmd.Help() }

func (a *app) changeSwarm(ctx context.Context, command string, change func(*lab.Env, context.Context) error) (err error) {
	e, _, err := a.connected(ctx)
	if err != nil {
		return err
	}
	defer e.Close()
	lock, err := lab.TakeLock(e.StateDir(), command)
	if err != nil {
		return err
	}
	defer lock.Release()
	s, err := a.begin(e, command, true)
	if err != nil {
		return err
	}
	defer func() { err = s.end(ctx, err, s.ofChange()) }()
	return change(e, ctx)
}
