package remote

import (
	"context"
	"errors"
	"time"
)

// DialWait connects to a node that may still be booting: it tries again until
// within has passed, and calls waiting (which may be nil) with the reason
// whenever it changes. It stops at once for what waiting cannot mend, a
// changed host key or an unusable key file, and after 30 s of refused keys.
// Its own deadline is an *UnreachableError that wraps the last attempt's.
func DialWait(ctx context.Context, ep Endpoint, o DialOptions, within time.Duration, waiting func(reason string)) (*Conn, error) {
	return dialPoll{interval: time.Second, authGrace: 30 * time.Second}.wait(ctx, ep, o, within, waiting)
}

// dialPoll holds DialWait's rhythm.
type dialPoll struct {
	interval time.Duration
	// authGrace is how long refused keys are tried again. A booting node
	// refuses everybody for a while: pam_nologin stands until systemd lets
	// users in, and Vagrant exchanges the key that it finds in a box.
	authGrace time.Duration
}

func (p dialPoll) wait(ctx context.Context, ep Endpoint, o DialOptions, within time.Duration, waiting func(string)) (*Conn, error) {
	o = o.withDefaults()
	deadline := time.Now().Add(within)
	var refusedSince time.Time
	var said string
	for {
		attempt := o
		attempt.Timeout = min(o.Timeout, max(time.Until(deadline), time.Millisecond))
		c, err := Dial(ctx, ep, attempt)
		if err == nil {
			return c, nil
		}
		if ctx.Err() != nil || !passing(err) {
			return nil, err
		}
		var refused *AuthError
		if !errors.As(err, &refused) {
			refusedSince = time.Time{}
		} else if refusedSince.IsZero() {
			refusedSince = time.Now()
		} else if time.Since(refusedSince) >= p.authGrace {
			return nil, err
		}
		if refused != nil && ep.OpenSSH != nil {
			return nil, err // it does not boot
		}
		if time.Until(deadline) <= p.interval {
			return nil, &UnreachableError{Node: ep.Name, Addr: address(ep), Within: within, Err: err}
		}
		if why := reason(err); why != said && waiting != nil {
			waiting(why)
			said = why
		}
		if err := pause(ctx, p.interval); err != nil {
			return nil, &dialError{ep.Name, address(ep), interrupted(ctx)}
		}
	}
}

// passing says that a booting node may give such an error, so that another
// attempt makes sense. A changed host key or an unreadable file stays.
func passing(err error) bool {
	var dial *dialError
	var silent *HandshakeTimeoutError
	var refused *AuthError
	return errors.As(err, &dial) || errors.As(err, &silent) || errors.As(err, &refused)
}

// pause waits for d, or for the end of ctx, whose error it returns then.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
