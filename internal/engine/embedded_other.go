//go:build !linux

package engine

import (
	"context"
	"errors"
	"net"
)

var errLinuxOnly = errors.New("the embedded engine needs Linux")

func mayUnshare() error { return errLinuxOnly }

// Start fails: the embedded engine needs Linux.
func (e Embedded) Start(context.Context) (bool, error) { return false, errLinuxOnly }

// Stop does nothing: there is no embedded engine here.
func (e Embedded) Stop(context.Context) error { return nil }

// Status says that no engine runs.
func (e Embedded) Status() (Status, error) { return Status{Dir: e.Dir}, nil }

// Inside is false: there is no embedded engine here.
func (e Embedded) Inside() bool { return false }

// Enter fails: the embedded engine needs Linux.
func (e Embedded) Enter(context.Context, []string) error { return errLinuxOnly }

// Serve fails: the embedded engine needs Linux.
func (e Embedded) Serve(context.Context, func(context.Context, net.Listener)) error {
	return errLinuxOnly
}
