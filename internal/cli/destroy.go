package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"labctl/internal/config"
	"labctl/internal/lab"
	"labctl/internal/remote"
	"labctl/internal/ui"
)

func (a *app) destroyCommand() *cobra.Command {
	var force, dry, asJSON, purge bool
	cmd := &cobra.Command{
		Use:   "destroy",
		Short: "Remove the lab: VMs, volumes, networks, engine and state",
		Long: "Remove the lab: VMs, volumes, networks, engine and state. Artifacts and caches stay.\n\n" +
			"It works without a lab.toml, too, or with one that cannot be read: the state remembers what was made.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case dry:
				return a.doom(cmd.Context(), asJSON)
			case asJSON:
				return &usageError{errors.New("destroy: --json goes with --dry-run")}
			}
			return a.destroy(cmd.Context(), force, purge)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "do not ask")
	cmd.Flags().BoolVar(&purge, "purge", false, "with the provider existing: remove Docker, too, where labctl installed it")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "list what would go, and remove nothing")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the list of --dry-run as JSON")
	return cmd
}

// openMade opens the lab as it was made: with the nodes of lab.toml and those
// that stand, or, where lab.toml is gone or cannot be read, as the state has
// it.
func (a *app) openMade() (*lab.Env, error) {
	e, err := a.open()
	if err == nil || e != nil {
		return e, err
	}
	dir, derr := a.dir()
	if derr != nil {
		return nil, err
	}
	e = &lab.Env{Dir: dir, Version: buildVersion(), Host: remote.Host{}}
	var serr error
	if e.State, serr = lab.LoadState(e.StateDir()); serr != nil {
		return nil, err
	}
	l, ok := e.State.Remembered()
	if !ok {
		return nil, err
	}
	if e.Cache, serr = cacheDir(); serr != nil {
		return nil, serr
	}
	e.Lab = l
	_, _ = fmt.Fprintf(a.streams.Err, "warning: %s cannot be read; going by what stands: lab %q with its %s\n", a.configFile, l.Name, count(len(l.Nodes), "node"))
	return e, nil
}

func (a *app) destroy(ctx context.Context, force, purge bool) (err error) {
	e, err := a.openMade()
	if err != nil {
		return err
	}
	defer e.Close()
	machines := e.Lab.Provider == config.Existing
	switch {
	case purge && !machines:
		return &usageError{errors.New("destroy: --purge goes with the provider existing; VMs go with all that is in them")}
	case !e.Exists() && !machines: // machines keep a note of what was made on them
		_, _ = fmt.Fprintln(a.streams.Err, "there is no lab here: nothing to destroy")
		return nil
	}
	if err := a.enter(ctx, e); err != nil {
		return err
	}
	lock, err := lab.TakeLock(e.StateDir(), "destroy")
	if err != nil {
		return err
	}
	defer lock.Release()
	made := e.AsMade()
	if !force {
		question := fmt.Sprintf("destroy lab %q with its %d VMs and all that is in them?", made.Name, len(made.Nodes))
		if machines {
			question = fmt.Sprintf("take down lab %q: its swarm, and all containers, volumes and networks that have come to its %d machines since?", made.Name, len(made.Nodes))
		}
		ok, err := ui.Confirm(a.streams.In, a.streams.Err, question)
		if err != nil {
			return err
		}
		if !ok {
			return errors.New("not destroyed: it was not confirmed (--force does not ask)")
		}
	}
	if err := e.Choose(ctx); err != nil {
		return err
	}
	u, err := a.show(e, false)
	if err != nil {
		return err
	}
	defer u.Close()
	e.Sink, e.Purge = u, purge
	return e.Destroy(ctx)
}

// doom prints what destroy would remove. It takes no lock: it only reads.
func (a *app) doom(ctx context.Context, asJSON bool) error {
	e, err := a.openMade()
	if err != nil {
		return err
	}
	defer e.Close()
	if !e.Exists() && e.Lab.Provider != config.Existing {
		_, _ = fmt.Fprintln(a.streams.Err, "there is no lab here: nothing to destroy")
		if asJSON {
			return a.printJSON(lab.Doomed{Lab: e.Lab.Name, Items: []lab.Item{}, Kept: []lab.Item{}})
		}
		return nil
	}
	if e.Lab.Provider == config.Existing {
		e.Choice.Provider = config.Existing
	} else if e.State.Provider != "" {
		// Not Choose, which minds a lab.toml that names another provider.
		e.Choice.Provider = e.State.Provider
	}
	d, err := e.Doom(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(d)
	}
	a.printf("labctl destroy would remove of lab %q:\n", d.Lab)
	for _, i := range d.Items {
		a.printf("  %s\n", i)
	}
	a.printf("and keep:\n")
	for _, i := range d.Kept {
		a.printf("  %s\n", i)
	}
	return nil
}
