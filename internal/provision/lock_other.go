//go:build !unix

package provision

import (
	"context"
	"errors"
)

// lockFile fails: no bundle can be built on this system anyway.
func lockFile(context.Context, string, func()) (unlock func(), err error) {
	return nil, errors.ErrUnsupported
}
