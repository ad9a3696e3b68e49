//go:build !linux

// Bench measures labctl against the plain way; see main.go.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "the benchmark needs Linux: it runs both ways in an embedded engine")
	os.Exit(1)
}
