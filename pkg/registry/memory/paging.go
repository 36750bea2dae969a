// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"
)

// continuation is a continue token of k8s.io/apiserver (pkg/storage, continue.go), with
// what the list is of beside the version, which only the server knows that made it. So
// another replica can go on with a list, if it had the same content.
type continuation struct {
	APIVersion      string `json:"v"`
	ResourceVersion int64  `json:"rv"`
	Start           string `json:"start"`
	Content         string `json:"content,omitempty"`
}

func decodeContinuation(token string) (c continuation, ok bool) {
	text, err := base64.RawURLEncoding.DecodeString(token)
	return c, err == nil && json.Unmarshal(text, &c) == nil
}

func (c continuation) encode() (string, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("encoding a continue token: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(text), nil
}

// share makes the continue token of a list, if it has one, such that another replica can
// go on.
func (s *Store) share(list runtime.Object) error {
	accessor, err := meta.ListAccessor(list)
	if err != nil {
		return fmt.Errorf("reading the metadata of a list of %s: %w", s.resource, err)
	}
	next, ok := decodeContinuation(accessor.GetContinue())
	if !ok || next.ResourceVersion <= 0 {
		return nil
	}
	s.mu.RLock()
	is, known := s.contents.at(uint64(next.ResourceVersion))
	s.mu.RUnlock()
	if !known {
		return nil
	}
	next.Content = hex.EncodeToString(is[:])
	token, err := next.encode()
	accessor.SetContinue(token)
	return err
}

// adopt returns a continue token of another replica as one of this store, if it has had
// the same content, and an error that the token is expired if not. A token of its own it
// returns as it is, and one that it cannot read, for others to refuse.
func (s *Store) adopt(prefix, token string) (string, error) {
	next, ok := decodeContinuation(token)
	if _, version, err := storage.DecodeContinue(token, prefix); !ok || err != nil || version <= 0 {
		return token, nil //nolint:nilerr // the cacher says what is wrong with it
	}
	wanted := content{}
	n, err := hex.Decode(wanted[:], []byte(next.Content[:min(len(next.Content), hex.EncodedLen(len(wanted)))]))
	compares := err == nil && n == len(wanted)
	version := uint64(next.ResourceVersion)
	s.mu.RLock()
	defer s.mu.RUnlock()
	is, known := s.contents.at(version)
	if version >= s.initial && version <= s.version && (!known || !compares || is == wanted) {
		return token, nil
	}
	version, found := s.contents.find(wanted)
	if !compares || !found {
		return "", expiredList(prefix, token)
	}
	next.ResourceVersion, next.Content = int64(version), ""
	return next.encode()
}
