package lab

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"

	"labctl/internal/config"
	"labctl/internal/doctor"
	"labctl/internal/existing"
)

// Examine gathers what there is to know of the host for this lab, within
// doctor.Within. quick leaves out what starts Ruby. The provider is the one
// that is chosen or on which the lab lives; without one, Detect is asked.
func (e *Env) Examine(ctx context.Context, quick bool) doctor.Facts {
	o := doctor.Options{
		Lab: e.Lab, StateDir: e.StateDir(), Cache: e.Cache, Mark: e.mark(),
		Known: e.knownNodes(), Stands: e.booted(), Quick: quick, Look: execLookPath,
		Uses: func() ([]doctor.Use, error) {
			host, err := hostUses()
			var out []doctor.Use
			for _, u := range host {
				out = append(out, doctor.Use{Interface: u.Interface, Addr: u.Addr, Route: u.Route})
			}
			return out, err
		},
		SubnetTaken: func() error {
			host, err := hostUses()
			if err != nil {
				return err
			}
			return subnetFree(e.Lab.Subnet, host)
		},
	}
	if e.Choice.Provider != "" {
		o.Choice = &e.Choice
	}
	if e.Choice.Provider == config.Embedded && !e.Engine().Inside() {
		if st, err := e.Engine().Status(); err == nil && st.Running {
			o.Inside = []string{"nsenter", "-t", strconv.Itoa(st.PID), "-m", "-n"}
		}
	}
	return doctor.Gather(ctx, o)
}

// ExamineMachines looks at the machines that labctl did not make, side by side,
// and changes nothing on them. It takes as long as one that does not answer.
func (e *Env) ExamineMachines(ctx context.Context) []doctor.Machine {
	out := make([]doctor.Machine, len(e.Lab.Nodes))
	var wg sync.WaitGroup
	for i, n := range e.Lab.Nodes {
		m := &out[i]
		m.Node = n.Name
		wg.Go(func() {
			if m.Err = e.look(ctx, n, false, func(string) {}); m.Err == nil {
				m.Facts = e.factsOf(n)
				m.About, m.Err = existing.Ask(ctx, e.Runner(n.Name), n.Name)
			}
		})
	}
	wg.Wait()
	return out
}

// preflight examines the host before anything is made, and stops at problems,
// with all of them at once. Warnings are only said.
func preflight(ctx context.Context, e *Env, say func(string)) (bool, error) {
	var problems []error
	var warned []string
	findings := doctor.Judge(e.Examine(ctx, true))
	if err := ctx.Err(); err != nil {
		return false, err
	}
	for _, f := range findings {
		switch f.Level {
		case doctor.Problem:
			problems = append(problems, &f)
		case doctor.Warning:
			if e.Log != nil {
				e.Log.Warn(f.Check + ": " + f.Line())
			}
			if !slices.Contains(warned, f.Check) {
				warned = append(warned, f.Check)
			}
		}
	}
	if warned != nil {
		say("warnings about " + strings.Join(warned, ", ") + ": `labctl doctor` tells more")
	}
	// The embedded engine's bundle has a step of its own.
	if e.Choice.Provider != config.Embedded {
		if _, err := e.findBundle(ctx); err != nil {
			problems = append(problems, err)
		}
	}
	if problems != nil {
		return false, errors.Join(problems...)
	}
	changed := e.noteNodes() || e.State.Provider == ""
	e.State.Provider, e.State.Accel, e.State.CPU = e.Choice.Provider, e.Choice.Accel, e.Choice.CPU
	return changed, e.State.Save()
}

// CheckChanges fails if lab.toml differs from the lab that stands in a way
// that create cannot mend, with every such difference. What it can live with
// is returned.
func (e *Env) CheckChanges(prune bool) ([]Change, error) {
	var stops []error
	var rest []Change
	for _, c := range e.Changes(prune) {
		if c.Stops {
			stops = append(stops, &c)
		} else {
			rest = append(rest, c)
		}
	}
	return rest, errors.Join(stops...)
}
