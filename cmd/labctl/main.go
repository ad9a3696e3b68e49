// Command labctl turns one file, lab.toml, into a Docker Swarm training lab.
package main

import (
	"context"
	"os"

	"labctl/internal/cli"
)

func main() {
	os.Exit(cli.Run(context.Background(), os.Args, cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
