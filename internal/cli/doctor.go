package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"labctl/internal/config"
	"labctl/internal/doctor"
	"labctl/internal/engine"
	"labctl/internal/lab"
	"labctl/internal/ui"
)

// cacheDir is labctl's part of the user's cache folder.
func cacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("the user's cache folder: %w", err)
	}
	return filepath.Join(dir, "labctl"), nil
}

func (a *app) doctorCommand() *cobra.Command {
	var asJSON, fix, yes bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Examine this host before the lab is made: one line a check, with the remedy",
		Long: "Examine this host before the lab is made: one line a check, with the remedy.\n\n" +
			"It looks at what the provider needs, at memory, disk, addresses, left-overs, the state folder, the clock and\n" +
			"proxies, takes at most five seconds and changes nothing. `labctl create` makes the same checks and stops at problems.\n" +
			"The exit code is 1 if there is a problem.\n\n" +
			"With the provider existing it also looks at each machine: whether it is reached, its host key is known, and what\n" +
			"labctl needs is there. One that does not answer takes twenty seconds.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case fix && asJSON:
				return &usageError{errors.New("doctor: --fix and --json do not go together")}
			case yes && !fix:
				return &usageError{errors.New("doctor: --yes goes with --fix")}
			}
			return a.doctor(cmd.Context(), asJSON, fix, yes)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&fix, "fix", false, "mend what can be mended safely, after asking")
	cmd.Flags().BoolVar(&yes, "yes", false, "with --fix: do not ask")
	return cmd
}

func (a *app) doctor(ctx context.Context, asJSON, fix, yes bool) error {
	e, err := a.open()
	if err != nil {
		return err
	}
	defer e.Close()
	facts, err := examine(ctx, e)
	if err != nil {
		return err
	}
	if facts.Provider == config.Existing {
		e.Choice.Provider = config.Existing
		facts.Machines = e.ExamineMachines(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	machines := facts.Machines
	list := doctor.Judge(facts)
	if fix {
		if err := a.mend(ctx, e, list, yes); err != nil {
			return err
		}
		if facts, err = examine(ctx, e); err != nil {
			return err
		}
		facts.Machines = machines // nothing of theirs is mended
		list = doctor.Judge(facts)
	}
	if asJSON {
		err = a.printJSON(struct {
			Lab      string           `json:"lab"`
			Provider config.Provider  `json:"provider"`
			OK       bool             `json:"ok"`
			Findings []doctor.Finding `json:"findings"`
		}{e.Lab.Name, facts.Provider, doctor.Count(list, doctor.Problem) == 0, list})
	} else {
		err = a.printFindings(list)
	}
	if err == nil && doctor.Count(list, doctor.Problem) > 0 {
		return exitError(exitFailed)
	}
	return err
}

func (a *app) printFindings(list []doctor.Finding) error {
	if err := doctor.WriteText(a.streams.Out, list); err != nil {
		return err
	}
	problems, warnings := doctor.Count(list, doctor.Problem), doctor.Count(list, doctor.Warning)
	switch {
	case problems > 0:
		a.printf("%s, %s\n", count(problems, "problem"), count(warnings, "warning"))
	case warnings > 0:
		a.printf("no problems, %s\n", count(warnings, "warning"))
	default:
		a.printf("all well\n")
	}
	if slices.ContainsFunc(list, func(f doctor.Finding) bool { return f.Fix != nil }) {
		a.printf("`labctl doctor --fix` can mend some of it\n")
	}
	return nil
}

// examine asks the host. The provider is the one that the lab lives on; where
// there is no lab yet, finding it out is one of the checks.
func examine(ctx context.Context, e *lab.Env) (doctor.Facts, error) {
	if p := e.State.Provider; p != "" {
		// Not Choose, which minds a lab.toml that names another provider.
		e.Choice = engine.Choice{Provider: p, Accel: e.State.Accel, CPU: e.State.CPU, Reason: "the lab was created on it"}
	}
	facts := e.Examine(ctx, false)
	return facts, context.Cause(ctx)
}

// mend applies the fixes of the findings, each after asking. A fix that fails
// keeps no other from being tried.
func (a *app) mend(ctx context.Context, e *lab.Env, list []doctor.Finding, yes bool) error {
	var errs []error
	for _, f := range list {
		if f.Fix == nil {
			continue
		}
		if !yes {
			ok, err := ui.ConfirmContext(ctx, a.streams.In, a.streams.Err, f.Text+"\n"+f.Fix.Text+"?")
			if err != nil {
				return err
			}
			if !ok {
				_, _ = fmt.Fprintln(a.streams.Err, "left as it is")
				continue
			}
		}
		if err := f.Fix.Apply(ctx, e.Host); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", f.Fix.Text, err))
			continue
		}
		_, _ = fmt.Fprintln(a.streams.Err, "done: "+f.Fix.Text)
	}
	return errors.Join(errs...)
}

// printChanges tells how lab.toml differs from the lab that stands.
func printChanges(w io.Writer, list []lab.Change) {
	for _, c := range list {
		if c.Remedy == "" {
			_, _ = fmt.Fprintf(w, "%s\n", c.Text)
			continue
		}
		_, _ = fmt.Fprintf(w, "warning: %s; %s\n", c.Text, c.Remedy)
	}
}

// plan prints where all networks of the lab lie.
func (a *app) plan(ctx context.Context, asJSON bool) error {
	e, err := a.open()
	if err != nil {
		return err
	}
	defer e.Close()
	subnets, err := scenarioSubnets(e.Lab)
	if err != nil {
		return err
	}
	facts, err := examine(ctx, e)
	if err != nil {
		return err
	}
	p := doctor.PlanOf(facts, subnets)
	changes := []lab.Change{}
	for _, n := range e.New() {
		changes = append(changes, lab.Change{Node: n.Name, Text: n.Name + ": `labctl create` makes it"})
	}
	changes = append(changes, e.Changes(false)...)
	if asJSON {
		err = a.printJSON(struct {
			doctor.Plan
			Changes []lab.Change `json:"changes"`
		}{p, changes})
	} else {
		printWarnings(a.streams.Err, e.Warnings)
		err = p.WriteText(a.streams.Out)
		for _, c := range changes {
			a.printf("%s\n", strings.TrimSuffix(c.Text+"; "+c.Remedy, "; "))
		}
	}
	if err == nil && (p.Broken() || slices.ContainsFunc(changes, func(c lab.Change) bool { return c.Stops })) {
		return exitError(exitFailed)
	}
	return err
}

// scenarioSubnets lists the parameters of the shipped scenarios that are
// networks, with the values that a run would take.
func scenarioSubnets(l *config.Lab) ([]doctor.ScenarioSubnet, error) {
	docs, err := shippedDocuments("")
	if err != nil {
		return nil, err
	}
	var out []doctor.ScenarioSubnet
	for _, doc := range docs {
		for _, p := range doc.d.Head.Params {
			n, err := netip.ParsePrefix(cmp.Or(l.Scenario[doc.name][p.Name], p.Default))
			if err == nil {
				out = append(out, doctor.ScenarioSubnet{Scenario: doc.name, Param: p.Name, Subnet: n.Masked()})
			}
		}
	}
	return out, nil
}
