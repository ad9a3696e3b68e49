package box

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lockInterval is the time between two tries to get the lock.
const lockInterval = 200 * time.Millisecond

// lock takes the exclusive lock of file, which the kernel frees when this
// process ends. It calls waiting once if somebody else has it, and waits for
// as long as ctx lets it.
func lock(ctx context.Context, file string, waiting func()) (unlock func(), err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("box: lock: %w", err)
	}
	tick := time.NewTicker(lockInterval)
	defer tick.Stop()
	for first := true; ; first = false {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			_ = f.Close()
			return nil, fmt.Errorf("box: lock %s: %w", file, err)
		}
		if first {
			waiting()
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("box: another build holds %s: %w", file, context.Cause(ctx))
		case <-tick.C:
		}
	}
}
