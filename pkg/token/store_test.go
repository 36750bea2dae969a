// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

const namespace = "srenix-system"

func newStore(t *testing.T) (*KeyStore, client.WithWatch, *clocktesting.FakePassiveClock) {
	t.Helper()
	cluster, clock := fake.NewClientBuilder().Build(), clocktesting.NewFakePassiveClock(start)
	store := NewKeyStore(cluster, namespace, clock)
	if err := store.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	return store, cluster, clock
}

func current(t *testing.T, store *KeyStore) *SigningKeys {
	t.Helper()
	keys, err := store.Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func secretData(t *testing.T, c client.Client) string {
	t.Helper()
	secret := &corev1.Secret{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: SigningKeysSecret}, secret); err != nil {
		t.Fatal(err)
	}
	return string(secret.Data[signingKeysKey])
}

func TestJWKSRoundTrip(t *testing.T) {
	want := map[string]ed25519.PublicKey{}
	for _, seed := range []byte("abc") {
		public := seeded(seed).Public().(ed25519.PublicKey)
		want[KeyID(public)] = public
	}
	data, err := MarshalJWKS(want)
	if err != nil {
		t.Fatal(err)
	}
	have, err := ParseJWKS(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("(-written +read):\n%s", diff)
	}
}

// The key and its thumbprint are those of RFC 8037, appendix A.3.
func TestKeyIDIsTheThumbprintOfRFC8037(t *testing.T) {
	public, err := JWK{
		KeyType: "OKP", Curve: "Ed25519", X: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
		KeyID: "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", Algorithm: "EdDSA", Use: "sig",
	}.publicKey()
	if err != nil {
		t.Fatal(err)
	}
	if have, want := KeyID(public), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"; have != want {
		t.Errorf("thumbprint %s, want %s", have, want)
	}
}

func TestParseJWKSIsStrict(t *testing.T) {
	good := publicJWK(seeded('a').Public().(ed25519.PublicKey))
	set := func(change func(*JWK)) string {
		key := good
		change(&key)
		data, err := json.Marshal(JWKS{Keys: []JWK{key}})
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	one := set(func(*JWK) {})
	for name, data := range map[string]string{
		"nothing":                 "",
		"a list":                  "[]",
		"something after the end": one + "{}",
		"an unknown field":        strings.Replace(one, `"kty"`, `"d":"c2VjcmV0","kty"`, 1),
		"a repeated field":        strings.Replace(one, `"kty"`, `"kty":"OKP","kty"`, 1),
		"a field in another case": strings.Replace(one, `"kty"`, `"KTY"`, 1),
		"an RSA key":              set(func(k *JWK) { k.KeyType = "RSA" }),
		"another curve":           set(func(k *JWK) { k.Curve = "X25519" }),
		"another algorithm":       set(func(k *JWK) { k.Algorithm = "HS256" }),
		"a kid of its own choice": set(func(k *JWK) { k.KeyID = "mine" }),
		"a short key":             set(func(k *JWK) { k.X = k.X[:20] }),
		"padding":                 set(func(k *JWK) { k.X += "=" }),
		"the same key twice":      strings.Replace(one, "}]", "},"+strings.TrimSuffix(strings.TrimPrefix(one, `{"keys":[`), "]}")+"]", 1),
	} {
		t.Run(name, func(t *testing.T) {
			if keys, err := ParseJWKS([]byte(data)); err == nil {
				t.Errorf("%s parses to %v", data, keys)
			}
		})
	}
}

func TestReplicasThatStartTogetherShareOneKey(t *testing.T) {
	cluster := fake.NewClientBuilder().Build()
	stores := make([]*KeyStore, 8)
	var wait sync.WaitGroup
	for i := range stores {
		stores[i] = NewKeyStore(cluster, namespace, clocktesting.NewFakePassiveClock(start))
		wait.Go(func() {
			if err := stores[i].Ensure(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	want, _, err := current(t, stores[0]).signing()
	if err != nil {
		t.Fatal(err)
	}
	for _, store := range stores[1:] {
		if have, _, err := current(t, store).signing(); err != nil || have != want {
			t.Errorf("one replica signs with %s, another with %s (%v)", want, have, err)
		}
	}
	if _, ok := NewJWKSSource(t.Context(), cluster, namespace, stores[0].clock).Key(want); !ok {
		t.Error("the key is not published")
	}
}

func TestEnsureMendsThePublishedKeys(t *testing.T) {
	store, cluster, _ := newStore(t)
	published := &corev1.ConfigMap{}
	key := client.ObjectKey{Namespace: namespace, Name: JWKSConfigMap}
	if err := cluster.Get(t.Context(), key, published); err != nil {
		t.Fatal(err)
	}
	want := published.Data[JWKSKey]
	published.Data[JWKSKey] = `{"keys":[]}`
	if err := cluster.Update(t.Context(), published); err != nil {
		t.Fatal(err)
	}
	if err := store.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Get(t.Context(), key, published); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, published.Data[JWKSKey]); diff != "" {
		t.Errorf("(-want +have):\n%s", diff)
	}
	if strings.Contains(want, `"d"`) {
		t.Error("the published keys contain a private one")
	}
}

func TestRotationKeepsTheOldKeyUntilItsTokensHaveExpired(t *testing.T) {
	store, cluster, clock := newStore(t)
	keys := current(t, store)
	signer, verifier := NewSigner(keys, clusterID, clock), NewVerifier(NewJWKSSource(t.Context(), cluster, namespace, clock), clusterID, clock)
	old, _, err := signer.Mint("alice", binding(), MaximumLifetime)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := verifier.Verify(old); err != nil {
		t.Fatal(err)
	}
	before := secretData(t, cluster)
	kid, _, err := keys.signing()
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	var stored storedKeys
	if err := json.Unmarshal([]byte(before), &stored); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(secretData(t, cluster), stored.Seed) {
		t.Error("the old private key is still stored")
	}

	// The signer takes the new key up by itself, and the verifier learns of it
	// because its kid is unknown.
	clock.SetTime(start.Add(refreshAfter))
	fresh, _, err := signer.Mint("alice", binding(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Split(fresh, ".")[0] == strings.Split(old, ".")[0] {
		t.Fatal("the signer still signs with the old key")
	}
	for name, token := range map[string]string{"old": old, "new": fresh} {
		if _, err := verifier.Verify(token); err != nil {
			t.Errorf("the %s key's token: %v", name, err)
		}
	}

	// Once the old tokens have expired, whoever has the old key can do nothing with it.
	clock.SetTime(start.Add(rotateTimeout + staleAfter + MaximumLifetime + Skew + 2*time.Second))
	if _, err := NewVerifier(current(t, store), clusterID, clock).VerifyAt(old, start); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("reading the keys, error is %v, want ErrUnknownKey", err)
	}
	if err := store.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := NewVerifier(NewJWKSSource(t.Context(), cluster, namespace, clock), clusterID, clock).VerifyAt(old, start); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("reading what is published, error is %v, want ErrUnknownKey", err)
	}
	// The next rotation forgets it.
	if err := store.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(secretData(t, cluster), kid) {
		t.Errorf("key %s is still stored", kid)
	}
}

func TestUnknownKidsReadTheKeysRarely(t *testing.T) {
	store, cluster, clock := newStore(t)
	kid, _, err := current(t, store).signing()
	if err != nil {
		t.Fatal(err)
	}
	reads := 0
	counting := interceptor.NewClient(cluster, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, into client.Object, options ...client.GetOption) error {
			reads++
			return c.Get(ctx, key, into, options...)
		},
	})
	source := NewJWKSSource(t.Context(), counting, namespace, clock)
	for range 100 {
		source.Key("forged")
	}
	if reads != 1 {
		t.Errorf("100 forged kids at once made %d reads, want 1", reads)
	}
	if _, ok := source.Key(kid); !ok {
		t.Error("a known key is not found after forged ones")
	}
	clock.SetTime(start.Add(refreshUnknown))
	source.Key("forged")
	if reads != 2 {
		t.Errorf("%d reads after the pause, want 2", reads)
	}
}

func TestKeysThatCannotBeReadStopCounting(t *testing.T) {
	store, cluster, clock := newStore(t)
	kid, _, err := current(t, store).signing()
	if err != nil {
		t.Fatal(err)
	}
	var broken error
	source := NewJWKSSource(t.Context(), interceptor.NewClient(cluster, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, into client.Object, options ...client.GetOption) error {
			if broken != nil {
				return broken
			}
			return c.Get(ctx, key, into, options...)
		},
	}), namespace, clock)
	if _, ok := source.Key(kid); !ok {
		t.Fatal("the key is not found")
	}
	broken = errors.New("the API server is down")
	clock.SetTime(start.Add(staleAfter - time.Second))
	if _, ok := source.Key(kid); !ok {
		t.Error("a short outage makes the key unknown")
	}
	clock.SetTime(start.Add(staleAfter))
	if _, ok := source.Key(kid); ok {
		t.Error("the key counts although nobody can tell whether it was withdrawn")
	}
	if err := source.Err(); !errors.Is(err, broken) {
		t.Errorf("error is %v, want that of the reading", err)
	}
}

func TestUnreadableSigningKeysAreNotQuoted(t *testing.T) {
	store, cluster, _ := newStore(t)
	secret := &corev1.Secret{}
	if err := cluster.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: SigningKeysSecret}, secret); err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{"", "hunter2", `{"seed":"hunter2"}`, `{"seed":1}`, `{"hunter2":""}`} {
		secret.Data = map[string][]byte{signingKeysKey: []byte(data)}
		if err := cluster.Update(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
		_, err := store.Current(t.Context())
		if !errors.Is(err, ErrNoSigningKey) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("for %q the error is %v", data, err)
		}
		if err := store.Rotate(t.Context()); !errors.Is(err, ErrNoSigningKey) {
			t.Errorf("rotating %q: error is %v", data, err)
		}
	}
}

func TestAKeyIsRotatedAfterThirtyDays(t *testing.T) {
	store, cluster, clock := newStore(t)
	first := secretData(t, cluster)
	clock.SetTime(start.Add(rotateAfter - time.Second))
	if err := store.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if secretData(t, cluster) != first {
		t.Fatal("rotated too early")
	}
	old := current(t, store)
	minted, _, err := NewSigner(old, "cluster", clock).Mint("alice", binding(), MaximumLifetime)
	if err != nil {
		t.Fatal(err)
	}
	clock.SetTime(start.Add(rotateAfter))
	if err := store.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := secretData(t, cluster)
	if second == first {
		t.Fatal("not rotated")
	}
	// What was signed before is good for as long as it says.
	clock.SetTime(start.Add(rotateAfter + MaximumLifetime - time.Minute))
	if err := store.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if secretData(t, cluster) != second {
		t.Error("rotated again a day later")
	}
	source := NewJWKSSource(t.Context(), cluster, namespace, clock)
	if _, err := NewVerifier(source, "cluster", clock).Verify(minted); err != nil {
		t.Errorf("a token of before the rotation: %v", err)
	}
}

// TestReplicasThatRotateAtOnceEndWithOneKey has a replica lose the race after it
// has published a key that nobody will sign with.
func TestReplicasThatRotateAtOnceEndWithOneKey(t *testing.T) {
	store, cluster, clock := newStore(t)
	clock.SetTime(start.Add(rotateAfter))
	raced := false
	slow := NewKeyStore(interceptor.NewClient(cluster, interceptor.Funcs{
		Update: func(ctx context.Context, c client.WithWatch, object client.Object, options ...client.UpdateOption) error {
			if _, secret := object.(*corev1.Secret); secret && !raced {
				raced = true
				if err := store.Maintain(ctx); err != nil {
					return err
				}
			}
			return c.Update(ctx, object, options...)
		},
	}), namespace, clock)
	if err := slow.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !raced {
		t.Fatal("nobody rotated")
	}
	keys := current(t, store)
	kid, _, err := keys.signing()
	if err != nil {
		t.Fatal(err)
	}
	if _, published := NewJWKSSource(t.Context(), cluster, namespace, clock).Key(kid); !published {
		t.Error("the key that signs is not published")
	}
}
