package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	labassets "labctl"
	"labctl/internal/config"
	"labctl/internal/doctor"
)

func (a *app) initCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init",
		Short: "Write a commented lab.toml",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return a.init() },
	}
}

func (a *app) init() error {
	f, err := os.OpenFile(a.configFile, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, os.ErrExist) {
		return &usageError{fmt.Errorf("%s exists already; it is left as it is", a.configFile)}
	}
	if err != nil {
		return err
	}
	if _, err := f.Write(labassets.LabToml()); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	a.printf("wrote %s: two nodes, every key explained; next: labctl create\n", a.configFile)
	return nil
}

func (a *app) validateCommand() *cobra.Command {
	var plan, asJSON bool
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Check lab.toml and name every problem in it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case plan:
				return a.plan(cmd.Context(), asJSON)
			case asJSON:
				return &usageError{errors.New("validate: --json goes with --plan")}
			}
			return a.validate()
		},
	}
	cmd.Flags().BoolVar(&plan, "plan", false, "show where every network of lab, provider, Docker, scenarios and host lies, and what gets into the way of what")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the plan as JSON")
	return cmd
}

func (a *app) validate() error {
	l, warnings, err := a.load()
	printWarnings(a.streams.Err, warnings)
	if err == nil {
		err = checkScenarios(a.configFile, l)
	}
	if err != nil {
		return err
	}
	name := a.configFile
	if _, err := os.Stat(name); err != nil {
		name = "no " + name + ", the default lab"
	}
	a.printf("%s: ok: %s, %s on %s\n", name, count(len(l.Managers()), "manager"), count(len(l.Workers()), "worker"), l.Subnet)
	return nil
}

// checkScenarios refuses networks for scenarios that cannot work, whatever the
// host has: --plan looks at that too.
func checkScenarios(file string, l *config.Lab) error {
	subnets, err := scenarioSubnets(l)
	if err != nil {
		return err
	}
	facts := doctor.Facts{Lab: l, Provider: l.Provider}
	if l.Provider == config.Auto { // it may become the one that forbids the most
		facts.Provider = config.VirtualBox
	}
	var problems []error
	for _, c := range doctor.PlanOf(facts, subnets).Conflicts {
		if c.Level == doctor.Problem {
			problems = append(problems, fmt.Errorf("%s: %s; %s", file, c.Text, c.Remedy))
		}
	}
	if problems == nil {
		return nil
	}
	return &usageError{errors.Join(problems...)}
}

// count says "1 worker", "2 workers".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func printWarnings(w io.Writer, warnings []config.Problem) {
	for _, p := range warnings {
		_, _ = fmt.Fprintf(w, "warning: %s\n", p)
	}
}

func (a *app) renderCommand() *cobra.Command {
	var provider string
	cmd := &cobra.Command{
		Use:   "render",
		Short: "Print the Vagrantfile",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.render(cmd.Context(), provider) },
	}
	cmd.Flags().StringVar(&provider, "provider", "", "render for this provider: virtualbox, libvirt or embedded; default: the lab's")
	return cmd
}

func (a *app) render(ctx context.Context, provider string) error {
	e, err := a.open()
	if err != nil {
		return err
	}
	if provider != "" {
		p := config.Provider(provider)
		if p != config.VirtualBox && p != config.Libvirt && p != config.Embedded {
			return &usageError{fmt.Errorf("unknown provider %q: virtualbox, libvirt or embedded", provider)}
		}
		e.Choice.Provider = p
		if p == config.Embedded {
			e.Choice.Accel, e.Choice.CPU = config.AccelTCG, "qemu64"
		}
	} else if err := e.Choose(ctx); err != nil {
		return err
	}
	if e.Choice.Provider == config.Existing {
		return &usageError{errors.New("render: there is no Vagrantfile with the provider existing: its machines are there already; --provider shows another's")}
	}
	text, err := e.Render()
	if err != nil {
		return err
	}
	_, err = a.streams.Out.Write(text)
	return err
}
