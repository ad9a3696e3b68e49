package engine

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"labctl/internal/remote"
)

// bootSector is testdata/probe.S, assembled: it goes the way of every boot
// loader and kernel, from real to protected to long mode, returning from an
// interrupt frame in each, and then ends QEMU with probeExit.
const bootSector = "" +
	"fa31c08ed88ec08ed0bc007c0f0116e07c0f20c00c010f22c0ea1e7c080066b810008ed88ec08ed0bc007c00009c6a086836" +
	"7c0000cfbf0010000031c0b9000c0000f3abc7050010000003200000c7050020000003300000c70500300000830000000f20" +
	"e083c8200f22e0b8001000000f22d8b9800000c00f320d000100000f300f20c00d000000800f22c0ea937c0000180066b810" +
	"008ed048c7c4007c00006a1068007c00009c6a1868b17c000048cf66baf400b02aeef4ebfd0f1f4400000000000000000000" +
	"ffff0000009acf00ffff00000092cf00ffff0000009aaf001f00c07c"

// probeExit is QEMU's exit code when the boot sector's last instruction ran:
// the debug-exit device makes (42<<1)|1 of its 42.
const probeExit = 85

// probeSeconds bounds the probe; it takes 0.1 s where KVM works.
const probeSeconds = 4

// timedOut is the exit code of timeout(1) that had to end its command.
const timedOut = 124

// probeKVM boots a tiny machine with this CPU model. That /dev/kvm is there
// and can be opened says too little: inside a VM it can be both, even start a
// machine, and yet fail at instructions that every kernel needs.
//
// scratch is a folder for the boot sector, made if it is missing. That the
// machine did not boot in time is remembered there for a while, since it is
// seconds that every new lab would wait again.
func probeKVM(ctx context.Context, host remote.Runner, scratch, cpu string) error {
	code, err := hex.DecodeString(bootSector)
	if err != nil {
		return err
	}
	disk := make([]byte, 512)
	copy(disk, code)
	disk[510], disk[511] = 0x55, 0xaa
	if err := os.MkdirAll(scratch, 0o700); err != nil {
		return err
	}
	if hung(scratch, cpu) {
		return errHung
	}
	file := filepath.Join(scratch, "kvm-probe.img")
	if err := os.WriteFile(file, disk, 0o600); err != nil {
		return err
	}
	// Where KVM fails, QEMU does not end but waits or spins. timeout ends it,
	// also if labctl is killed meanwhile.
	res, err := host.Run(ctx, remote.Command{Argv: []string{
		"timeout", "-k", "2", strconv.Itoa(probeSeconds), "qemu-system-x86_64", "-accel", "kvm", "-cpu", cpu, "-m", "16", "-display", "none", "-nodefaults", "-no-reboot",
		"-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-drive", "file=" + file + ",format=raw,if=floppy,readonly=on", "-boot", "a",
	}})
	switch {
	case err != nil:
		return fmt.Errorf("KVM cannot be tried: %w", err)
	case res.ExitCode == probeExit:
		return nil
	}
	reason := firstError(res.Stderr)
	if reason == "" || res.ExitCode == timedOut {
		remember(scratch, cpu)
		return errHung
	}
	return fmt.Errorf("KVM does not work here (%s)", reason)
}

var errHung = fmt.Errorf("KVM does not work here (a test machine did not boot within %d s)", probeSeconds)

// hungFor is how long a machine that did not boot is remembered. A machine
// that is too busy for the probe shall not be without KVM for good.
const hungFor = time.Hour

// sinceWhen is what must be the same for KVM to be the same: the boot, and the
// device, which is made anew when the module is loaded again.
func sinceWhen() string {
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	dev, err := os.Stat("/dev/kvm")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(boot)) + " " + dev.ModTime().UTC().Format(time.RFC3339Nano)
}

func hungFile(scratch, cpu string) string { return filepath.Join(scratch, "kvm-hung-"+cpu) }

func hung(scratch, cpu string) bool {
	info, err := os.Stat(hungFile(scratch, cpu))
	if err != nil || time.Since(info.ModTime()) > hungFor {
		return false
	}
	since, err := os.ReadFile(hungFile(scratch, cpu))
	return err == nil && len(since) > 0 && string(since) == sinceWhen()
}

// remember notes it. That it cannot costs seconds the next time.
func remember(scratch, cpu string) {
	_ = os.WriteFile(hungFile(scratch, cpu), []byte(sinceWhen()), 0o600)
}

// firstError returns the first line of QEMU's output that is no warning.
func firstError(s string) string {
	for line := range strings.Lines(s) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.Contains(line, ": warning: ") {
			return strings.TrimPrefix(line, "qemu-system-x86_64: ")
		}
	}
	return ""
}
