package cli

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"labctl/internal/lab"
)

// lockers are the commands that take the lab's lock.
var lockers = []string{
	"labctl create", "labctl destroy", "labctl reset",
	"labctl snapshot save", "labctl snapshot restore", "labctl snapshot delete",
	"labctl swarm form", "labctl swarm leave", "labctl fault inject", "labctl fault clear", "labctl fault reveal",
	"labctl scenario", "labctl scenario all", "labctl scenario learn", "labctl scenario test", "labctl scenario cleanup",
}

// defaultWait is how long --wait without a value waits.
const defaultWait = "10m"

// letWait gives --wait to every command that takes the lab's lock: while
// another labctl holds it, the command waits instead of failing.
func letWait(a *app, cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		letWait(a, sub)
	}
	if !slices.Contains(lockers, cmd.CommandPath()) {
		return
	}
	var within time.Duration
	f := cmd.Flags().VarPF(newDuration(&within), "wait", "", "while another labctl works on this lab, wait for it to end, for at most this long ("+defaultWait+" if no time is given)")
	f.NoOptDefVal = defaultWait
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if within <= 0 {
			return run(cmd, args)
		}
		return a.waited(cmd, args, within, run)
	}
}

// waited runs a command when the lock is free, and again if somebody was
// quicker: nothing is done before the lock is taken.
func (a *app) waited(cmd *cobra.Command, args []string, within time.Duration, run func(*cobra.Command, []string) error) error {
	dir, err := a.dir()
	if err != nil {
		return err
	}
	deadline := time.Now().Add(within)
	for {
		left := max(0, time.Until(deadline)).Round(100 * time.Millisecond)
		err := lab.AwaitFree(cmd.Context(), filepath.Join(dir, ".labctl"), time.Until(deadline), func(reason string) {
			_, _ = fmt.Fprintf(a.streams.Err, "waiting, at most %v: %s\n", left, reason)
		})
		var locked *lab.LockedError
		if errors.As(err, &locked) {
			locked.Waited = within
		}
		if err != nil {
			return err
		}
		if err = run(cmd, args); !errors.As(err, &locked) {
			return err
		}
	}
}

// duration is a flag of that type that a negative value cannot be given to.
type duration struct{ to *time.Duration }

func newDuration(to *time.Duration) *duration { return &duration{to} }

func (d *duration) String() string {
	if d.to == nil || *d.to == 0 {
		return ""
	}
	return d.to.String()
}

// Type names the value in the help.
func (d *duration) Type() string { return "duration" }

// Set reads the value.
func (d *duration) Set(s string) error {
	v, err := time.ParseDuration(s)
	if err == nil && v <= 0 {
		err = errors.New("give a time such as 90s or 10m")
	}
	if err == nil {
		*d.to = v
	}
	return err
}
