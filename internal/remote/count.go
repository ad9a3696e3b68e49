package remote

import "sync/atomic"

// Counter counts what the connections that were made with it cost: the numbers
// that say on any machine whether labctl has become more expensive. The zero
// value is ready, a nil one counts nothing, and its methods may be used from
// several goroutines at once.
type Counter struct{ handshakes, commands, sent atomic.Int64 }

// Handshakes is how many SSH handshakes were begun, those that failed
// included: each costs a software-emulated node up to a second.
func (c *Counter) Handshakes() int64 {
	return c.read(func(c *Counter) *atomic.Int64 { return &c.handshakes })
}

// Commands is how many commands were started. Requests to a forwarded socket
// are none.
func (c *Counter) Commands() int64 {
	return c.read(func(c *Counter) *atomic.Int64 { return &c.commands })
}

// Sent is how many bytes the commands were given: command line and standard
// input, before encryption.
func (c *Counter) Sent() int64 { return c.read(func(c *Counter) *atomic.Int64 { return &c.sent }) }

func (c *Counter) read(which func(*Counter) *atomic.Int64) int64 {
	if c == nil {
		return 0
	}
	return which(c).Load()
}

func (c *Counter) handshake() {
	if c != nil {
		c.handshakes.Add(1)
	}
}

func (c *Counter) command(line string) {
	if c != nil {
		c.commands.Add(1)
		c.sent.Add(int64(len(line)))
	}
}

func (c *Counter) input(n int) {
	if c != nil {
		c.sent.Add(int64(n))
	}
}
