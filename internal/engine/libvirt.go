package engine

import (
	"context"
	"fmt"
	"strings"

	"labctl/internal/config"
	"labctl/internal/remote"
)

// usableLibvirt asks every hypervisor of the lab. All VMs run in the same way:
// with KVM if all of them have it.
func usableLibvirt(ctx context.Context, lab *config.Lab, host remote.Runner, scratch string) (Choice, error) {
	bad := func(reason, remedy string) (Choice, error) {
		return Choice{}, &UnusableError{config.Libvirt, reason, remedy}
	}
	uris := lab.Hypervisors()
	if len(uris) == 0 { // a lab without nodes is refused elsewhere
		uris = []string{config.LocalHypervisor}
	}
	var all Choice
	var names []string
	for _, uri := range uris {
		res, err := host.Run(ctx, remote.Command{Argv: []string{"virsh", "-c", uri, "version", "--daemon"}})
		if err != nil || res.ExitCode != 0 {
			reason, remedy := "virsh cannot reach "+uri, "start libvirtd and add your user to the group libvirt, then log in again"
			if s := firstLine(res.Stderr); s != "" {
				reason += ": " + s
			}
			if uri != config.LocalHypervisor {
				remedy = fmt.Sprintf("`virsh -c %s list` must answer without a question: a key that the host accepts, a host key that is known, libvirtd there, and its user in the group libvirt", remote.Quote([]string{uri}))
			}
			return bad(reason, remedy)
		}
		var choice Choice
		if uri == config.LocalHypervisor {
			choice, err = accelerate(ctx, lab, host, scratch)
		} else {
			choice, err = accelerateRemote(ctx, lab, host, uri)
		}
		if err != nil {
			return bad(err.Error(), kvmRemedy)
		}
		if all.Accel == "" || all.Accel == config.AccelKVM && choice.Accel == config.AccelTCG {
			all = choice
		}
		name := uri
		if uri == config.LocalHypervisor {
			name = "the system's libvirt"
		}
		names = append(names, name)
	}
	answer, it := "answers", "it runs"
	if len(names) > 1 {
		answer, it = "answer", "they run"
	}
	all.Provider = config.Libvirt
	all.Reason = fmt.Sprintf("%s %s; %s VMs with %s", strings.Join(names, " and "), answer, it, all.Reason)
	return all, nil
}

// accelerateRemote asks the libvirt of another host whether it has KVM. That is
// less than accelerate knows of this one, where a machine is booted.
func accelerateRemote(ctx context.Context, lab *config.Lab, host remote.Runner, uri string) (Choice, error) {
	if lab.Acceleration == config.AccelTCG {
		return Choice{Accel: config.AccelTCG, CPU: "qemu64", Reason: "software emulation, as lab.toml says"}, nil
	}
	res, err := host.Run(ctx, remote.Command{Argv: []string{"virsh", "-c", uri, "domcapabilities", "--virttype", "kvm"}})
	switch {
	case err != nil:
		return Choice{}, fmt.Errorf("%s does not tell whether it has KVM: %w", uri, err)
	case res.ExitCode == 0:
		return Choice{Accel: config.AccelKVM, CPU: "host", Reason: "KVM"}, nil
	case lab.Acceleration == config.AccelKVM:
		return Choice{}, fmt.Errorf("lab.toml asks for acceleration \"kvm\", but %s has none: %s", uri, firstLine(res.Stderr))
	}
	return Choice{Accel: config.AccelTCG, CPU: "qemu64", Reason: fmt.Sprintf("software emulation, several times slower than KVM, which %s has not", uri)}, nil
}
