package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"labctl/internal/existing"
	"labctl/internal/remote"
	"labctl/internal/ui"
)

func (a *app) sshCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ssh NODE [-- COMMAND...]",
		Short: "Open a shell on a node, or run one command there",
		Args:  cobra.MinimumNArgs(1),
		RunE:  func(cmd *cobra.Command, args []string) error { return a.ssh(cmd.Context(), args[0], args[1:]) },
	}
}

// ssh hands over to OpenSSH: it has the terminal handling, the escapes and
// the forwarding that people expect of a shell on a node.
func (a *app) ssh(ctx context.Context, name string, command []string) error {
	e, nodes, err := a.connected(ctx, name)
	if err != nil {
		return err
	}
	if len(nodes) != 1 {
		e.Close()
		return &usageError{fmt.Errorf("ssh: one node, not %s; `labctl exec` runs a command on several", name)}
	}
	conn := e.Runner(nodes[0].Name)
	ep := conn.Endpoint()
	known := filepath.Join(e.StateDir(), "known_hosts")
	e.Close()
	if ep.OpenSSH != nil {
		argv := append(existing.Options(e.Lab.SSH, nodes[0], e.Dir), "-o", `UserKnownHostsFile="`+strings.Join(ep.OpenSSH.KnownHosts, `" "`)+`"`)
		return a.plainSSH(append(argv, nodes[0].Address), name, command)
	}
	if conn.Lender() != "" {
		// OpenSSH over the connection that the engine keeps, which spares the
		// handshake with the node. The lender takes the user for the node, and
		// its own key guards nothing: its socket is root's.
		exe, err := os.Executable()
		if err != nil {
			return err
		}
		join := strings.ReplaceAll(remote.Quote([]string{exe, "engine", "join", conn.Lender()}), "%", "%%")
		return a.plainSSH([]string{
			"-F", os.DevNull, "-o", "ProxyCommand=" + join, "-o", "LogLevel=ERROR",
			"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=" + os.DevNull, ep.Name + "@" + ep.Name,
		}, name, command)
	}
	argv := []string{
		"-F", os.DevNull, "-i", ep.KeyFile, "-p", strconv.Itoa(ep.Port),
		"-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR",
		"-o", "HostKeyAlias=" + ep.Name, "-o", "UserKnownHostsFile=" + strconv.Quote(known), "-o", "StrictHostKeyChecking=yes",
	}
	if ep.Proxy != "" {
		argv = append(argv, "-o", "ProxyCommand="+strings.ReplaceAll(ep.Proxy, "%", "%%"))
	}
	return a.plainSSH(append(argv, ep.User+"@"+ep.Host), name, command)
}

func (a *app) plainSSH(argv []string, name string, command []string) error {
	if len(command) > 0 {
		argv = append(append(argv, "--"), command...)
	}
	// Without the context: a Ctrl-C is for what runs on the node.
	cmd := exec.Command("ssh", argv...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.streams.In, a.streams.Out, a.streams.Err
	return passOn(cmd.Run(), "ssh "+name)
}

func (a *app) execCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "exec NODE|@all -- COMMAND...",
		Short: "Run a command on a node, or side by side on @all, @managers or @workers",
		Args:  cobra.MinimumNArgs(2),
		RunE:  func(cmd *cobra.Command, args []string) error { return a.exec(cmd.Context(), args[0], args[1:]) },
	}
}

func (a *app) exec(ctx context.Context, where string, argv []string) error {
	e, nodes, err := a.connected(ctx, where)
	if err != nil {
		return err
	}
	defer e.Close()
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		codes = make([]int, len(nodes))
		errs  = make([]error, len(nodes))
	)
	for i, n := range nodes {
		wg.Go(func() {
			c := remote.Command{Argv: argv, Stdout: a.streams.Out, Stderr: a.streams.Err}
			if len(nodes) > 1 {
				out := &ui.PrefixWriter{Mu: &mu, To: a.streams.Out, Prefix: n.Name + ": "}
				errOut := &ui.PrefixWriter{Mu: &mu, To: a.streams.Err, Prefix: n.Name + ": "}
				defer closeAll(out, errOut)
				c.Stdout, c.Stderr = out, errOut
			}
			res, err := e.Runner(n.Name).Run(ctx, c)
			codes[i] = res.ExitCode
			if err != nil {
				errs[i] = fmt.Errorf("%s: %s: %w", n.Name, strings.Join(argv, " "), err)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, c := range codes {
		if c != 0 {
			return exitError(c)
		}
	}
	return nil
}

func closeAll(cs ...io.Closer) {
	for _, c := range cs {
		_ = c.Close()
	}
}
