package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/spf13/cobra"

	"labctl/internal/box"
	"labctl/internal/config"
	"labctl/internal/engine"
	"labctl/internal/lab"
	"labctl/internal/provision"
	"labctl/internal/ui"
)

func (a *app) boxCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "box", Short: "The embedded engine's box", Args: cobra.NoArgs, RunE: help}
	var force bool
	build := &cobra.Command{
		Use: "build", Short: "Make the box from Debian packages, unless it is cached", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.buildBox(cmd.Context(), force) },
	}
	build.Flags().BoolVar(&force, "force", false, "build it even if it is cached")
	cmd.AddCommand(build)
	return cmd
}

func (a *app) buildBox(ctx context.Context, force bool) error {
	return a.buildAsset("box", func(u ui.UI, say func(string)) error {
		e, err := a.open()
		if err != nil {
			return err
		}
		o := e.BoxOptions(say)
		o.Force = force
		b, err := box.Build(ctx, o)
		if err != nil {
			return err
		}
		u.Close()
		a.printf("%s\t%s\n", b.Name, b.Path)
		return nil
	})
}

func (a *app) bundleCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "bundle", Short: "The offline bundle of Docker's packages", Args: cobra.NoArgs, RunE: help}
	var force bool
	build := &cobra.Command{
		Use: "build", Short: "Collect the packages, unless they are cached", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.buildBundle(cmd.Context(), force) },
	}
	build.Flags().BoolVar(&force, "force", false, "collect them even if they are cached")
	cmd.AddCommand(build)
	return cmd
}

func (a *app) buildBundle(ctx context.Context, force bool) error {
	return a.buildAsset("bundle", func(u ui.UI, say func(string)) error {
		e, err := a.open()
		if err != nil {
			return err
		}
		o := e.BundleOptions(say)
		o.Force = force
		b, err := provision.BuildBundle(ctx, o)
		if err != nil {
			return err
		}
		u.Close()
		a.printf("%d packages\t%s\n", len(b.Manifest.Packages), b.Dir)
		return nil
	})
}

// buildAsset shows the progress of one build.
func (a *app) buildAsset(step string, build func(ui.UI, func(string)) error) error {
	mode, err := ui.ParseMode(a.progress)
	if err != nil {
		return &usageError{err}
	}
	u := ui.New(a.streams.Err, mode, nil)
	defer u.Close()
	return build(u, func(detail string) {
		u.Event(ui.Event{Step: step, State: ui.Progress, Detail: detail})
	})
}

func (a *app) engineCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "engine", Short: "The embedded engine of this lab", Args: cobra.NoArgs, RunE: help}
	var asJSON bool
	status := &cobra.Command{
		Use: "status", Short: "Show whether it runs and what runs in it", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.engineStatus(asJSON) },
	}
	status.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.AddCommand(
		status,
		&cobra.Command{
			Use: "shell [-- COMMAND...]", Short: "Open a shell of this machine inside the lab's network, or run one command there",
			Long: "Open a shell of this machine inside the lab's network, or run one command there.\n" +
				"The embedded engine hides the lab's addresses from the rest of the machine; in this\n" +
				"shell they answer: labctl engine shell -- curl http://192.168.33.11:8080/",
			RunE: func(cmd *cobra.Command, args []string) error { return a.engineShell(cmd.Context(), args) },
		},
		&cobra.Command{
			Use: "stop", Short: "End it and power off its VMs; their disks stay", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return a.engineStop(cmd.Context()) },
		},
		&cobra.Command{
			// What labctl starts in new namespaces; not for people.
			Use: "serve DIR", Hidden: true, Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return engine.Embedded{Dir: args[0]}.Serve(cmd.Context(), lab.Lend(filepath.Dir(filepath.Dir(args[0]))))
			},
		},
		&cobra.Command{
			// How OpenSSH reaches who lends connections; not for people.
			Use: "join SOCKET", Hidden: true, Args: cobra.ExactArgs(1),
			RunE: func(_ *cobra.Command, args []string) error { return a.join(args[0]) },
		},
	)
	return cmd
}

// join copies between our own ends and a socket, until either has no more.
func (a *app) join(socket string) error {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ended := make(chan error, 2)
	go func() { _, err := io.Copy(conn, a.streams.In); ended <- err }()
	go func() { _, err := io.Copy(a.streams.Out, conn); ended <- err }()
	return <-ended
}

func (a *app) engineStatus(asJSON bool) error {
	e, err := a.open()
	if err != nil {
		return err
	}
	st, err := e.Engine().Status()
	if err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(st)
	}
	if !st.Running {
		a.printf("the embedded engine is not running\n")
		return nil
	}
	a.printf("running since %s, supervisor %d, %s\n", st.Started.Local().Format("2006-01-02 15:04:05"), st.PID, st.NetNS)
	for _, p := range st.Processes {
		a.printf("  %s\n", p)
	}
	return nil
}

// engineShell runs a program of the host where the nodes can be reached.
func (a *app) engineShell(ctx context.Context, command []string) error {
	e, err := a.attach(ctx)
	if err != nil {
		return err
	}
	defer e.Close()
	switch {
	case e.State.Provider == "":
		return &errNoLab{e.Dir}
	case e.State.Provider != config.Embedded:
		return fmt.Errorf("this lab lives on %s: every shell of this machine reaches its nodes", e.State.Provider)
	case !e.Engine().Inside():
		return errEngineOff{}
	}
	if len(command) == 0 {
		_, _ = fmt.Fprintf(a.streams.Err, "a shell of this machine inside the network of lab %q; `exit` leaves it\n", e.Lab.Name)
		if command = []string{os.Getenv("SHELL")}; command[0] == "" {
			command = []string{"sh"}
		}
	}
	// Without the context: a Ctrl-C is for what runs in the shell.
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.streams.In, a.streams.Out, a.streams.Err
	return passOn(cmd.Run(), command[0])
}

// passOn turns the end of another program into labctl's own.
func passOn(err error, what string) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return exitError(exit.ExitCode())
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func (a *app) engineStop(ctx context.Context) error {
	e, err := a.open()
	if err != nil {
		return err
	}
	if !e.Engine().Exists() {
		_, _ = fmt.Fprintln(a.streams.Err, "this lab has no embedded engine: nothing to stop")
		return nil
	}
	if err := e.Engine().Stop(ctx); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(a.streams.Err, "the embedded engine is stopped; `labctl create` starts it and the VMs again")
	return nil
}
