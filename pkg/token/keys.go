// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

const (
	// refreshAfter is how old the keys in memory may be before they are read
	// again: how soon a withdrawn key stops counting.
	refreshAfter = time.Minute
	// refreshUnknown is the least time between two readings because of an
	// unknown kid, so that forged tokens cannot make many.
	refreshUnknown = 5 * time.Second
	// staleAfter is when keys that cannot be refreshed stop counting.
	staleAfter = 10 * time.Minute
	// refreshTimeout bounds one reading.
	refreshTimeout = 5 * time.Second
)

// keySet is what was read at one time. A set read from the JWKS has no private key.
type keySet struct {
	kid     string
	private ed25519.PrivateKey
	public  map[string]ed25519.PublicKey
}

// cachedKeys keeps a key set fresh. It refreshes when it is asked, and has no
// goroutine of its own.
type cachedKeys struct {
	// ctx ends readings when the program stops: Key has no context of its own.
	ctx   context.Context
	load  func(context.Context) (*keySet, error)
	clock clock.PassiveClock

	mu      sync.Mutex
	set     *keySet
	readAt  time.Time
	triedAt time.Time
	err     error
}

// Key implements PublicKeys.
func (c *cachedKeys) Key(kid string) (ed25519.PublicKey, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	set := c.fresh(refreshAfter)
	if key, ok := set.public[kid]; ok {
		return key, true
	}
	key, ok := c.fresh(refreshUnknown).public[kid]
	return key, ok
}

// Err tells why the last reading failed, and is nil if it did not.
func (c *cachedKeys) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// ReadAt tells when the keys in memory were read; zero if they never were.
func (c *cachedKeys) ReadAt() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.readAt
}

// fresh returns keys no older than age if they can be read, else those in
// memory while they count. It never returns nil. The lock is held.
func (c *cachedKeys) fresh(age time.Duration) *keySet {
	now := c.clock.Now()
	if c.set == nil || now.Sub(c.readAt) >= age {
		// A failing reading is tried no more often than an unknown kid would.
		if c.triedAt.IsZero() || now.Sub(c.triedAt) >= refreshUnknown {
			c.refresh(c.ctx, now)
		}
	}
	if c.set == nil || now.Sub(c.readAt) >= staleAfter {
		return &keySet{}
	}
	return c.set
}

func (c *cachedKeys) refresh(ctx context.Context, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	c.triedAt = now
	set, err := c.load(ctx)
	c.err = err
	if err == nil {
		c.set, c.readAt = set, now
	}
}

// SigningKeys are the private key that signs now, and the public keys whose
// tokens may still be valid. It is safe for concurrent use.
type SigningKeys struct{ cachedKeys }

var _ PublicKeys = &SigningKeys{}

// NewSigningKeys returns keys that never change: private signs, and previous
// still verify.
func NewSigningKeys(private ed25519.PrivateKey, previous ...ed25519.PublicKey) (*SigningKeys, error) {
	if len(private) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("%w: a private key has %d bytes", ErrNoSigningKey, ed25519.PrivateKeySize)
	}
	own := private.Public().(ed25519.PublicKey)
	set := &keySet{kid: KeyID(own), private: private, public: map[string]ed25519.PublicKey{KeyID(own): own}}
	for _, public := range previous {
		set.public[KeyID(public)] = public
	}
	return &SigningKeys{cachedKeys{
		ctx: context.Background(), clock: clock.RealClock{}, set: set,
		load: func(context.Context) (*keySet, error) { return set, nil },
	}}, nil
}

// JWKS returns the public keys, encoded.
func (k *SigningKeys) JWKS() ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return MarshalJWKS(k.fresh(refreshAfter).public)
}

func (k *SigningKeys) signing() (string, ed25519.PrivateKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	set := k.fresh(refreshAfter)
	if set.private == nil {
		if k.err != nil {
			return "", nil, fmt.Errorf("%w: %w", ErrNoSigningKey, k.err)
		}
		return "", nil, ErrNoSigningKey
	}
	return set.kid, set.private, nil
}
