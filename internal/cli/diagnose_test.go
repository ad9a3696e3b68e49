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

// Nodes that cannot be reached are findings, not errors.
func TestDiagnoseOfALabThatIsOff(t *testing.T) {
	const off = `{"schema":1,"provider":"embedded","acceleration":"tcg","cpu":"qemu64"}`
	code, stdout, stderr := diagnoseIn(t, off)
	want := `error: node-unreachable
  symptom   labctl cannot reach docker1
  cause     its VM is off, still starting, or its network is broken
  evidence  docker1: the lab's embedded engine is not running, so its VMs are off
  remedy    labctl status
            labctl create

error: node-unreachable
  symptom   labctl cannot reach docker2
  cause     its VM is off, still starting, or its network is broken
  evidence  docker2: the lab's embedded engine is not running, so its VMs are off
  remedy    labctl status
            labctl create

2 findings
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
	if code != exitFailed || stderr != evidence || len(got.Findings) != 2 || got.Findings[1].Nodes[0] != "docker2" || len(got.Facts.Nodes) != 2 {
		t.Errorf("exit code %d, stderr %q, findings %+v", code, stderr, got.Findings)
	}
}
