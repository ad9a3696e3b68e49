package cli

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"path/filepath"

	"github.com/spf13/cobra"

	"labctl/internal/config"
	"labctl/internal/export"
	"labctl/internal/lab"
	"labctl/internal/remote"
)

func (a *app) exportCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "export", Short: "Let ssh, docker and Ansible on this machine reach the nodes", Args: cobra.NoArgs, RunE: help}
	var install bool
	var file string
	sub := func(use, short, long string, run func(context.Context, *lab.Env, export.Lab, bool) error) *cobra.Command {
		c := &cobra.Command{
			Use: use, Short: short, Long: short + ".\n\n" + long, Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return a.export(cmd.Context(), "export "+use, install, run)
			},
		}
		c.Flags().BoolVar(&install, "install", false, "set it up; `labctl destroy` takes it away")
		return c
	}
	sshConfig := sub("ssh-config", "Print OpenSSH's configuration for the nodes",
		"With --install the user's own configuration includes it, and `ssh docker1` works, as do scp, sftp and rsync.",
		func(_ context.Context, e *lab.Env, l export.Lab, install bool) error {
			return a.exportSSH(e, l, install, file)
		})
	sshConfig.Flags().StringVar(&file, "into", "", "the configuration that includes it (default ~/.ssh/config)")
	cmd.AddCommand(
		sshConfig,
		sub("docker-context", "Print the command that makes a Docker context of the first manager",
			"With --install it makes it, and `docker --context NAME node ls` works, NAME being the lab's. Docker's client\n"+
				"reaches the node by running ssh, so `labctl export ssh-config --install` comes first.", a.exportDocker),
		sub("ansible", "Print an inventory for Ansible, with the groups managers and workers",
			"With --install it goes into the lab's state, and an ansible.cfg beside lab.toml names it, so that in that\n"+
				"folder `ansible all -m ping` works.", a.exportAnsible),
		&cobra.Command{
			// What ssh runs to reach a node in the embedded engine's network.
			Use: "connect NODE", Hidden: true, Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error { return a.pipe(cmd.Context(), args[0]) },
		},
	)
	return cmd
}

// reachable opens a lab whose nodes can be reached from where this process is.
func (a *app) reachable(ctx context.Context) (*lab.Env, error) {
	e, err := a.attach(ctx)
	switch {
	case err != nil:
		return nil, err
	case e.State.Provider == "":
		return nil, &errNoLab{e.Dir}
	case e.State.Provider == config.Embedded && !e.Engine().Inside():
		return nil, errEngineOff{}
	}
	return e, nil
}

func (a *app) export(ctx context.Context, command string, install bool, run func(context.Context, *lab.Env, export.Lab, bool) error) error {
	e, err := a.reachable(ctx)
	if err != nil {
		return err
	}
	defer e.Close()
	lock, err := lab.TakeLock(e.StateDir(), command)
	if err != nil {
		return err
	}
	defer lock.Release()
	file, err := filepath.Abs(a.configFile)
	if err != nil {
		return err
	}
	l, err := e.Export(ctx, file)
	if err != nil {
		return err
	}
	return run(ctx, e, l, install)
}

func (a *app) exportSSH(e *lab.Env, l export.Lab, install bool, file string) error {
	if !install {
		if file != "" {
			return &usageError{errors.New("export ssh-config: --into goes with --install")}
		}
		a.printf("%s", l.SSHConfig())
		return nil
	}
	if file == "" {
		// Where ssh looks, which does not go by HOME.
		u, err := user.Current()
		if err != nil {
			return err
		}
		file = filepath.Join(u.HomeDir, ".ssh", "config")
	}
	file, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	if err := e.InstallSSH(file); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(a.streams.Err, "%s includes %s: `ssh %s` works, and `ssh %[3]s.%s` where another lab has a %[3]s\n", file, e.SSHConfigFile(), l.Nodes[0].Name, l.Name)
	return nil
}

func (a *app) exportDocker(ctx context.Context, e *lab.Env, l export.Lab, install bool) error {
	if !install {
		a.printf("%s\n", remote.Quote(e.ContextCommand()))
		return nil
	}
	if err := e.InstallContext(ctx); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(a.streams.Err, "Docker has the context %s: `docker --context %[1]s node ls` works\n", l.Name)
	return nil
}

func (a *app) exportAnsible(_ context.Context, e *lab.Env, l export.Lab, install bool) error {
	if !install {
		a.printf("%s", l.Ansible(e.SSHConfigFile()))
		return nil
	}
	file, err := e.InstallAnsible(l)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(a.streams.Err, "%s names the inventory: in that folder `ansible all -m ping` works\n", file)
	return nil
}

// pipe is ssh's way to a node.
func (a *app) pipe(ctx context.Context, name string) error {
	e, err := a.reachable(ctx)
	if err != nil {
		return err
	}
	defer e.Close()
	nodes, err := selectNodes(e.Lab, []string{name})
	if err != nil {
		return err
	}
	return e.Pipe(ctx, nodes[0], a.streams.In, a.streams.Out)
}
