package lab

import (
	"sync/atomic"

	"github.com/sirupsen/logrus"

	"labctl/internal/remote"
)

// counts are what a command has cost so far, in numbers that are the same on
// every machine.
type counts struct {
	ssh     remote.Counter
	vagrant atomic.Int64 // starts of Vagrant, the slowest thing there is on the host
}

// LogCounts notes them in labctl.log, from where the benchmark takes them.
func (e *Env) LogCounts() {
	if e.Log != nil {
		e.Log.WithFields(logrus.Fields{
			"ssh_handshakes": e.counts.ssh.Handshakes(),
			"ssh_commands":   e.counts.ssh.Commands(),
			"ssh_sent":       e.counts.ssh.Sent(),
			"vagrant_calls":  e.counts.vagrant.Load(),
		}).Info("counted so far")
	}
}
