package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"labctl/internal/config"
	"labctl/internal/lab"
	"labctl/internal/ui"
)

func (a *app) resetCommand() *cobra.Command {
	var clean bool
	cmd := &cobra.Command{
		Use:   "reset",
		Short: "Bring the lab back to the swarm as `labctl create` left it, in seconds",
		Long: "Bring the lab back to the swarm as `labctl create` left it: the VMs go back to a\n" +
			"snapshot, memory included, their clocks are set and the swarm is verified. Where\n" +
			"there is no snapshot, the swarm is cleaned instead.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.rewind(cmd.Context(), "reset", "", func(ctx context.Context, s *session) error {
				return s.e.Reset(ctx, clean, func(reason string) { _, _ = fmt.Fprintf(s.ui, "%s\n", reason) })
			})
		},
	}
	cmd.Flags().BoolVar(&clean, "clean", false, "do not go back to the snapshot: remove services, networks, containers and volumes")
	return cmd
}

// rewind runs what sets the lab back, and leaves its evidence. A snapshot that
// is named must be there.
func (a *app) rewind(ctx context.Context, command, snapshot string, change func(context.Context, *session) error) (err error) {
	e, lock, err := a.standing(ctx, command)
	if err != nil {
		return err
	}
	defer e.Close()
	defer lock.Release()
	if snapshot != "" {
		if err := e.FindSnapshot(ctx, snapshot); err != nil {
			return err
		}
	}
	s, err := a.begin(e, command, true)
	if err != nil {
		return err
	}
	defer func() { err = s.end(ctx, err, factsOnly) }()
	begin := time.Now()
	if err := change(ctx, s); err != nil {
		return err
	}
	s.ui.Close()
	_, _ = fmt.Fprintf(a.streams.Err, "lab %q is set back after %v\n", e.Lab.Name, time.Since(begin).Round(100*time.Millisecond))
	return nil
}

// standing opens a lab that exists, and locks it; no node is asked yet.
func (a *app) standing(ctx context.Context, command string) (*lab.Env, *lab.Lock, error) {
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
	lock, err := lab.TakeLock(e.StateDir(), command)
	return e, lock, err
}

func (a *app) snapshotCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "snapshot", Short: "Save the running lab, memory included, and go back to it", Args: cobra.NoArgs, RunE: help}
	var asJSON bool
	list := &cobra.Command{
		Use: "list", Short: "List the snapshots", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.snapshots(cmd.Context(), asJSON) },
	}
	list.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.AddCommand(
		&cobra.Command{
			Use: "save NAME", Short: "Save all nodes as of this moment; a snapshot of that name is replaced", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error { return a.saveSnapshot(cmd.Context(), args[0]) },
		},
		&cobra.Command{
			Use: "restore NAME", Short: "Set all nodes back to a snapshot", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.rewind(cmd.Context(), "snapshot restore", args[0], func(ctx context.Context, s *session) error {
					return s.e.RestoreSnapshot(ctx, args[0])
				})
			},
		},
		list,
		&cobra.Command{
			Use: "delete NAME", Short: "Remove a snapshot", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error { return a.deleteSnapshot(cmd.Context(), args[0]) },
		},
	)
	return cmd
}

// ownName turns a name that cannot be used into a usage error.
func ownName(name string) error {
	err := lab.CheckSnapshotName(name)
	if errors.As(err, new(*lab.SnapshotNameError)) {
		return &usageError{err}
	}
	return err
}

func (a *app) saveSnapshot(ctx context.Context, name string) error {
	if err := ownName(name); err != nil {
		return err
	}
	e, _, err := a.connected(ctx) // every node must run and answer
	if err != nil {
		return err
	}
	defer e.Close()
	lock, err := lab.TakeLock(e.StateDir(), "snapshot save "+name)
	if err != nil {
		return err
	}
	defer lock.Release()
	return a.withDisplay(e, func() error { return e.SaveSnapshot(ctx, name) })
}

func (a *app) deleteSnapshot(ctx context.Context, name string) error {
	if err := ownName(name); err != nil {
		return err
	}
	e, lock, err := a.standing(ctx, "snapshot delete "+name)
	if err != nil {
		return err
	}
	defer e.Close()
	defer lock.Release()
	return e.DeleteSnapshot(ctx, name)
}

// withDisplay shows the progress of f.
func (a *app) withDisplay(e *lab.Env, f func() error) error {
	var u ui.UI
	u, err := a.show(e, false)
	if err != nil {
		return err
	}
	defer u.Close()
	e.Sink = u
	return f()
}

func (a *app) snapshots(ctx context.Context, asJSON bool) error {
	e, err := a.attach(ctx)
	if err != nil {
		return err
	}
	defer e.Close()
	if e.State.Provider == "" {
		return &errNoLab{e.Dir}
	}
	if e.State.Provider == config.Embedded && !e.Engine().Inside() {
		return errEngineOff{}
	}
	list, err := e.Snapshots(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(append([]lab.Snapshot{}, list...))
	}
	w := tabwriter.NewWriter(a.streams.Out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "SNAPSHOT\tNODES\tNOTE")
	for _, s := range list {
		note := ""
		switch {
		case !s.Whole:
			note = "of no use: the other nodes lack it"
		case s.Name == lab.Pristine:
			note = "`labctl reset` goes here"
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", s.Name, strings.Join(s.Nodes, " "), note)
	}
	return w.Flush()
}
