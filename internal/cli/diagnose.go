package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"labctl/internal/config"
	"labctl/internal/diagnose"
	"labctl/internal/lab"
	"labctl/internal/ui"
	"labctl/internal/vagrant"
)

func (a *app) diagnoseCommand() *cobra.Command {
	var o diagnoseOptions
	cmd := &cobra.Command{
		Use:   "diagnose",
		Short: "Find out what is wrong with the lab: symptom, cause, evidence, remedy",
		Long: "Find out what is wrong with the lab: symptom, cause, evidence, remedy.\n\n" +
			"It asks every node for its networks, addresses, routes, firewall, disks, clock, services and tasks, lets every node\n" +
			"try every other (2377/tcp, 7946/tcp and udp, the overlays' port, large packets, the overlay ingress), reads the rules\n" +
			"of iptables and nft for what stops a packet, compares all that, and changes nothing. What follows from another\n" +
			"finding is not told. docs/diagnose.md lists all findings. The exit code is 1 if it finds something.\n\n" +
			"With --fix it carries out the remedies that are safe, after asking for each, and looks again.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case o.fix && o.json:
				return &usageError{errors.New("diagnose: --fix and --json do not go together")}
			case o.yes && !o.fix:
				return &usageError{errors.New("diagnose: --yes goes with --fix")}
			}
			return a.diagnose(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON, with the facts of every node")
	cmd.Flags().BoolVar(&o.fix, "fix", false, "mend what can be mended safely, after asking, and look again")
	cmd.Flags().BoolVar(&o.yes, "yes", false, "with --fix: do not ask")
	return cmd
}

type diagnoseOptions struct{ json, fix, yes bool }

// diagnose takes no lock, unless it is to mend: it only reads, and a scenario
// that runs calls it. In a scenario's block it leaves no evidence of its own:
// the scenario does.
func (a *app) diagnose(ctx context.Context, o diagnoseOptions) (err error) {
	e, err := a.attach(ctx)
	if err != nil {
		return err
	}
	defer e.Close()
	if e.State.Provider == "" {
		return &errNoLab{e.Dir}
	}
	if o.fix {
		lock, err := lab.TakeLock(e.StateDir(), "diagnose --fix")
		if err != nil {
			return err
		}
		defer lock.Release()
	}
	var s *session
	out := a.streams.Out
	wrong := false
	if os.Getenv("LAB_FILE") == "" {
		if s, err = a.begin(e, "diagnose", true); err != nil {
			return err
		}
		out = ui.Above(s.ui, out)
		if a.outside(e) {
			s.unreachable = errEngineOff{}
		}
		defer func() {
			// What was found is told already; here the code only says so. Of a
			// sound lab the facts are evidence enough.
			take := factsOnly
			if wrong {
				take = everything
			}
			if ended := s.end(ctx, err, take); !errors.As(ended, new(exitError)) {
				err = ended
			}
		}()
	}
	facts, found, err := diagnoseLab(ctx, e)
	if err != nil {
		return err
	}
	if o.fix {
		if facts, found, err = a.mendLab(ctx, e, out, facts, found, o.yes); err != nil {
			return err
		}
	}
	wrong = len(found) > 0
	if s != nil {
		if err := s.keepFindings(facts, found); err != nil {
			return err
		}
	}
	if o.json {
		_, err = out.Write(findingsJSON(facts, found))
	} else {
		err = diagnose.WriteText(out, facts, found)
	}
	if err == nil && wrong {
		return exitError(exitFailed)
	}
	return err
}

// findingsJSON is what diagnose prints and keeps for programs.
func findingsJSON(facts diagnose.Facts, found []diagnose.Finding) []byte {
	if found == nil {
		found = []diagnose.Finding{}
	}
	// Nothing in it can fail to be written as JSON.
	data, _ := json.MarshalIndent(struct {
		Findings []diagnose.Finding `json:"findings"`
		Facts    diagnose.Facts     `json:"facts"`
	}{found, facts}, "", "  ")
	return append(data, '\n')
}

// keepFindings writes the findings to the run's folder.
func (s *session) keepFindings(facts diagnose.Facts, found []diagnose.Finding) error {
	var text bytes.Buffer
	if err := diagnose.WriteText(&text, facts, found); err != nil {
		return err
	}
	return errors.Join(s.run.Write("diagnose.json", findingsJSON(facts, found)), s.run.Write("diagnose.txt", text.Bytes()))
}

// diagnoseLab connects to the nodes as far as that is possible, asks, and
// judges. Nodes to which e is connected already are asked through that.
func diagnoseLab(ctx context.Context, e *lab.Env) (diagnose.Facts, []diagnose.Finding, error) {
	off := e.State.Provider == config.Embedded && !e.Engine().Inside()
	targets := make([]diagnose.Target, len(e.Lab.Nodes))
	vms := askVMs(ctx, e, off)
	defer vms.stop()
	var wg sync.WaitGroup
	for i, n := range e.Lab.Nodes {
		if off {
			targets[i] = diagnose.Target{Node: n, VM: string(vagrant.PowerOff), Err: errEngineOff{}}
			continue
		}
		wg.Go(func() { targets[i] = diagnoseTarget(ctx, e, n, vms) })
	}
	wg.Wait()
	return diagnose.Run(ctx, e.Lab, targets)
}

// diagnoseConnect is how long a node may take to answer SSH.
const diagnoseConnect = 30 * time.Second

func diagnoseTarget(ctx context.Context, e *lab.Env, n config.Node, vms *vmStates) diagnose.Target {
	t := diagnose.Target{Node: n}
	conn := e.Runner(n.Name)
	if conn == nil {
		dial, cancel := context.WithTimeoutCause(ctx, diagnoseConnect, errors.New("no answer within "+diagnoseConnect.String()))
		defer cancel()
		go func() {
			// A VM that is off need not be waited for.
			if state := vms.of(dial, n.Name); state != "" && state != string(vagrant.Running) {
				cancel()
			}
		}()
		var err error
		if conn, err = e.Connect(dial, n, func(string) {}); err != nil {
			t.Err, t.VM = err, vms.of(ctx, n.Name)
			return t
		}
	}
	t.Runner = conn
	api, err := e.API(n)
	if err != nil {
		t.Err = err
		return t
	}
	t.API = api
	return t
}

// vmStates is what runs the VMs says of them, as soon as it has said it.
type vmStates struct {
	stop   context.CancelFunc
	done   chan struct{}
	states map[string]vagrant.State
}

// askVMs asks side by side with the nodes, of which it is only needed for
// those that do not answer.
func askVMs(ctx context.Context, e *lab.Env, off bool) *vmStates {
	ctx, stop := context.WithCancel(ctx)
	v := &vmStates{stop: stop, done: make(chan struct{})}
	go func() {
		defer close(v.done)
		if !off {
			v.states, _ = e.Vagrant().Status(ctx) // then nothing is said of the VMs
		}
	}()
	return v
}

// of waits for the state of a node's VM; "" if it is not known.
func (v *vmStates) of(ctx context.Context, node string) string {
	select {
	case <-v.done:
		return string(v.states[node])
	case <-ctx.Done():
		return ""
	}
}

// likelyCause adds to a failed scenario what diagnose makes of the lab as the
// failure left it: call it before the cleanups' traces are gone, or after the
// run for what is wrong with the nodes themselves. It never fails the caller.
func (s *session) likelyCause(ctx context.Context, w io.Writer) {
	facts, found, err := diagnoseLab(ctx, s.e)
	if err != nil {
		s.run.Missing("diagnose.json", err.Error())
		return
	}
	if err := s.keepFindings(facts, found); err != nil {
		s.run.Missing("diagnose.json", err.Error())
	}
	if len(found) == 0 {
		return
	}
	_, _ = fmt.Fprintln(w, "what diagnose thinks is the cause:")
	_ = diagnose.WriteText(w, facts, found)
}
