// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import "sync/atomic"

// changing counts changes that are stored but whose consequences may not all be
// queued yet.
type changing struct{ begun, ended atomic.Int64 }

func (c *changing) begin() { c.begun.Add(1) }
func (c *changing) end()   { c.ended.Add(1) }

// none tells whether no change was under way while rest held. Those that begin
// meanwhile count, even if they have ended too: what they queued, rest may have
// come too early for.
func (c *changing) none(rest func() bool) bool {
	begun := c.begun.Load()
	return c.ended.Load() == begun && rest() && c.begun.Load() == begun
}
