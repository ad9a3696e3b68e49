package fault

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Random stands for any kind, which is not told.
const Random Kind = "random"

// mysteries are the faults that Draw chooses from. A node that is off is none:
// nobody could look for the cause on it.
var mysteries = []Spec{
	{Kind: Port, Params: map[string]string{"port": "2377"}},
	{Kind: Port, Params: map[string]string{"port": "7946"}},
	{Kind: Port},
	{Kind: Partition},
	{Kind: Loss},
	{Kind: Delay},
	{Kind: MTU},
	{Kind: DNS},
	{Kind: Clock},
	{Kind: Clock, Params: map[string]string{"shift": "-2h"}},
	{Kind: DockerdStop},
	{Kind: DiskFull},
	{Kind: CPU},
	{Kind: ImageMissing},
	{Kind: SubnetOverlap},
	{Kind: SubnetOverlap, Params: map[string]string{"with": "bridge"}},
	{Kind: SubnetOverlap, Params: map[string]string{"with": "machines"}},
}

// Draw chooses a fault and a node by the seed, which 0 has chosen first. The
// same seed on a lab of the same nodes is the same fault.
func (l *Lab) Draw(seed *uint64, within time.Duration) Spec {
	for *seed == 0 {
		*seed = rand.Uint64N(1e6)
	}
	from := rand.New(rand.NewPCG(*seed, 0))
	s := mysteries[from.IntN(len(mysteries))]
	s.Params, s.For = maps.Clone(s.Params), within
	if info, _ := Of(s.Kind); !info.noNode {
		// A manager only if there are others who can tell of it.
		nodes := l.Nodes
		if managers := l.managers(); len(managers) < 3 {
			nodes = slices.DeleteFunc(slices.Clone(nodes), func(n Node) bool {
				return slices.ContainsFunc(managers, func(m Node) bool { return m.Name == n.Name })
			})
		}
		if len(nodes) > 0 {
			s.Nodes = []string{nodes[from.IntN(len(nodes))].Name}
		}
	}
	return s
}

// Reveal opens the records of the faults that are on.
func (l *Lab) Reveal(ctx context.Context) ([]Record, error) {
	current, err := l.Current(ctx)
	if err != nil {
		return nil, err
	}
	var out []Record
	for _, s := range current {
		if s.Over() {
			continue
		}
		s.Mystery = false
		if err := l.save(s.Record); err != nil {
			return out, err
		}
		out = append(out, s.Record)
	}
	return out, nil
}

// Forget drops the records of a kind: what they tell of is over.
func Forget(dir string, k Kind) error {
	noted, err := Noted(dir)
	if err != nil {
		return err
	}
	l := &Lab{Dir: dir}
	for _, r := range noted {
		if r.Kind == k {
			if err := l.drop(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// States tells of each node whether the fault is on there.
func (s Standing) States() string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(s.On)) {
		words = append(words, fmt.Sprintf("%s: %s", name, s.On[name]))
	}
	return strings.Join(words, ", ")
}
