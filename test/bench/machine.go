//go:build linux

package main

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// thisMachine tells where the benchmark runs.
func thisMachine(accel string) Machine {
	m := Machine{Cores: runtime.NumCPU(), Acceleration: accel}
	m.CPU = field("/proc/cpuinfo", `(?m)^model name\s*:\s*(.+)$`)
	kb, _ := strconv.Atoi(field("/proc/meminfo", `(?m)^MemTotal:\s*(\d+) kB`))
	m.MemoryMB = kb >> 10
	return m
}

// field is what the group of a pattern matches in a file, "" if nothing does.
func field(file, pattern string) string {
	data, _ := os.ReadFile(file)
	return firstGroup(string(data), pattern)
}

func firstGroup(text, pattern string) string {
	if m := regexp.MustCompile(pattern).FindStringSubmatch(text); m != nil {
		return strings.TrimSpace(m[1])
	}
	return ""
}

// load is the load average of the last minute.
func load() float64 {
	f, _ := strconv.ParseFloat(field("/proc/loadavg", `^(\S+)`), 64)
	return f
}

// hostVersions asks the programs that both ways use for their versions. One
// that does not answer is left out.
func hostVersions(ctx context.Context) map[string]string {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	out := map[string]string{"system": field("/etc/os-release", `(?m)^PRETTY_NAME="(.+)"$`), "kernel": field("/proc/sys/kernel/osrelease", `(.+)`)}
	for name, ask := range map[string][]string{
		"vagrant": {"vagrant", "--version"},
		"qemu":    {"qemu-system-x86_64", "--version"},
		"libvirt": {"libvirtd", "--version"},
	} {
		said, err := exec.CommandContext(ctx, ask[0], ask[1:]...).Output()
		if v := firstGroup(string(said), `(\d+\.\d+\.\d+)`); err == nil && v != "" {
			out[name] = v
		}
	}
	return out
}
