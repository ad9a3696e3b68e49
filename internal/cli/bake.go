package cli

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"labctl/internal/box"
	"labctl/internal/config"
)

func (a *app) bakeCommand() *cobra.Command {
	var force bool
	var node string
	cmd := &cobra.Command{
		Use:   "bake",
		Short: "Make a box of a finished node: later labs are created from it in a fraction of the time",
		Long: "Make a box of a finished node, with Docker and its images in it and without what is\n" +
			"that node's own. The node goes on running. `labctl create` makes new labs of the same\n" +
			"inputs from that box by itself. The embedded engine only.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.bake(cmd.Context(), node, force) },
	}
	cmd.Flags().StringVar(&node, "node", "", "the node to take; else the last worker, or the last manager where there is none")
	cmd.Flags().BoolVar(&force, "force", false, "bake even if there is a box of the same inputs, and replace it")
	return cmd
}

func (a *app) bake(ctx context.Context, name string, force bool) error {
	e, lock, err := a.standing(ctx, "bake")
	if err != nil {
		return err
	}
	defer e.Close()
	defer lock.Release()
	node := bakedNode(e.Lab)
	if name != "" {
		nodes, err := selectNodes(e.Lab, []string{name})
		if err != nil {
			return err
		}
		if len(nodes) != 1 {
			return &usageError{fmt.Errorf("bake --node %s: one node becomes a box, not %d", name, len(nodes))}
		}
		node = nodes[0]
	}
	begin := time.Now()
	var made box.Box
	err = a.withDisplay(e, func() (err error) {
		made, err = e.Bake(ctx, node, force)
		return err
	})
	if err != nil {
		return err
	}
	info, err := os.Stat(made.Path)
	if err != nil {
		return err
	}
	said := "it is there already; --force bakes it anew"
	if made.Built {
		said = fmt.Sprintf("made from %s in %v", node.Name, time.Since(begin).Round(time.Second))
	}
	_, _ = fmt.Fprintf(a.streams.Err, "box of %d MB: %s\n", info.Size()/1e6, said)
	a.printf("%s\t%s\n", made.Name, made.Path)
	return nil
}

// bakedNode is the node whose standing still disturbs least: a worker.
func bakedNode(l *config.Lab) config.Node {
	nodes := append(l.Managers(), l.Workers()...)
	return nodes[len(nodes)-1]
}
