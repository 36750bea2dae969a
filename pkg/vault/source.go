// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"github.com/srenix/srenix/pkg/live"
)

var (
	_ cache.ListerWatcher            = &Poller{}
	_ cache.ListerWatcherWithContext = &Poller{}
)

// Source reads paths from the poller, and everything else from another source.
func (p *Poller) Source(others live.Source) live.Source { return source{p, others} }

type source struct {
	paths  *Poller
	others live.Source
}

func (s source) ListerWatcher(resource schema.GroupVersionResource, example live.Object) (cache.ListerWatcher, error) {
	if resource == Resource {
		return s.paths, nil
	}
	return s.others.ListerWatcher(resource, example)
}
