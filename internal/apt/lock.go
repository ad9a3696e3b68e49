package apt

import (
	"context"
	"fmt"
	"time"

	"github.com/gofrs/flock"
)

// lockInterval is the time between two tries to get the lock.
const lockInterval = 200 * time.Millisecond

// Lock lets one build at a time work in a cache folder. It takes the
// exclusive lock of file, which the system frees when this process ends. It
// calls waiting once if somebody else has it, and waits for as long as ctx
// lets it.
func Lock(ctx context.Context, file string, waiting func()) (unlock func(), err error) {
	f := flock.New(file, flock.SetPermissions(0o644))
	ok, err := f.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", file, err)
	}
	if !ok {
		waiting()
		if _, err := f.TryLockContext(ctx, lockInterval); err != nil {
			if ctx.Err() != nil {
				return nil, fmt.Errorf("another labctl holds %s: %w", file, context.Cause(ctx))
			}
			return nil, fmt.Errorf("lock %s: %w", file, err)
		}
	}
	return func() { _ = f.Unlock() }, nil
}
