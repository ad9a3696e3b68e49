//go:build !linux

package box

import (
	"context"
	"fmt"
	"runtime"
)

// Build makes the box; on this system it only says that it cannot. A box from
// the cache is returned as on Linux.
func Build(_ context.Context, o Options) (Box, error) {
	if b, ok, err := Find(o); err == nil && ok && !o.Force {
		return b, nil
	}
	return Box{}, fmt.Errorf("box: it is made from Debian packages, which needs Linux, not %s; use VirtualBox and a public box here", runtime.GOOS)
}

// Bake makes a box of a node; on this system it only says that it cannot.
func Bake(context.Context, BakeOptions) (Box, error) {
	return Box{}, fmt.Errorf("box: a node is baked on Linux, not on %s", runtime.GOOS)
}

// Install installs packages in a plain box; on this system it only says that
// it cannot.
func Install(context.Context, InstallOptions) (Box, error) {
	return Box{}, fmt.Errorf("box: packages are installed in it on Linux, not on %s", runtime.GOOS)
}
