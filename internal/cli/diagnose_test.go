package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"labctl/internal/diagnose"

	"github.com/google/go-cmp/cmp"
)

// diagnoseIn runs labctl diagnose on a lab whose state file holds state; ""
// for no lab.
func diagnoseIn(t *testing.T, state string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	dir := t.TempDir()
	toml := filepath.Join(dir, "lab.toml")
	if err := os.WriteFile(toml, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if state != "" {
		if err := os.Mkdir(filepath.Join(dir, ".labctl"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, ".labctl", "state.json"), []byte(state), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out, errs bytes.Buffer
	code = Run(t.Context(), append([]string{"labctl", "--config", toml, "diagnose"}, args...), Streams{In: &bytes.Buffer{}, Out: &out, Err: &errs})
	told := strings.ReplaceAll(errs.String(), dir, "DIR")
	return code, out.String(), regexp.MustCompile(`\d{8}T\d{6}Z`).ReplaceAllString(told, "TIME")
}

func TestDiagnoseWithoutALab(t *testing.T) {
	code, stdout, stderr := diagnoseIn(t, "")
	want := "error: there is no lab in DIR\nhint: make it with `labctl create`\n"
	if code != exitFailed || stdout != "" || stderr != want {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestDiagnoseFlags(t *testing.T) {
	for want, args := range map[string][]string{
		"error: diagnose: --fix and --json do not go together\n": {"--fix", "--json"},
		"error: diagnose: --yes goes with --fix\n":               {"--yes"},
	} {
		code, stdout, stderr := diagnoseIn(t, "", args...)
		if code != exitUsage || stdout != "" || !strings.HasPrefix(stderr, want) {
			t.Errorf("%q: exit code %d, stdout %q, stderr %q", args, code, stdout, stderr)
		}
	}
}

// Nodes that cannot be reached are findings, not errors.
func TestDiagnoseOfALabThatIsOff(t *testing.T) {
	const off = `{"schema":1,"provider":"embedded","acceleration":"tcg","cpu":"qemu64"}`
	code, stdout, stderr := diagnoseIn(t, off)
	want := `error: vm-off
  symptom   nothing runs on docker1 and docker2: the node list says Down after a while, and tasks move to other nodes
  cause     the VMs of docker1 and docker2 are powered off
  evidence  docker1: its VM is powered off
            docker2: its VM is powered off
  remedy    labctl create

1 finding
`
	if diff := cmp.Diff(want, stdout); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	const evidence = "evidence: DIR/artifacts/TIME-diagnose\nreport: DIR/artifacts/TIME-diagnose/report.html\n"
	if code != exitFailed || stderr != evidence {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}

	// In a scenario's block the scenario keeps the evidence.
	t.Setenv("LAB_FILE", "lab.toml")
	if code, inside, stderr := diagnoseIn(t, off); code != exitFailed || inside != want || stderr != "" {
		t.Errorf("in a scenario: exit code %d, stdout %q, stderr %q", code, inside, stderr)
	}
	t.Setenv("LAB_FILE", "")

	code, stdout, stderr = diagnoseIn(t, off, "--json")
	var got struct {
		Findings []diagnose.Finding `json:"findings"`
		Facts    diagnose.Facts     `json:"facts"`
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatal(err)
	}
	if code != exitFailed || stderr != evidence || len(got.Findings) != 1 || got.Findings[0].Nodes[1] != "docker2" || len(got.Facts.Nodes) != 2 {
		t.Errorf("exit code %d, stderr %q, findings %+v", code, stderr, got.Findings)
	}
}
