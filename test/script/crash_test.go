//go:build linux

package script

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"labctl/internal/ui"
)

// mostCrashes ends a crash loop that gets nowhere.
const mostCrashes = 40

// crash COMMAND...: runs it again and again, and kills it with SIGKILL at the
// end of the first step that did something, until a run gets to its end. So
// every boundary of the command's steps is one at which it died, and each run
// finds what the one before has left. With -again, for a command that does all
// its steps each time, the second run dies after its second step, and so on.
// The steps at which it died go to crash.out, as they came.
func crash(ts *testscript.TestScript, neg bool, args []string) {
	again := len(args) > 0 && args[0] == "-again"
	if again {
		args = args[1:]
	}
	if neg || len(args) == 0 {
		ts.Fatalf("usage: crash [-again] command...")
	}
	var died []string
	for range mostCrashes {
		nth := 1
		if again {
			nth = len(died) + 1
		}
		step, code := untilDone(ts, nth, args)
		if step == "" {
			if code != 0 {
				ts.Fatalf("after %d kills it ended with exit code %d", len(died), code)
			}
			ts.Check(os.WriteFile(ts.MkAbs("crash.out"), []byte(strings.Join(died, "\n")+"\n"), 0o644))
			return
		}
		died = append(died, step)
		// Nothing is ever half-written.
		for _, name := range []string{"state.json", "lock"} {
			data, err := os.ReadFile(ts.MkAbs(filepath.Join(".labctl", name)))
			if err == nil && !json.Valid(data) {
				ts.Fatalf("killed after %q, %s holds %q", step, name, data)
			}
		}
	}
	ts.Fatalf("it was killed %d times and is not done: %q", mostCrashes, died)
}

// untilDone runs the command until so many steps are done and kills it there;
// "" if it ended by itself before.
func untilDone(ts *testscript.TestScript, steps int, args []string) (step string, code int) {
	cmd := exec.Command(args[0], append([]string{"--progress", "json"}, args[1:]...)...)
	cmd.Dir, cmd.Env = ts.MkAbs("."), scriptEnv(ts)
	out, err := cmd.StderrPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	var said []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var e ui.Event
		if json.Unmarshal(lines.Bytes(), &e) != nil || e.Step == "" {
			said = append(said, lines.Text())
			continue
		}
		if e.State != ui.Done || e.Step == "evidence" {
			continue
		}
		if steps--; steps == 0 {
			step = strings.TrimSpace(e.Node + " " + e.Step)
			ts.Check(cmd.Process.Kill())
		}
	}
	_ = cmd.Wait() // its exit code says it
	code = cmd.ProcessState.ExitCode()
	if code > 0 {
		ts.Logf("%s", strings.Join(said, "\n"))
	}
	if code >= 0 {
		return "", code // it was faster than the kill
	}
	return step, code
}
