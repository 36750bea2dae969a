// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// JWKSConfigMap and JWKSKey say where the public keys are published.
const (
	JWKSConfigMap = "srenix-jwks"
	JWKSKey       = "jwks.json"
)

// JWKSSource are the published public keys, for programs that verify and do not
// sign. It reads the ConfigMap again after a minute, and earlier for an unknown kid.
type JWKSSource struct{ cachedKeys }

var _ PublicKeys = &JWKSSource{}

// NewJWKSSource returns a source that reads through reader, which must not be a
// cache of its own. Readings end with ctx. Nothing is read before the first Key. A
// published set without keys tells nothing: it is an error, because every key is
// unknown to it, and one of a running srenix has at least the key that signs.
func NewJWKSSource(ctx context.Context, reader client.Reader, namespace string, clock clock.PassiveClock) *JWKSSource {
	return &JWKSSource{cachedKeys{ctx: ctx, clock: clock, load: func(ctx context.Context) (*keySet, error) {
		published := &corev1.ConfigMap{}
		if err := reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: JWKSConfigMap}, published); err != nil {
			return nil, fmt.Errorf("reading the public keys: %w", err)
		}
		public, err := ParseJWKS([]byte(published.Data[JWKSKey]))
		if err != nil {
			return nil, fmt.Errorf("reading the public keys in ConfigMap %s/%s: %w", namespace, JWKSConfigMap, err)
		}
		if len(public) == 0 {
			return nil, fmt.Errorf("ConfigMap %s/%s has no public key: the server publishes them again within ten minutes, and when one of its replicas starts", namespace, JWKSConfigMap)
		}
		return &keySet{public: public}, nil
	}}}
}
