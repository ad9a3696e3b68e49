//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// parseSizes reads the flag -sizes: numbers of nodes with commas between.
func parseSizes(text string) (out []int, err error) {
	for word := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("-sizes %s: want numbers of nodes with commas between, such as 2,4,6,8", text)
		}
		out = append(out, n)
	}
	return out, nil
}

// sizes measures how labctl's create grows with the lab, from a box with Docker
// in it, which a first create makes that does not count.
func (b *bench) sizes(ctx context.Context, round int, sizes []int) error {
	for i, n := range append([]int{sizes[0]}, sizes...) {
		if err := b.size(ctx, round, n, i > 0); err != nil {
			return &roundError{fmt.Sprintf("round %d, %d nodes", round, n), err}
		}
	}
	return nil
}

func (b *bench) size(ctx context.Context, round, n int, counts bool) (err error) {
	dir, err := b.folder(fmt.Sprintf("size-%d-%d-%v", round, n, counts))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "lab.toml"), fmt.Appendf(nil, "provider = \"embedded\"\nworkers = %d\n", n-1), 0o644); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.removeLab(ctx, dir)) }()
	if !counts {
		_, err := b.labctl(ctx, dir, createWithin, "create")
		return err
	}
	if _, err := b.labctlTimed(ctx, round, dir, fmt.Sprintf("create of %d", n), "create"); err != nil {
		return err
	}
	if err := b.noteEngine(ctx, dir); err != nil {
		return err
	}
	c, err := ownCount(round, dir)
	c.Nodes, c.VMsMB = n, memoryOfVMs(b.engines[len(b.engines)-1])
	b.result.Counts = append(b.result.Counts, c)
	return err
}

var residentKB = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB$`)

// memoryOfVMs is what the QEMUs in a network namespace hold in memory, in MB.
func memoryOfVMs(netns string) int {
	kb := 0
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		comm, _ := os.ReadFile(filepath.Join(p, "comm"))
		if ns, _ := os.Readlink(filepath.Join(p, "ns", "net")); ns != netns || !strings.HasPrefix(string(comm), "qemu-system") {
			continue
		}
		data, _ := os.ReadFile(filepath.Join(p, "status"))
		if m := residentKB.FindSubmatch(data); m != nil {
			n, _ := strconv.Atoi(string(m[1]))
			kb += n
		}
	}
	return kb / 1000
}
