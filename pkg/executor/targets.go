// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"sync"

	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// targets lets one approval at a time be reconciled for each target, within this
// process. For how long an action keeps others from its target, hindrance tells; of
// one digest the order of the audit chain decides. The zero value is ready.
type targets struct {
	mu   sync.Mutex
	busy map[targetKey]struct{}
}

// targetKey leaves out the UID: two incarnations of one name are one target.
type targetKey struct{ apiVersion, kind, namespace, name string }

func keyOfTarget(target srenix.ObjectReference) targetKey {
	return targetKey{target.APIVersion, target.Kind, target.Namespace, target.Name}
}

// acquire takes a target, if nobody has it. It must be released then.
func (t *targets) acquire(target srenix.ObjectReference) (release func(), free bool) {
	key := keyOfTarget(target)
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, taken := t.busy[key]; taken {
		return nil, false
	}
	if t.busy == nil {
		t.busy = map[targetKey]struct{}{}
	}
	t.busy[key] = struct{}{}
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.busy, key)
	}, true
}
