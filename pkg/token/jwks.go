// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	kjson "sigs.k8s.io/json"
)

// maximumKeys bounds a key set. One key rotates in a day, so a few are normal.
const maximumKeys = 64

// JWK is an Ed25519 public key in the form of RFC 8037, section 2 (kty OKP).
type JWK struct {
	KeyType   string `json:"kty"`
	Curve     string `json:"crv"`
	X         string `json:"x"`
	KeyID     string `json:"kid"`
	Algorithm string `json:"alg"`
	Use       string `json:"use"`
}

// JWKS is a key set (RFC 7517, section 5).
type JWKS struct {
	Keys []JWK `json:"keys"`
}

// KeyID is the RFC 7638 thumbprint of the key, in base64url: 43 characters.
func KeyID(public ed25519.PublicKey) string {
	// RFC 8037, section 2: the required members in lexicographic order.
	sum := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + base64.RawURLEncoding.EncodeToString(public) + `"}`))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// MarshalJWKS writes the keys in a stable order.
func MarshalJWKS(keys map[string]ed25519.PublicKey) ([]byte, error) {
	set := JWKS{Keys: []JWK{}}
	for _, kid := range slices.Sorted(maps.Keys(keys)) {
		set.Keys = append(set.Keys, publicJWK(keys[kid]))
	}
	data, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("encoding a key set: %w", err)
	}
	return data, nil
}

// ParseJWKS reads a key set strictly: no unknown field, no other kind of key, no
// key whose kid is not its thumbprint, none twice.
func ParseJWKS(data []byte) (map[string]ed25519.PublicKey, error) {
	var set JWKS
	if err := decodeStrict(data, &set); err != nil {
		return nil, fmt.Errorf("decoding a key set: %w", err)
	}
	if len(set.Keys) > maximumKeys {
		return nil, fmt.Errorf("the key set has %d keys, and %d is the most", len(set.Keys), maximumKeys)
	}
	keys := make(map[string]ed25519.PublicKey, len(set.Keys))
	for i, jwk := range set.Keys {
		public, err := jwk.publicKey()
		if err != nil {
			return nil, fmt.Errorf("key %d of the set: %w", i, err)
		}
		if _, twice := keys[jwk.KeyID]; twice {
			return nil, fmt.Errorf("key %d of the set: kid %q is there twice", i, jwk.KeyID)
		}
		keys[jwk.KeyID] = public
	}
	return keys, nil
}

func publicJWK(public ed25519.PublicKey) JWK {
	return JWK{
		KeyType: "OKP", Curve: "Ed25519", X: base64.RawURLEncoding.EncodeToString(public),
		KeyID: KeyID(public), Algorithm: "EdDSA", Use: "sig",
	}
}

func (k JWK) publicKey() (ed25519.PublicKey, error) {
	if k.KeyType != "OKP" || k.Curve != "Ed25519" || k.Algorithm != "EdDSA" || k.Use != "sig" {
		return nil, fmt.Errorf("want kty OKP, crv Ed25519, alg EdDSA, use sig")
	}
	x, err := base64.RawURLEncoding.Strict().DecodeString(k.X)
	if err != nil {
		return nil, fmt.Errorf("decoding x: %w", err)
	}
	if len(x) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("x has %d bytes, want %d", len(x), ed25519.PublicKeySize)
	}
	if k.KeyID != KeyID(x) {
		return nil, fmt.Errorf("kid is not the key's thumbprint (RFC 7638)")
	}
	return x, nil
}

// decodeStrict refuses unknown and repeated fields, and anything after the end.
func decodeStrict(data []byte, into any) error {
	strict, err := kjson.UnmarshalStrict(data, into)
	return errors.Join(append(strict, err)...)
}
