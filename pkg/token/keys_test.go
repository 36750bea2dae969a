// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestKeysInMemoryAreReadOnceAMinute(t *testing.T) {
	store, cluster, clock := newStore(t)
	kid, _, err := current(t, store).signing()
	if err != nil {
		t.Fatal(err)
	}
	reads := 0
	source := NewJWKSSource(t.Context(), failing(cluster, func(string, client.Object) error { reads++; return nil }), namespace, clock)
	for _, test := range []struct {
		after time.Duration
		reads int
	}{{0, 1}, {0, 1}, {5 * time.Second, 1}, {59 * time.Second, 1}, {60 * time.Second, 2}, {60 * time.Second, 2}, {120 * time.Second, 3}} {
		clock.SetTime(start.Add(test.after))
		if _, ok := source.Key(kid); !ok || reads != test.reads {
			t.Errorf("after %s: found %t with %d reads, want %d", test.after, ok, reads, test.reads)
		}
	}
}

func TestReadingThatFailsIsTriedRarely(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(start)
	tries := 0
	keys := &cachedKeys{ctx: t.Context(), clock: clock, load: func(context.Context) (*keySet, error) {
		tries++
		return nil, errors.New("away")
	}}
	for _, test := range []struct {
		after time.Duration
		tries int
	}{{0, 1}, {refreshUnknown - time.Second, 1}, {refreshUnknown, 2}, {2*refreshUnknown - time.Second, 2}, {2 * refreshUnknown, 3}} {
		clock.SetTime(start.Add(test.after))
		for range 10 {
			keys.Key("any")
		}
		if tries != test.tries {
			t.Errorf("after %s: %d tries, want %d", test.after, tries, test.tries)
		}
	}
}

// A token may be signed with a key that is younger than the keys in memory.
func TestVerifierLearnsOfAKeyBeforeTheMinuteIsOver(t *testing.T) {
	store, cluster, clock := newStore(t)
	source := NewJWKSSource(t.Context(), cluster, namespace, clock)
	source.Key("any")
	if err := store.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	fresh, private, err := current(t, store).signing()
	if err != nil {
		t.Fatal(err)
	}
	clock.SetTime(start.Add(refreshUnknown))
	if key, ok := source.Key(fresh); !ok || !key.Equal(private.Public()) {
		t.Errorf("the new key is %v, found: %t", key, ok)
	}
}

func TestReadingEndsInFiveSeconds(t *testing.T) {
	var reading context.Context
	keys := &cachedKeys{ctx: t.Context(), clock: clocktesting.NewFakePassiveClock(start), load: func(ctx context.Context) (*keySet, error) {
		reading = ctx
		return &keySet{}, nil
	}}
	keys.Key("any")
	if deadline, ok := reading.Deadline(); !ok || time.Until(deadline) > 5*time.Second {
		t.Errorf("a reading may take until %s", deadline)
	}
	if reading.Err() == nil {
		t.Error("the reading's context is left open")
	}
}

func TestSignerAndJWKSTakeUpANewKeyAfterAMinute(t *testing.T) {
	store, _, clock := newStore(t)
	keys := current(t, store)
	old, _, err := keys.signing()
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	for after, public := range map[time.Duration]int{59 * time.Second: 1, 60 * time.Second: 2} {
		// A source of its own for each, because the map has no order.
		clock.SetTime(start)
		own := &SigningKeys{cachedKeys{ctx: t.Context(), clock: clock, load: keys.load, set: keys.set, readAt: start}}
		clock.SetTime(start.Add(after))
		published, err := own.JWKS()
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := ParseJWKS(published)
		if err != nil || len(parsed) != public {
			t.Errorf("after %s there are %d public keys, want %d: %v", after, len(parsed), public, err)
		}
		own.set, own.readAt, own.triedAt = keys.set, start, time.Time{}
		if kid, _, err := own.signing(); err != nil || (kid == old) != (public == 1) {
			t.Errorf("after %s %s signs: %v", after, kid, err)
		}
	}
}

func TestFixedKeysKeepThePreviousOnes(t *testing.T) {
	previous := seeded('b').Public().(ed25519.PublicKey)
	keys, err := NewSigningKeys(seeded('a'), previous)
	if err != nil {
		t.Fatal(err)
	}
	if key, ok := keys.Key(KeyID(previous)); !ok || !key.Equal(previous) {
		t.Errorf("the previous key is %v, found: %t", key, ok)
	}
	if _, err := NewSigningKeys(seeded('a')[:32]); !errors.Is(err, ErrNoSigningKey) {
		t.Errorf("a half key: error is %v, want ErrNoSigningKey", err)
	}
}

func TestNothingIsSignedWithoutAPrivateKey(t *testing.T) {
	away := errors.New("away")
	for name, failure := range map[string]error{"only public keys": nil, "keys that cannot be read": away} {
		t.Run(name, func(t *testing.T) {
			clock := clocktesting.NewFakePassiveClock(start)
			keys := &SigningKeys{cachedKeys{ctx: t.Context(), clock: clock, load: func(context.Context) (*keySet, error) { return &keySet{}, failure }}}
			kid, private, err := keys.signing()
			if !errors.Is(err, ErrNoSigningKey) || (failure != nil) != errors.Is(err, away) || kid != "" || private != nil || strings.Contains(err.Error(), "%!") {
				t.Errorf("%q signs: %v", kid, err)
			}
			if signed, _, err := NewSigner(keys, clusterID, clock).Mint("alice", binding(), time.Hour); !errors.Is(err, ErrNoSigningKey) || signed != "" {
				t.Errorf("minted %q: %v", signed, err)
			}
		})
	}
}

func TestKeySetsAreBounded(t *testing.T) {
	keys := map[string]ed25519.PublicKey{}
	for i := range 65 {
		public := ed25519.NewKeyFromSeed(fmt.Appendf(nil, "%032d", i)).Public().(ed25519.PublicKey)
		keys[KeyID(public)] = public
		data, err := MarshalJWKS(keys)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseJWKS(data); (err == nil) != (i < 64) {
			t.Errorf("%d keys: %v", i+1, err)
		}
	}
}

// What a kid is worth depends on nothing else being taken for a key.
func TestKeysOfAnotherKindAreRefused(t *testing.T) {
	public := seeded('a').Public().(ed25519.PublicKey)
	for name, change := range map[string]func(*JWK){
		"for encryption":                      func(k *JWK) { k.Use = "enc" },
		"short, with a thumbprint of its own": func(k *JWK) { *k = publicJWK(public[:31]) },
	} {
		key := publicJWK(public)
		change(&key)
		if _, err := key.publicKey(); err == nil {
			t.Errorf("a key %s is accepted", name)
		}
	}
}

// A token of exactly the size that an Approval takes is minted and verifies; one
// byte more is refused by both.
func TestTokensMayBeAsLargeAsAnApprovalTakes(t *testing.T) {
	f := newFixture(t)
	b := binding()
	largest := 0
	for padding := 5400; padding < 6200; padding++ {
		b.Groups = strings.Split(strings.Repeat("g", 512), "\n")
		for left := padding - 512; left > 0; left -= 512 {
			b.Groups = append(b.Groups, strings.Repeat("g", min(left, 512)))
		}
		signed, _, err := f.signer.Mint("alice", b, time.Hour)
		if err != nil {
			if !errors.Is(err, ErrClaims) || signed != "" || !strings.Contains(err.Error(), "would have 8193 bytes") {
				t.Errorf("the first that is too large: %v", err)
			}
			break
		}
		largest = len(signed)
		if _, err := f.verifier.Verify(signed); err != nil {
			t.Fatalf("%d bytes: %v", len(signed), err)
		}
	}
	if largest != MaximumSize {
		t.Errorf("the largest has %d bytes, want %d", largest, MaximumSize)
	}
}

// Tokens have whole seconds, odd ones too.
func TestTimesOfATokenAreWholeSeconds(t *testing.T) {
	f := newFixture(t)
	f.clock.SetTime(start.Add(1900 * time.Millisecond))
	_, claims, err := f.signer.Mint("alice", binding(), 61*time.Second+900*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if at := start.Add(time.Second); !claims.IssuedAt.Equal(at) || !claims.NotBefore.Equal(at) || !claims.ExpiresAt.Equal(at.Add(61*time.Second)) {
		t.Errorf("times are %+v", claims.RegisteredClaims)
	}
}

func TestReadAtIsTheTimeOfTheLastReading(t *testing.T) {
	_, cluster, clock := newStore(t)
	source := NewJWKSSource(t.Context(), cluster, namespace, clock)
	if at := source.ReadAt(); !at.IsZero() {
		t.Errorf("read at %s, before anybody asked", at)
	}
	clock.SetTime(start.Add(time.Hour))
	source.Key("any")
	if at := source.ReadAt(); !at.Equal(start.Add(time.Hour)) {
		t.Errorf("read at %s, want %s", at, start.Add(time.Hour))
	}
}
