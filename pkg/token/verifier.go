// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"k8s.io/utils/clock"
)

// maximumKidLength bounds the header's kid, which is a SHA-256 in base64url (43 characters).
const maximumKidLength = 64

// PublicKeys finds the public key with an ID.
type PublicKeys interface {
	Key(kid string) (ed25519.PublicKey, bool)
}

// Verifier verifies tokens for one cluster.
type Verifier struct {
	keys    PublicKeys
	cluster string
	clock   clock.PassiveClock
	// dryRun is true where tokens for dry runs are as good as others.
	dryRun bool
}

// NewVerifier returns a verifier; cluster is the UID of the namespace kube-system.
func NewVerifier(keys PublicKeys, cluster string, clock clock.PassiveClock) *Verifier {
	return &Verifier{keys: keys, cluster: cluster, clock: clock}
}

// ForDryRun returns a verifier that takes tokens for dry runs too. It is for what stores
// and does nothing.
func (v *Verifier) ForDryRun() *Verifier {
	return &Verifier{keys: v.keys, cluster: v.cluster, clock: v.clock, dryRun: true}
}

// Verify returns the claims of a token that is valid now. The errors of this
// package tell why one is not.
func (v *Verifier) Verify(token string) (*Claims, error) { return v.VerifyAt(token, v.clock.Now()) }

// VerifyAt is Verify as of another time: that of a stored decision whose token
// has expired since.
func (v *Verifier) VerifyAt(token string, at time.Time) (*Claims, error) {
	if err := checkAlphabet(token); err != nil {
		return nil, err
	}
	claims := &Claims{}
	// The library looks at no claim: which are required, and how much skew is
	// allowed, is decided in one place, below.
	parser := jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation())
	var refused error
	_, err := parser.ParseWithClaims(token, claims, func(parsed *jwt.Token) (key any, err error) {
		key, err = v.key(parsed)
		refused = err
		return key, err
	})
	if refused != nil {
		return nil, refused
	}
	if err != nil {
		return nil, classify(err)
	}
	audience := v.cluster
	if rehearsed := dryRunAudience(v.cluster); v.dryRun && slices.Equal(claims.Audience, jwt.ClaimStrings{rehearsed}) {
		audience = rehearsed
	}
	if err := claims.check(audience); err != nil {
		return nil, err
	}
	if claims.NotBefore.After(at.Add(Skew)) || claims.IssuedAt.After(at.Add(Skew)) {
		return nil, fmt.Errorf("%w: it is from %s", ErrNotYetValid, claims.NotBefore.UTC().Format(time.RFC3339))
	}
	if !at.Before(claims.ExpiresAt.Add(Skew)) {
		return nil, fmt.Errorf("%w: at %s", ErrExpired, claims.ExpiresAt.UTC().Format(time.RFC3339))
	}
	return claims, nil
}

// checkAlphabet refuses what base64 decoders skip (line breaks), so that each
// token has one spelling.
func checkAlphabet(token string) error {
	if token == "" {
		return fmt.Errorf("%w: it is empty", ErrMalformed)
	}
	if len(token) > MaximumSize {
		return fmt.Errorf("%w: it has more than %d bytes", ErrMalformed, MaximumSize)
	}
	for _, c := range []byte(token) {
		switch {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return fmt.Errorf("%w: it contains a character outside base64url", ErrMalformed)
		}
	}
	return nil
}

// key is called once the header has been read. Whatever the header says, only
// the fields that are minted are accepted, and only an Ed25519 key comes back.
func (v *Verifier) key(parsed *jwt.Token) (any, error) {
	if parsed.Method != jwt.SigningMethodEdDSA {
		return nil, ErrAlgorithm
	}
	for name := range parsed.Header {
		switch name {
		case "alg", "kid", "typ":
		default:
			return nil, fmt.Errorf("%w: the header has a field besides alg, kid and typ", ErrMalformed)
		}
	}
	if parsed.Header["typ"] != "JWT" {
		return nil, fmt.Errorf("%w: typ is not JWT", ErrMalformed)
	}
	kid, ok := parsed.Header["kid"].(string)
	if !ok || kid == "" || len(kid) > maximumKidLength {
		return nil, fmt.Errorf("%w: the header has no usable kid", ErrMalformed)
	}
	key, ok := v.keys.Key(kid)
	if !ok {
		if source, has := v.keys.(interface{ Err() error }); has && source.Err() != nil {
			return nil, fmt.Errorf("%w (the keys could not be refreshed: %w)", ErrUnknownKey, source.Err())
		}
		return nil, ErrUnknownKey
	}
	return key, nil
}

// classify turns the library's errors into this package's. Their text is
// dropped, because it may quote the token.
func classify(err error) error {
	switch {
	case errors.Is(err, jwt.ErrTokenMalformed):
		return ErrMalformed
	case errors.Is(err, jwt.ErrEd25519Verification):
		return ErrSignature
	default:
		// What is left is an alg that is absent, unknown or not EdDSA.
		return ErrAlgorithm
	}
}
