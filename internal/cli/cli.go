// Package cli reads the command line, calls the rooms, and prints. Its
// commands hold no logic of their own.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/spf13/cobra"

	"labctl/internal/config"
	"labctl/internal/ui"
)

// The exit codes.
const (
	exitOK          = 0
	exitFailed      = 1 // the lab failed
	exitUsage       = 2 // the command line or lab.toml is wrong
	exitCheck       = 3 // a check of a scenario failed
	exitInterrupted = 130
)

// Streams are where a run reads and writes. Results go to Out, progress and
// errors to Err.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// version is set when bin/labctl is built (-ldflags -X).
var version = ""

func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// app is one run of labctl.
type app struct {
	args       []string // args[0] is the program
	streams    Streams
	configFile string
	progress   string
	verbose    bool

	second      chan struct{} // closed by a second signal, if takesSecond
	takesSecond atomic.Bool
}

// usageError is a wrong command line.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// exitError ends labctl with a code and without a word: what there was to say
// has been said.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// errInterrupted is the cause of a context that a Ctrl-C ended.
var errInterrupted = errors.New("interrupted")

// Run runs labctl with args, args[0] being the program's name, and returns
// its exit code. A first SIGINT or SIGTERM ends ctx and lets every command
// leave in order; the next one ends the process at once, or, where a command
// does long work on leaving, tells it to stop that.
func Run(ctx context.Context, args []string, s Streams) int {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	a := &app{args: args, streams: s, second: make(chan struct{})}
	left := make(chan struct{})
	defer close(left)
	go func() {
		defer signal.Stop(signals) // the next one has its default effect
		select {
		case <-signals:
		case <-left:
			return
		}
		cancel(errInterrupted)
		if !a.takesSecond.Load() {
			return
		}
		select {
		case <-signals:
			close(a.second)
		case <-left:
		}
	}()

	root := a.root()
	root.SetArgs(args[1:])
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	err := root.ExecuteContext(ctx)
	if context.Cause(ctx) == errInterrupted && err != nil && !errors.As(err, new(exitError)) {
		err = errInterrupted
	}
	return a.report(err)
}

// report prints err, once, and chooses the exit code.
func (a *app) report(err error) int {
	var (
		code     exitError
		usage    *usageError
		problems *config.Errors
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &code):
		return int(code)
	case errors.Is(err, errInterrupted):
		_, _ = fmt.Fprintln(a.streams.Err, "interrupted: what stands is kept; the same command goes on from here, `labctl destroy` removes it")
		return exitInterrupted
	}
	ui.Error(a.streams.Err, err, a.verbose)
	if errors.As(err, &usage) || errors.As(err, &problems) {
		return exitUsage
	}
	return exitFailed
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "labctl",
		Short:         "Make a Docker Swarm training lab from one file, lab.toml",
		Version:       buildVersion(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("labctl {{.Version}}\n")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return misused(cmd, err) })
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		// Also where no progress is shown: a slip is not passed over.
		if _, err := ui.ParseMode(a.progress); err != nil {
			return &usageError{err}
		}
		return nil
	}
	f := root.PersistentFlags()
	f.StringVar(&a.configFile, "config", "lab.toml", "the lab's file; its folder holds .labctl and artifacts")
	f.StringVar(&a.progress, "progress", "auto", "how progress is shown: auto, board, plain or json")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "say more: the whole error and the log")
	root.AddCommand(
		a.initCommand(), a.validateCommand(), a.renderCommand(),
		a.createCommand(), a.bakeCommand(), a.statusCommand(), a.sshCommand(), a.execCommand(), a.exportCommand(),
		a.scenarioCommand(), a.doctorCommand(), a.diagnoseCommand(), a.reportCommand(), a.swarmCommand(), a.resetCommand(), a.snapshotCommand(), a.destroyCommand(),
		a.faultCommand(), a.collectCommand(), a.artifactsCommand(),
		a.boxCommand(), a.bundleCommand(), a.engineCommand(),
	)
	letWait(a, root)
	wrapArgs(root)
	return root
}

// wrapArgs makes usage errors of wrong arguments, which cobra reports without
// a type.
func wrapArgs(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(c *cobra.Command, args []string) error {
			err := check(c, args)
			if err != nil && c.HasAvailableSubCommands() && strings.HasPrefix(err.Error(), "unknown command") {
				err = unknownCommand(c, args[0])
			}
			if err != nil {
				return misused(c, err)
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		wrapArgs(sub)
	}
}

// misused is a wrong command line of cmd.
func misused(cmd *cobra.Command, err error) error {
	return &usageError{fmt.Errorf("%s: %w; see `%s --help`", cmd.CommandPath(), err, cmd.CommandPath())}
}

// unknownCommand names the commands that come near to word.
func unknownCommand(cmd *cobra.Command, word string) error {
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(word); len(near) > 0 {
		return fmt.Errorf("unknown command %q, did you mean %s?", word, strings.Join(near, " or "))
	}
	return fmt.Errorf("unknown command %q", word)
}

// load reads lab.toml. A file that is not there, and that nobody named, is
// the default lab.
func (a *app) load() (*config.Lab, []config.Problem, error) {
	data, err := os.ReadFile(a.configFile)
	if errors.Is(err, os.ErrNotExist) && a.configFile == "lab.toml" {
		return config.Default(), nil, nil
	}
	if err != nil {
		return nil, nil, &usageError{err}
	}
	return config.Parse(a.configFile, data)
}

// dir is the folder of lab.toml, absolute.
func (a *app) dir() (string, error) {
	abs, err := filepath.Abs(a.configFile)
	if err != nil {
		return "", err
	}
	return filepath.Dir(abs), nil
}

func (a *app) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(a.streams.Out, format, args...)
}
