// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// SigningKeysSecret is the Secret with the signing key; only the API server reads it.
const SigningKeysSecret = "srenix-signing-keys"

// signingKeysKey is the one entry of the Secret.
const signingKeysKey = "keys.json"

// storedKeys is the Secret's content.
type storedKeys struct {
	// Seed of the current key (RFC 8032, 32 bytes), in base64url.
	Seed string `json:"seed"`
	// Since is when the current key began to sign; without it, it is as old as the
	// Secret.
	Since *metav1.Time `json:"since,omitempty"`
	// Retired public keys still verify. Their private halves are forgotten.
	Retired []retiredKey `json:"retired,omitempty"`
}

type retiredKey struct {
	Key JWK `json:"key"`
	// Until is when the last token signed with it has expired, skew included.
	Until metav1.Time `json:"until"`
}

// KeyStore keeps the signing keys in the cluster.
type KeyStore struct {
	client    client.Client
	namespace string
	clock     clock.PassiveClock
}

// NewKeyStore returns the store in a namespace; client must not read from a cache.
func NewKeyStore(client client.Client, namespace string, clock clock.PassiveClock) *KeyStore {
	return &KeyStore{client: client, namespace: namespace, clock: clock}
}

// Ensure makes the Secret and the ConfigMap where they are absent, and mends the
// ConfigMap where it does not hold what the Secret says. Replicas may race: the
// API server lets one create the Secret, and the others take that one.
func (s *KeyStore) Ensure(ctx context.Context) error {
	secret, err := s.read(ctx)
	if apierrors.IsNotFound(err) {
		secret, err = s.create(ctx)
	}
	if err != nil {
		return err
	}
	return s.publish(ctx, secret)
}

// Current returns the keys as a source that keeps itself fresh until ctx ends.
// It fails if they cannot be read now.
func (s *KeyStore) Current(ctx context.Context) (*SigningKeys, error) {
	keys := &SigningKeys{cachedKeys{ctx: ctx, clock: s.clock, load: func(ctx context.Context) (*keySet, error) {
		secret, err := s.read(ctx)
		if err != nil {
			return nil, fmt.Errorf("reading the signing keys: %w", err)
		}
		return s.decode(secret)
	}}}
	if _, _, err := keys.signing(); err != nil {
		return nil, err
	}
	return keys, nil
}

// rotateTimeout bounds a rotation: until it is stored, other replicas read the old key.
const rotateTimeout = time.Minute

// Rotate replaces the signing key. The old public key is kept until its last
// token has expired. The new public key is published before it signs anything;
// if another replica rotates at the same time, one of the two gets a conflict.
func (s *KeyStore) Rotate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, rotateTimeout)
	defer cancel()
	secret, err := s.read(ctx)
	if err != nil {
		return fmt.Errorf("reading the signing keys to rotate them: %w", err)
	}
	old, stored, err := s.parse(secret)
	if err != nil {
		return err
	}
	since := metav1.NewTime(s.clock.Now().UTC().Truncate(time.Second))
	next := storedKeys{Since: &since, Retired: []retiredKey{{
		Key: publicJWK(old.public[old.kid]),
		// Other replicas sign with it until they have read the keys again, or those that
		// they have count no more.
		Until: metav1.NewTime(since.Add(rotateTimeout + staleAfter + MaximumLifetime + Skew + time.Second)),
	}}}
	next.Retired = append(next.Retired, stored.Retired...)
	if next.Seed, err = newSeed(); err != nil {
		return err
	}
	data, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("encoding the signing keys: %w", err)
	}
	secret.Data = map[string][]byte{signingKeysKey: data}
	set, err := s.decode(secret)
	if err != nil {
		return err
	}
	if _, err := s.write(ctx, set.public); err != nil {
		return err
	}
	if err := s.client.Update(ctx, secret); err != nil {
		return fmt.Errorf("storing the rotated signing keys: %w", err)
	}
	// A replica that started in between may have published the old set again.
	return s.publish(ctx, secret)
}

// rotateAfter is how long a key signs.
const rotateAfter = 30 * 24 * time.Hour

// Maintain does what is due: it mends what is published, and rotates a key that
// has signed for thirty days. Every replica may call it at any time.
func (s *KeyStore) Maintain(ctx context.Context) error {
	if err := s.Ensure(ctx); err != nil {
		return err
	}
	secret, err := s.read(ctx)
	if err != nil {
		return fmt.Errorf("reading the age of the signing key: %w", err)
	}
	_, stored, err := s.parse(secret)
	if err != nil {
		return err
	}
	since := secret.CreationTimestamp
	if stored.Since != nil {
		since = *stored.Since
	}
	if s.clock.Since(since.Time) < rotateAfter {
		return nil
	}
	err = s.Rotate(ctx)
	if apierrors.IsConflict(err) {
		// Another replica did. What this one has published meanwhile lacks its key.
		return s.Ensure(ctx)
	}
	return err
}

func (s *KeyStore) read(ctx context.Context) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	return secret, s.client.Get(ctx, client.ObjectKey{Namespace: s.namespace, Name: SigningKeysSecret}, secret)
}

func (s *KeyStore) create(ctx context.Context) (*corev1.Secret, error) {
	seed, err := newSeed()
	if err != nil {
		return nil, err
	}
	since := metav1.NewTime(s.clock.Now().UTC().Truncate(time.Second))
	data, err := json.Marshal(storedKeys{Seed: seed, Since: &since})
	if err != nil {
		return nil, fmt.Errorf("encoding the signing keys: %w", err)
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: SigningKeysSecret},
		Data:       map[string][]byte{signingKeysKey: data},
	}
	err = s.client.Create(ctx, secret)
	if apierrors.IsAlreadyExists(err) {
		secret, err = s.read(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("creating the signing keys: %w", err)
	}
	return secret, nil
}

// publishAttempts bounds how often keys are published anew because the Secret
// changed meanwhile, which it does once in thirty days.
const publishAttempts = 5

// publish makes the JWKS what the Secret says. It looks at the Secret again after
// it has written: another replica may have rotated the keys since, and published
// one that what was written lacks.
func (s *KeyStore) publish(ctx context.Context, secret *corev1.Secret) error {
	for range publishAttempts {
		set, err := s.decode(secret)
		if err != nil {
			return err
		}
		written, err := s.write(ctx, set.public)
		if err != nil || !written {
			return err
		}
		latest, err := s.read(ctx)
		if err != nil {
			return fmt.Errorf("reading the signing keys again, after publishing them: %w", err)
		}
		if latest.ResourceVersion == secret.ResourceVersion {
			return nil
		}
		secret = latest
	}
	return fmt.Errorf("publishing the public keys: the signing keys changed %d times meanwhile", publishAttempts)
}

// write writes the JWKS where it is not what it should be, and tells whether it had to.
func (s *KeyStore) write(ctx context.Context, public map[string]ed25519.PublicKey) (bool, error) {
	data, err := MarshalJWKS(public)
	if err != nil {
		return false, err
	}
	want := map[string]string{JWKSKey: string(data)}
	published := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: JWKSConfigMap}, Data: want}
	if err = s.client.Create(ctx, published); err == nil {
		return true, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return false, fmt.Errorf("publishing the public keys: %w", err)
	}
	if err := s.client.Get(ctx, client.ObjectKeyFromObject(published), published); err != nil {
		return false, fmt.Errorf("reading the published keys: %w", err)
	}
	if published.Data[JWKSKey] == want[JWKSKey] {
		return false, nil
	}
	published.Data = want
	if err := s.client.Update(ctx, published); err != nil {
		return false, fmt.Errorf("publishing the public keys: %w", err)
	}
	return true, nil
}

func newSeed() (string, error) {
	var seed [ed25519.SeedSize]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return "", fmt.Errorf("drawing a signing key: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(seed[:]), nil
}

func (s *KeyStore) decode(secret *corev1.Secret) (*keySet, error) {
	set, _, err := s.parse(secret)
	return set, err
}

// parse leaves out keys whose last token has expired. It never quotes what it
// cannot read.
func (s *KeyStore) parse(secret *corev1.Secret) (*keySet, *storedKeys, error) {
	unusable := fmt.Errorf("%w: Secret %s/%s is not readable: restore it, or delete it to make new keys (tokens not used yet are lost)",
		ErrNoSigningKey, secret.Namespace, secret.Name)
	stored := &storedKeys{}
	if decodeStrict(secret.Data[signingKeysKey], stored) != nil {
		return nil, nil, unusable
	}
	seed, err := base64.RawURLEncoding.Strict().DecodeString(stored.Seed)
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, nil, unusable
	}
	private := ed25519.NewKeyFromSeed(seed)
	own := private.Public().(ed25519.PublicKey)
	set := &keySet{kid: KeyID(own), private: private, public: map[string]ed25519.PublicKey{KeyID(own): own}}
	now := s.clock.Now()
	var valid []retiredKey
	for _, retired := range stored.Retired {
		public, err := retired.Key.publicKey()
		if err != nil {
			return nil, nil, unusable
		}
		if now.Before(retired.Until.Time) {
			set.public[retired.Key.KeyID] = public
			valid = append(valid, retired)
		}
	}
	stored.Retired = valid
	return set, stored, nil
}
