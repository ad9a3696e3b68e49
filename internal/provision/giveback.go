package provision

import (
	"context"
	"strings"

	"labctl/internal/remote"
)

// GiveBack takes labctl's images, entries and files off a machine that labctl
// did not make and that has left the swarm; with purge also Docker, if ours
// says that labctl installed it.
func GiveBack(ctx context.Context, r remote.Runner, node string, ours, purge bool, progress func(string)) (changed bool, err error) {
	text, err := script("giveback.sh")
	if err != nil {
		return false, err
	}
	n := &news{progress: progress}
	flag := map[bool]string{true: "1", false: "0"}
	res, err := r.Run(ctx, remote.Command{
		Argv:  []string{"sudo", "-n", "sh", "-eu", "-s", "--", flag[ours], flag[purge]},
		Stdin: strings.NewReader(text), Stdout: n,
	})
	return n.changed, failure(node, "give back", res, err)
}
