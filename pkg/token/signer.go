// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"k8s.io/utils/clock"
)

// Signer mints tokens for one cluster.
type Signer struct {
	keys    *SigningKeys
	cluster string
	clock   clock.PassiveClock
}

// NewSigner returns a signer; cluster is the UID of the namespace kube-system.
func NewSigner(keys *SigningKeys, cluster string, clock clock.PassiveClock) *Signer {
	return &Signer{keys: keys, cluster: cluster, clock: clock}
}

// ForDryRun returns a signer of tokens that prove in dry runs what those of s prove, and
// nothing anywhere else.
func (s *Signer) ForDryRun() *Signer { return NewSigner(s.keys, dryRunAudience(s.cluster), s.clock) }

// Mint signs a token for subject, the user name as the API server authenticated
// it, and returns it with its claims. The lifetime is from MinimumLifetime to
// MaximumLifetime. The token is a credential: it goes to its subject and nowhere else.
func (s *Signer) Mint(subject string, binding Binding, lifetime time.Duration) (string, *Claims, error) {
	if lifetime < MinimumLifetime || lifetime > MaximumLifetime {
		return "", nil, fmt.Errorf("%w: a lifetime of %s was asked for, and it must be between %s and %s", ErrClaims, lifetime, MinimumLifetime, MaximumLifetime)
	}
	kid, private, err := s.keys.signing()
	if err != nil {
		return "", nil, fmt.Errorf("signing a token: %w", err)
	}
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return "", nil, fmt.Errorf("drawing the token's ID: %w", err)
	}
	now := s.clock.Now().UTC().Truncate(time.Second)
	claims := &Claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: Issuer, Subject: subject, Audience: jwt.ClaimStrings{s.cluster}, ID: hex.EncodeToString(id[:]),
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(lifetime.Truncate(time.Second))),
		},
		Binding: binding,
	}
	if err := claims.check(s.cluster); err != nil {
		return "", nil, fmt.Errorf("minting a token: %w", err)
	}
	unsigned := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims)
	unsigned.Header["kid"] = kid
	signed, err := unsigned.SignedString(private)
	if err != nil {
		return "", nil, fmt.Errorf("signing a token: %w", err)
	}
	if len(signed) > MaximumSize {
		return "", nil, fmt.Errorf("%w: the token would have %d bytes, and %d is the most: approve as a user who is in fewer groups", ErrClaims, len(signed), MaximumSize)
	}
	return signed, claims, nil
}
