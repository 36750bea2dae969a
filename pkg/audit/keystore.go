// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"crypto/rand"
	"fmt"

	"golang.org/x/mod/sumdb/note"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// KeySecret is the Secret with the key that signs checkpoints. It signs nothing
	// else, and only the API server reads it.
	KeySecret = "srenix-audit-key"
	// VerifierKeysConfigMap is where the public keys are published, and
	// VerifierKeysKey its one entry: the current key first, then those before it.
	// Who audits keeps a copy elsewhere: what a cluster says of itself proves
	// little against whoever rules it.
	VerifierKeysConfigMap = "srenix-audit-vkey"
	VerifierKeysKey       = "vkeys"
)

const (
	// signerEntry of the Secret is the private key, in the encoding of
	// golang.org/x/mod/sumdb/note.
	signerEntry = "skey"
	// verifiersEntry of the Secret are all the public keys there ever were, so that
	// the ConfigMap can be mended.
	verifiersEntry = "vkeys"
)

// KeyStore keeps the key that signs checkpoints in the cluster. It is not the key
// of tokens: a token must never verify as a checkpoint, nor the other way round.
type KeyStore struct {
	client    client.Client
	namespace string
	origin    string
}

// NewKeyStore returns the store in a namespace, for the cluster with an ID;
// client must not read from a cache.
func NewKeyStore(client client.Client, namespace, cluster string) *KeyStore {
	return &KeyStore{client: client, namespace: namespace, origin: Origin(cluster)}
}

// Ensure makes the Secret and the ConfigMap where they are absent, and mends the
// ConfigMap where it lacks a key. Replicas may race: the API server lets one
// create the Secret, and the others take that one. Where the Secret was lost, a
// new key takes over and the keys published before go on verifying.
func (s *KeyStore) Ensure(ctx context.Context) error {
	published, err := s.published(ctx)
	if err != nil {
		return err
	}
	secret, err := s.read(ctx)
	if apierrors.IsNotFound(err) {
		secret, err = s.create(ctx, published)
	}
	if err != nil {
		return fmt.Errorf("ensuring the key of audit checkpoints: %w", err)
	}
	_, keys, err := s.decode(secret)
	if err != nil {
		return err
	}
	return s.publish(ctx, keys)
}

// Signer returns the key that signs now, and every key whose checkpoints verify.
func (s *KeyStore) Signer(ctx context.Context) (note.Signer, VerifierKeys, error) {
	secret, err := s.read(ctx)
	if err != nil {
		return nil, VerifierKeys{}, fmt.Errorf("reading the key of audit checkpoints: %w", err)
	}
	return s.decode(secret)
}

// Rotate replaces the key. The keys before it go on verifying, for ever. The new
// one is published before it signs anything; if another replica rotates at the
// same time, one of the two gets a conflict. Auditors have to be given the new
// key, so nothing rotates by itself.
func (s *KeyStore) Rotate(ctx context.Context) error {
	secret, err := s.read(ctx)
	if err != nil {
		return fmt.Errorf("reading the key of audit checkpoints to rotate it: %w", err)
	}
	_, before, err := s.decode(secret)
	if err != nil {
		return err
	}
	data, keys, err := s.generate(before)
	if err != nil {
		return err
	}
	if err := s.publish(ctx, keys); err != nil {
		return err
	}
	secret.Data = data
	if err := s.client.Update(ctx, secret); err != nil {
		return fmt.Errorf("storing the rotated key of audit checkpoints: %w", err)
	}
	// A replica that started in between may have published the old keys in front.
	return s.publish(ctx, keys)
}

func (s *KeyStore) read(ctx context.Context) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	return secret, s.client.Get(ctx, client.ObjectKey{Namespace: s.namespace, Name: KeySecret}, secret)
}

func (s *KeyStore) create(ctx context.Context, published VerifierKeys) (*corev1.Secret, error) {
	data, _, err := s.generate(published)
	if err != nil {
		return nil, err
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: KeySecret}, Data: data}
	err = s.client.Create(ctx, secret)
	if apierrors.IsAlreadyExists(err) {
		return s.read(ctx)
	}
	return secret, err
}

// generate draws a key. The keys of other clusters are left behind, in case the
// namespace was restored elsewhere.
func (s *KeyStore) generate(before VerifierKeys) (map[string][]byte, VerifierKeys, error) {
	skey, vkey, err := note.GenerateKey(rand.Reader, s.origin)
	if err != nil {
		return nil, VerifierKeys{}, fmt.Errorf("drawing a key of audit checkpoints: %w", err)
	}
	keys, err := ParseVerifierKeys(vkey)
	if err != nil {
		return nil, VerifierKeys{}, err
	}
	keys = keys.with(before.of(s.origin))
	if len(keys.lines) > maximumVerifierKeys {
		return nil, VerifierKeys{}, fmt.Errorf("there are %d keys of audit checkpoints, and %d is the most: drop the oldest from Secret %s/%s and ConfigMap %s",
			len(keys.lines)-1, maximumVerifierKeys, s.namespace, KeySecret, VerifierKeysConfigMap)
	}
	return map[string][]byte{signerEntry: []byte(skey), verifiersEntry: []byte(keys.String())}, keys, nil
}

// decode never quotes what it cannot read.
func (s *KeyStore) decode(secret *corev1.Secret) (note.Signer, VerifierKeys, error) {
	unusable := fmt.Errorf("reading the key of audit checkpoints: Secret %s/%s does not hold one of %s: restore it, or delete it and restart srenix to make a new key",
		secret.Namespace, secret.Name, s.origin)
	signer, err := note.NewSigner(string(secret.Data[signerEntry]))
	if err != nil || signer.Name() != s.origin {
		return nil, VerifierKeys{}, unusable
	}
	keys, err := ParseVerifierKeys(string(secret.Data[verifiersEntry]))
	if err != nil || keys.verifiers[0].KeyHash() != signer.KeyHash() {
		return nil, VerifierKeys{}, unusable
	}
	return signer, keys, nil
}

// published returns the keys in the ConfigMap, or none where there is no ConfigMap.
func (s *KeyStore) published(ctx context.Context) (VerifierKeys, error) {
	published := &corev1.ConfigMap{}
	err := s.client.Get(ctx, client.ObjectKey{Namespace: s.namespace, Name: VerifierKeysConfigMap}, published)
	if apierrors.IsNotFound(err) {
		return VerifierKeys{}, nil
	}
	if err != nil {
		return VerifierKeys{}, fmt.Errorf("reading the published keys of audit checkpoints: %w", err)
	}
	keys, err := ParseVerifierKeys(published.Data[VerifierKeysKey])
	if err != nil {
		// Somebody damaged it. It is written anew from the Secret.
		return VerifierKeys{}, nil //nolint:nilerr // said above
	}
	return keys, nil
}

// publish writes the keys where they are not what is published.
func (s *KeyStore) publish(ctx context.Context, keys VerifierKeys) error {
	want := map[string]string{VerifierKeysKey: keys.String()}
	published := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: VerifierKeysConfigMap}, Data: want}
	err := s.client.Create(ctx, published)
	if err == nil {
		return nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("publishing the keys of audit checkpoints: %w", err)
	}
	if err := s.client.Get(ctx, client.ObjectKeyFromObject(published), published); err != nil {
		return fmt.Errorf("reading the published keys of audit checkpoints: %w", err)
	}
	if published.Data[VerifierKeysKey] == want[VerifierKeysKey] {
		return nil
	}
	published.Data = want
	if err := s.client.Update(ctx, published); err != nil {
		return fmt.Errorf("publishing the keys of audit checkpoints: %w", err)
	}
	return nil
}
