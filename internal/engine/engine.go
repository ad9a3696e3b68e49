// Package engine decides where Vagrant runs its VMs: VirtualBox, the system's
// libvirt, or the embedded engine, a private libvirtd in a network and mount
// namespace of its own that leaves the host's network alone.
package engine

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"labctl/internal/config"
	"labctl/internal/remote"
)

// Choice is a provider that was found usable, and why it was taken.
type Choice struct {
	Provider config.Provider // never Auto
	Reason   string          // one line for people
	// Accel is how QEMU runs the VMs: AccelKVM or AccelTCG; "" for
	// VirtualBox, which decides that itself.
	Accel config.Acceleration
	// CPU is the VMs' CPU model in QEMU's words: "host" where the host's own
	// CPU can be handed on, else "qemu64"; "" for VirtualBox.
	CPU string
}

// probeTimeout bounds each question to a hypervisor: one that does not answer
// a version request in this time is of no use for a lab either.
const probeTimeout = 15 * time.Second

// UnusableError says why a provider cannot be used here.
type UnusableError struct {
	Provider config.Provider
	Reason   string
	Remedy   string
}

func (e *UnusableError) Error() string {
	return fmt.Sprintf("provider %s cannot be used: %s", e.Provider, e.Reason)
}

// Hint returns the remedy.
func (e *UnusableError) Hint() string { return e.Remedy }

// Detect returns the provider to use: the one that lab.toml names if it is
// usable, and for Auto the first usable one of VirtualBox, system libvirt and
// the embedded engine. The error joins one UnusableError a provider tried.
// scratch is a folder that labctl may write to.
func Detect(ctx context.Context, lab *config.Lab, host remote.Runner, scratch string) (Choice, error) {
	order := []config.Provider{config.VirtualBox, config.Libvirt, config.Embedded}
	if lab.Provider != config.Auto {
		order = []config.Provider{lab.Provider}
	}
	var errs []error
	for _, p := range order {
		choice, err := usable(ctx, p, lab, host, scratch)
		if err == nil {
			return choice, nil
		}
		if ctx.Err() != nil {
			return Choice{}, ctx.Err()
		}
		errs = append(errs, err)
	}
	return Choice{}, errors.Join(errs...)
}

func usable(ctx context.Context, p config.Provider, lab *config.Lab, host remote.Runner, scratch string) (Choice, error) {
	within := probeTimeout
	if p == config.Libvirt {
		within *= time.Duration(max(1, len(lab.Hypervisors())))
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	switch p {
	case config.VirtualBox:
		res, err := host.Run(ctx, remote.Command{Argv: []string{"VBoxManage", "--version"}})
		version := firstLine(res.Stdout)
		if err != nil || res.ExitCode != 0 {
			return Choice{}, &UnusableError{p, "VBoxManage does not answer", "install VirtualBox and Vagrant; see README.md, Requirements"}
		}
		// Without its kernel module VBoxManage answers with a warning first
		// and no VM starts.
		if strings.HasPrefix(version, "WARNING") {
			return Choice{}, &UnusableError{p, version, "load VirtualBox's kernel module: sudo /sbin/vboxconfig"}
		}
		return Choice{Provider: p, Reason: "VirtualBox " + version + " answers"}, nil
	case config.Libvirt:
		return usableLibvirt(ctx, lab, host, scratch)
	case config.Embedded:
		return usableEmbedded(ctx, lab, host, scratch)
	case config.Existing:
		return Choice{Provider: p, Reason: "the machines that lab.toml names"}, nil
	}
	return Choice{}, fmt.Errorf("unknown provider %q", p)
}

func usableEmbedded(ctx context.Context, lab *config.Lab, host remote.Runner, scratch string) (Choice, error) {
	bad := func(reason, remedy string) (Choice, error) {
		return Choice{}, &UnusableError{config.Embedded, reason, remedy}
	}
	if runtime.GOOS != "linux" {
		return bad("it needs Linux", "install VirtualBox and Vagrant; see README.md, Requirements")
	}
	if err := mayUnshare(); err != nil {
		return bad(err.Error(), "run labctl as root (sudo), or use VirtualBox or the system's libvirt")
	}
	var missing []string
	for _, tool := range []string{"libvirtd", "virtlogd", "virsh", "qemu-system-x86_64", "qemu-img", "dnsmasq", "iptables", "ip", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, tool)
		}
	}
	if len(missing) > 0 {
		return bad("not installed: "+strings.Join(missing, ", "), "on Debian or Ubuntu: make deps (it lists and installs the packages)")
	}
	choice, err := accelerate(ctx, lab, host, scratch)
	if err != nil {
		return bad(err.Error(), kvmRemedy)
	}
	choice.Provider, choice.Reason = config.Embedded, "private libvirtd with "+choice.Reason
	return choice, nil
}

const kvmRemedy = "set acceleration = \"auto\" in lab.toml to fall back to software emulation"

// accelerate chooses how QEMU runs the VMs of both libvirt providers. The
// error is a lab.toml that asks for KVM where there is none.
func accelerate(ctx context.Context, lab *config.Lab, host remote.Runner, scratch string) (Choice, error) {
	tcg := Choice{Accel: config.AccelTCG, CPU: "qemu64", Reason: "software emulation, as lab.toml says"}
	if lab.Acceleration == config.AccelTCG {
		return tcg, nil
	}
	var err error
	for _, cpu := range []string{"host", "qemu64"} {
		if err = probeKVM(ctx, host, scratch, cpu); err == nil {
			return Choice{Accel: config.AccelKVM, CPU: cpu, Reason: "KVM"}, nil
		}
	}
	// The system's libvirtd has rights that its user lacks.
	if strings.Contains(err.Error(), "Permission denied") {
		return Choice{Accel: config.AccelKVM, CPU: "host", Reason: "KVM, which only libvirtd itself can try"}, nil
	}
	if lab.Acceleration == config.AccelKVM {
		return Choice{}, fmt.Errorf("lab.toml asks for acceleration \"kvm\", but %w", err)
	}
	tcg.Reason = "software emulation, several times slower than KVM: " + err.Error()
	return tcg, nil
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return s
}
