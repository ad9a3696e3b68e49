//go:build !linux

package vagrant

import "context"

// EndOrphans does nothing: only Linux shows the environment by which the
// Vagrants of a killed labctl are known.
func (c *Client) EndOrphans(context.Context) (ended int, err error) { return 0, nil }
