// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"time"

	"k8s.io/utils/clock"
)

// progressDelay is how long a command may be silent.
const progressDelay = time.Second

// Progress writes a line of what text returns to w after one second, and then
// each time after twice as long as before, until the returned function is
// called, which waits until nothing more will be written. Text is called from
// another goroutine.
func Progress(w io.Writer, clock clock.Clock, text func() string) (stop func()) {
	done, stopped := make(chan struct{}), make(chan struct{})
	timer := clock.NewTimer(progressDelay)
	go func() {
		defer close(stopped)
		defer timer.Stop()
		for delay := 2 * progressDelay; ; delay *= 2 {
			select {
			case <-done:
				return
			case <-timer.C():
				fmt.Fprintln(w, text())
				timer.Reset(delay)
			}
		}
	}()
	return func() {
		close(done)
		<-stopped
	}
}
