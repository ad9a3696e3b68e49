package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// Lock is the right to change a lab. The kernel frees it when its holder dies.
type Lock struct{ f *flock.Flock }

// holder is what the lock file says of who holds it.
type holder struct {
	PID     int       `json:"pid"`
	Command string    `json:"command"`
	Since   time.Time `json:"since"`
}

// LockedError is a lab that another labctl is changing.
type LockedError struct {
	Holder string
	Waited time.Duration // how long it was waited for in vain; 0 for not at all
}

func (e *LockedError) Error() string {
	if e.Waited > 0 {
		return fmt.Sprintf("the lab is in use: %s; waited %v for it to end", e.Holder, e.Waited)
	}
	return "the lab is in use: " + e.Holder
}

// Hint says what to do.
func (e *LockedError) Hint() string {
	if e.Waited > 0 {
		return "--wait=30m waits longer"
	}
	return "wait until it has ended, then try again; --wait does so"
}

// TakeLock takes the lab's lock for command, or returns a LockedError.
func TakeLock(stateDir, command string) (*Lock, error) {
	name := filepath.Join(stateDir, "lock")
	var f *flock.Flock
	for {
		if err := os.MkdirAll(stateDir, 0o700); err != nil {
			return nil, err
		}
		f = flock.New(name, flock.SetPermissions(0o600))
		ok, err := f.TryLock()
		if errors.Is(err, fs.ErrNotExist) {
			continue // a destroy has just removed the folder
		}
		if err != nil {
			return nil, fmt.Errorf("lock the lab: %w", err)
		}
		if !ok {
			_ = f.Close()
			return nil, &LockedError{Holder: holderOf(name)}
		}
		if isFile(f, name) {
			break
		}
		// A destroy removed the file between our opening and locking it: this
		// lock is on nothing that anybody else would look at.
		_ = f.Unlock()
	}
	data, err := json.Marshal(holder{os.Getpid(), strings.TrimSpace(command), time.Now()})
	if err == nil {
		// Not through a new name: the lock is on this very file. Windows
		// lets nobody write to a locked file; there it stays unnamed.
		if err = os.WriteFile(name, data, 0o600); runtime.GOOS == "windows" {
			err = nil
		}
	}
	if err != nil {
		_ = f.Unlock()
		return nil, fmt.Errorf("lock the lab: %w", err)
	}
	return &Lock{f}, nil
}

// isFile says whether the locked file is still the one of that name.
func isFile(f *flock.Flock, name string) bool {
	locked, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(name)
	return err == nil && os.SameFile(locked, there)
}

// holderOf tells who holds the lock, as far as its file says so.
func holderOf(name string) string {
	var h holder
	if data, err := os.ReadFile(name); err == nil && json.Unmarshal(data, &h) == nil && h.PID != 0 {
		return fmt.Sprintf("`labctl %s` (pid %d) holds it since %s", h.Command, h.PID, h.Since.Local().Format(time.TimeOnly))
	}
	return "another labctl holds it"
}

// Release gives the lock back.
func (l *Lock) Release() { _ = l.f.Unlock() }

// lockInterval is how often a lock that is waited for is tried.
const lockInterval = 200 * time.Millisecond

// AwaitFree waits until nobody holds the lab's lock, for at most within. say
// is told the holder, and each new one. It takes nothing: whoever needs the
// lock tries after that, and perhaps comes here again. The error is a
// LockedError when the time is over, or the reason why ctx ended.
func AwaitFree(ctx context.Context, stateDir string, within time.Duration, say func(reason string)) error {
	name := filepath.Join(stateDir, "lock")
	deadline := time.Now().Add(within)
	said := ""
	for {
		free, err := isFree(name)
		if err != nil || free {
			return err
		}
		who := holderOf(name)
		if time.Until(deadline) <= 0 {
			return &LockedError{Holder: who, Waited: within}
		}
		if who != said {
			say((&LockedError{Holder: who}).Error())
			said = who
		}
		t := time.NewTimer(min(lockInterval, time.Until(deadline)))
		select {
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		case <-t.C:
		}
	}
}

// isFree tries the lock without making its file.
func isFree(name string) (bool, error) {
	f := flock.New(name, flock.SetFlag(os.O_RDWR))
	ok, err := f.TryLock()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("lock the lab: %w", err)
	case ok:
		return true, f.Unlock()
	}
	_ = f.Close()
	return false, nil
}
