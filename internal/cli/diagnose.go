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
)

func (a *app) diagnoseCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "diagnose",
		Short: "Find out what is wrong with the lab: symptom, cause, evidence, remedy",
		Long: "Find out what is wrong with the lab: symptom, cause, evidence, remedy.\n\n" +
			"It asks every node for its networks, addresses, routes, tasks and peers, compares them, and changes nothing.\n" +
			"The exit code is 1 if it finds something.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.diagnose(cmd.Context(), asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, with the facts of every node")
	return cmd
}

// diagnose takes no lock: it only reads, and a scenario that runs calls it. In
// a scenario's block it leaves no evidence of its own: the scenario does.
func (a *app) diagnose(ctx context.Context, asJSON bool) (err error) {
	e, err := a.attach(ctx)
	if err != nil {
		return err
	}
	defer e.Close()
	if e.State.Provider == "" {
		return &errNoLab{e.Dir}
	}
	var s *session
	out := a.streams.Out
	if os.Getenv("LAB_FILE") == "" {
		if s, err = a.begin(e, "diagnose", true); err != nil {
			return err
		}
		out = ui.Above(s.ui, out)
		if a.outside(e) {
			s.unreachable = errEngineOff{}
		}
		defer func() {
			// What was found is told already; here the code only says so.
			if ended := s.end(ctx, err, true); !errors.As(ended, new(exitError)) {
				err = ended
			}
		}()
	}
	facts, found, err := diagnoseLab(ctx, e)
	if err != nil {
		return err
	}
	if s != nil {
		if err := s.keepFindings(facts, found); err != nil {
			return err
		}
	}
	if asJSON {
		_, err = out.Write(findingsJSON(facts, found))
	} else {
		err = diagnose.WriteText(out, facts, found)
	}
	if err == nil && len(found) > 0 {
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
	var wg sync.WaitGroup
	for i, n := range e.Lab.Nodes {
		if off {
			targets[i] = diagnose.Target{Node: n, Err: errEngineOff{}}
			continue
		}
		wg.Go(func() { targets[i] = diagnoseTarget(ctx, e, n) })
	}
	wg.Wait()
	return diagnose.Run(ctx, e.Lab, targets)
}

// diagnoseConnect is how long a node may take to answer SSH.
const diagnoseConnect = 30 * time.Second

func diagnoseTarget(ctx context.Context, e *lab.Env, n config.Node) diagnose.Target {
	t := diagnose.Target{Node: n}
	conn := e.Runner(n.Name)
	if conn == nil {
		ctx, cancel := context.WithTimeoutCause(ctx, diagnoseConnect, errors.New("no answer within "+diagnoseConnect.String()))
		defer cancel()
		var err error
		if conn, err = e.Connect(ctx, n, func(string) {}); err != nil {
			t.Err = err
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
