// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// Each list from the cache leaves a goroutine of the cacher that wakes up after
	// its blockTimeout of three seconds, finds nobody waiting, and ends.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("k8s.io/apiserver/pkg/storage/cacher.(*watchCache).waitUntilFreshLocked.func2"))
}
