// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposals

import (
	"slices"
	"sync"
)

// atomicSet is what came about in any history.
type atomicSet struct {
	mu      sync.Mutex
	members map[string]bool
}

func (s *atomicSet) add(member string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.members == nil {
		s.members = map[string]bool{}
	}
	s.members[member] = true
}

func (s *atomicSet) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for member := range s.members {
		all = append(all, member)
	}
	slices.Sort(all)
	return all
}

func (s *atomicSet) len() int { return len(s.all()) }
