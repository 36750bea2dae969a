// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// failing is a cluster that asks before each request whether it fails.
func failing(cluster client.WithWatch, fault func(verb string, object client.Object) error) client.WithWatch {
	return interceptor.NewClient(cluster, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, into client.Object, options ...client.GetOption) error {
			if err := fault("get", into); err != nil {
				return err
			}
			return c.Get(ctx, key, into, options...)
		},
		Create: func(ctx context.Context, c client.WithWatch, object client.Object, options ...client.CreateOption) error {
			if err := fault("create", object); err != nil {
				return err
			}
			return c.Create(ctx, object, options...)
		},
		Update: func(ctx context.Context, c client.WithWatch, object client.Object, options ...client.UpdateOption) error {
			if err := fault("update", object); err != nil {
				return err
			}
			return c.Update(ctx, object, options...)
		},
	})
}

// Whichever request of an operation fails, the operation says so.
func TestEveryFailedRequestIsTold(t *testing.T) {
	filled := func(t *testing.T) client.WithWatch { _, cluster, _ := newStore(t); return cluster }
	spoiled := func(t *testing.T) client.WithWatch {
		cluster := filled(t)
		setData(t, cluster, &corev1.ConfigMap{}, JWKSConfigMap, `{"keys":[]}`)
		return cluster
	}
	for name, test := range map[string]struct {
		cluster  func(*testing.T) client.WithWatch
		run      func(context.Context, *KeyStore) error
		requests int
	}{
		"ensure on an empty cluster": {
			func(*testing.T) client.WithWatch { return fake.NewClientBuilder().Build() }, func(ctx context.Context, s *KeyStore) error { return s.Ensure(ctx) }, 4,
		},
		"ensure":       {filled, func(ctx context.Context, s *KeyStore) error { return s.Ensure(ctx) }, 3},
		"mend":         {spoiled, func(ctx context.Context, s *KeyStore) error { return s.Ensure(ctx) }, 5},
		"rotate":       {filled, func(ctx context.Context, s *KeyStore) error { return s.Rotate(ctx) }, 7},
		"maintain":     {filled, func(ctx context.Context, s *KeyStore) error { return s.Maintain(ctx) }, 11},
		"current keys": {filled, func(ctx context.Context, s *KeyStore) error { _, err := s.Current(ctx); return err }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			broken := errors.New("the API server is down")
			for fails := range test.requests + 1 {
				n := 0
				store := NewKeyStore(failing(test.cluster(t), func(string, client.Object) error {
					if n++; n == fails+1 {
						return broken
					}
					return nil
				}), namespace, clocktesting.NewFakePassiveClock(start.Add(rotateAfter)))
				err := test.run(t.Context(), store)
				if fails < test.requests && !errors.Is(err, broken) {
					t.Errorf("request %d fails, and the error is %v", fails+1, err)
				}
				if fails == test.requests && (err != nil || n != test.requests) {
					t.Errorf("%d requests, want %d: %v", n, test.requests, err)
				}
			}
		})
	}
}

// setData puts what a key store would not write into its Secret or ConfigMap.
func setData(t *testing.T, cluster client.Client, object client.Object, name, data string) {
	t.Helper()
	if err := cluster.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, object); err != nil {
		t.Fatal(err)
	}
	switch object := object.(type) {
	case *corev1.Secret:
		object.Data = map[string][]byte{signingKeysKey: []byte(data)}
	case *corev1.ConfigMap:
		object.Data = map[string]string{JWKSKey: data}
	}
	if err := cluster.Update(t.Context(), object); err != nil {
		t.Fatal(err)
	}
}

// A replica that finds no key, and then that another one has made one, takes that one.
func TestReplicaThatComesSecondTakesTheKeyOfTheFirst(t *testing.T) {
	cluster, clock := fake.NewClientBuilder().Build(), clocktesting.NewFakePassiveClock(start)
	first, raced := NewKeyStore(cluster, namespace, clock), false
	second := NewKeyStore(failing(cluster, func(verb string, object client.Object) error {
		if _, secret := object.(*corev1.Secret); secret && verb == "create" {
			raced = true
			return first.Ensure(t.Context())
		}
		return nil
	}), namespace, clock)
	if err := second.Ensure(t.Context()); err != nil || !raced {
		t.Fatalf("raced: %t, error: %v", raced, err)
	}
	want, _, err := current(t, first).signing()
	if err != nil {
		t.Fatal(err)
	}
	if have, _, err := current(t, second).signing(); err != nil || have != want {
		t.Errorf("it signs with %s, want %s (%v)", have, want, err)
	}
	if _, published := NewJWKSSource(t.Context(), cluster, namespace, clock).Key(want); !published {
		t.Error("the key is not published")
	}
}

// A replica has read the Secret, and publishes what it says after another one has
// rotated: the new key must not be gone until somebody looks again.
func TestAnOlderReplicaDoesNotTakeANewKeyBack(t *testing.T) {
	rotating, cluster, clock := newStore(t)
	rotated, overwritten := false, false
	older := NewKeyStore(failing(cluster, func(verb string, object client.Object) error {
		if _, published := object.(*corev1.ConfigMap); !published {
			return nil
		}
		overwritten = overwritten || verb == "update"
		if rotated {
			return nil
		}
		rotated = true
		return rotating.Rotate(t.Context())
	}), namespace, clock)
	if err := older.Ensure(t.Context()); err != nil || !rotated || !overwritten {
		t.Fatalf("rotated: %t, overwritten: %t, error: %v", rotated, overwritten, err)
	}
	kid, _, err := current(t, rotating).signing()
	if err != nil {
		t.Fatal(err)
	}
	if _, published := NewJWKSSource(t.Context(), cluster, namespace, clock).Key(kid); !published {
		t.Error("the key that signs now is not published")
	}
}

func TestASecretThatGoesWhileItIsPublishedIsTold(t *testing.T) {
	rotating, cluster, clock := newStore(t)
	older := NewKeyStore(failing(cluster, func(verb string, object client.Object) error {
		if _, published := object.(*corev1.ConfigMap); published && verb == "update" {
			secret := &corev1.Secret{}
			if err := cluster.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: SigningKeysSecret}, secret); err != nil {
				return err
			}
			return cluster.Delete(t.Context(), secret)
		}
		return nil
	}), namespace, clock)
	setData(t, cluster, &corev1.ConfigMap{}, JWKSConfigMap, `{"keys":[]}`)
	if err := older.Ensure(t.Context()); !apierrors.IsNotFound(err) {
		t.Errorf("the Secret is gone, and the error is %v", err)
	}
	if err := rotating.Ensure(t.Context()); err != nil {
		t.Errorf("making another one: %v", err)
	}
}

// Somebody who changes the Secret again and again is not followed for ever.
func TestKeysThatChangeWheneverTheyArePublishedAreTold(t *testing.T) {
	_, cluster, clock := newStore(t)
	readings, writes := 0, 0
	store := NewKeyStore(failing(cluster, func(verb string, object client.Object) error {
		switch _, secret := object.(*corev1.Secret); {
		case secret && verb == "get":
			readings++
			setData(t, cluster, &corev1.Secret{}, SigningKeysSecret, `{"seed":"`+base64.RawURLEncoding.EncodeToString(seeded(byte(readings)).Seed())+`"}`)
		case !secret && verb == "update":
			writes++
		}
		return nil
	}), namespace, clock)
	err := store.Ensure(t.Context())
	if err == nil || !strings.Contains(err.Error(), "changed 5 times") || writes != 5 {
		t.Errorf("after %d writes, error is %v", writes, err)
	}
}

// A replica that lost the race to rotate says it if it cannot mend what it has published.
func TestLostRotationThatCannotBeMendedIsTold(t *testing.T) {
	_, cluster, _ := newStore(t)
	broken := errors.New("the API server is down")
	lost := false
	store := NewKeyStore(failing(cluster, func(verb string, object client.Object) error {
		if _, secret := object.(*corev1.Secret); secret && verb == "update" {
			lost = true
			return apierrors.NewConflict(schema.GroupResource{Resource: "secrets"}, SigningKeysSecret, nil)
		}
		if lost {
			return broken
		}
		return nil
	}), namespace, clocktesting.NewFakePassiveClock(start.Add(rotateAfter)))
	if err := store.Maintain(t.Context()); !lost || !errors.Is(err, broken) {
		t.Errorf("error is %v, want that of mending", err)
	}
}

func storedIn(t *testing.T, cluster client.Client) (stored storedKeys) {
	t.Helper()
	if err := json.Unmarshal([]byte(secretData(t, cluster)), &stored); err != nil {
		t.Fatal(err)
	}
	return stored
}

// However often one rotates, each old key stays until its last token has
// expired, and no longer.
func TestEachRetiredKeyIsKeptForItsOwnDay(t *testing.T) {
	store, cluster, clock := newStore(t)
	first, _, err := current(t, store).signing()
	if err != nil {
		t.Fatal(err)
	}
	clock.SetTime(start.Add(time.Second))
	if err := store.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	stored := storedIn(t, cluster)
	until := start.Add(time.Second + 11*time.Minute + 24*time.Hour + 30*time.Second + time.Second)
	if !stored.Since.Time.Equal(start.Add(time.Second)) || !stored.Retired[0].Until.Time.Equal(until) {
		t.Errorf("it signs since %s, and the old key is good until %s, want %s", stored.Since, stored.Retired[0].Until, until)
	}
	for _, test := range []struct {
		at      time.Time
		retired int
		kept    bool
	}{{until.Add(-time.Second), 2, true}, {until, 2, false}} {
		clock.SetTime(test.at)
		if err := store.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, kept := current(t, store).Key(first); kept != test.kept {
			t.Errorf("at %s the first key is kept: %t", test.at, kept)
		}
		if have := len(storedIn(t, cluster).Retired); have != test.retired {
			t.Errorf("at %s there are %d retired keys, want %d", test.at, have, test.retired)
		}
	}
}

// A replica that cannot read the keys goes on signing for as long as those that it has
// count, and all that it has signed is good for as long as it says.
func TestTokensOfAReplicaThatMissedARotationStayGood(t *testing.T) {
	store, cluster, clock := newStore(t)
	unreadable := false
	cut := interceptor.NewClient(cluster, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, into client.Object, options ...client.GetOption) error {
			if unreadable {
				return errors.New("no answer")
			}
			return c.Get(ctx, key, into, options...)
		},
	})
	behind := current(t, NewKeyStore(cut, namespace, clock))
	// It reads them for the last time while the rotation is on its way.
	clock.SetTime(start.Add(rotateTimeout))
	if _, known := behind.Key("another"); known || behind.ReadAt() != clock.Now() {
		t.Fatalf("the keys were read at %s", behind.ReadAt())
	}
	clock.SetTime(start)
	if err := store.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	unreadable = true
	clock.SetTime(start.Add(rotateTimeout + staleAfter - time.Second))
	signer, verifier := NewSigner(behind, clusterID, clock), NewVerifier(current(t, store), clusterID, clock)
	signed, claims, err := signer.Mint("alice", binding(), MaximumLifetime)
	if err != nil {
		t.Fatal(err)
	}
	clock.SetTime(claims.ExpiresAt.Add(Skew - time.Second))
	if err := store.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := verifier.Verify(signed); err != nil {
		t.Error(err)
	}
	clock.SetTime(start.Add(rotateTimeout + staleAfter))
	if _, _, err := signer.Mint("alice", binding(), MaximumLifetime); !errors.Is(err, ErrNoSigningKey) {
		t.Errorf("it signs with keys that count no more: %v", err)
	}
}

func TestAgeOfAKeyIsStoredWithIt(t *testing.T) {
	cluster, at := fake.NewClientBuilder().Build(), start.Add(time.Second)
	if err := NewKeyStore(cluster, namespace, clocktesting.NewFakePassiveClock(at)).Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if since := storedIn(t, cluster).Since; since == nil || !since.Time.Equal(at) {
		t.Errorf("the key signs since %s, want %s", since, at)
	}
}

func TestKeyWithoutAnAgeIsAsOldAsItsSecret(t *testing.T) {
	cluster := fake.NewClientBuilder().WithObjects(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: SigningKeysSecret, CreationTimestamp: metav1.NewTime(start)},
		Data:       map[string][]byte{signingKeysKey: []byte(`{"seed":"` + strings.Repeat("A", 43) + `"}`)},
	}).Build()
	clock := clocktesting.NewFakePassiveClock(start.Add(rotateAfter - time.Second))
	store := NewKeyStore(cluster, namespace, clock)
	for _, rotated := range []bool{false, true} {
		if err := store.Maintain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if have := storedIn(t, cluster).Since != nil; have != rotated {
			t.Errorf("at %s it is rotated: %t", clock.Now(), have)
		}
		clock.SetTime(start.Add(rotateAfter))
	}
}

func TestSigningKeysAreReadStrictly(t *testing.T) {
	store, cluster, _ := newStore(t)
	seed := strings.Repeat("A", 43)
	retired, err := json.Marshal(publicJWK(seeded('b').Public().(ed25519.PublicKey)))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"an unknown field": `{"seed":"` + seed + `","more":""}`,
		"a short seed":     `{"seed":"YWJj"}`,
		"a seed too long":  `{"seed":"` + seed + `AAAA"}`,
		"a retired RSA key": `{"seed":"` + seed + `","retired":[{"until":null,"key":` +
			strings.Replace(string(retired), "OKP", "RSA", 1) + `}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			setData(t, cluster, &corev1.Secret{}, SigningKeysSecret, data)
			for what, run := range map[string]func() error{
				"ensure":   func() error { return store.Ensure(t.Context()) },
				"rotate":   func() error { return store.Rotate(t.Context()) },
				"maintain": func() error { return store.Maintain(t.Context()) },
				"current":  func() error { _, err := store.Current(t.Context()); return err },
			} {
				if err := run(); !errors.Is(err, ErrNoSigningKey) || !strings.Contains(err.Error(), "restore it, or delete it") {
					t.Errorf("%s: error is %v", what, err)
				}
			}
		})
	}
	until := start.Add(time.Hour).UTC().Format(time.RFC3339)
	setData(t, cluster, &corev1.Secret{}, SigningKeysSecret, `{"seed":"`+seed+`","retired":[{"until":"`+until+`","key":`+string(retired)+`}]}`)
	if _, kept := current(t, store).Key(KeyID(seeded('b').Public().(ed25519.PublicKey))); !kept {
		t.Error("a retired key does not count")
	}
}

// Somebody may write the Secret at any time, also between two readings.
func TestSigningKeysThatBecomeUnreadableAreTold(t *testing.T) {
	_, cluster, _ := newStore(t)
	requests := 0
	store := NewKeyStore(failing(cluster, func(_ string, object client.Object) error {
		if _, secret := object.(*corev1.Secret); secret {
			if requests++; requests == 2 {
				setData(t, cluster, &corev1.Secret{}, SigningKeysSecret, "{")
			}
		}
		return nil
	}), namespace, clocktesting.NewFakePassiveClock(start))
	if err := store.Maintain(t.Context()); requests != 2 || !errors.Is(err, ErrNoSigningKey) {
		t.Errorf("error after %d readings is %v, want ErrNoSigningKey", requests, err)
	}
}

// Whoever empties the published set must not have every token refused as one of an
// unknown key.
func TestPublishedKeysThatTellNothingChangeNothing(t *testing.T) {
	for _, published := range []string{"{", `{"keys":[]}`, "{}", ""} {
		t.Run(published, func(t *testing.T) {
			store, cluster, clock := newStore(t)
			kid, _, err := current(t, store).signing()
			if err != nil {
				t.Fatal(err)
			}
			source := NewJWKSSource(t.Context(), cluster, namespace, clock)
			want, ok := source.Key(kid)
			if !ok || source.Err() != nil {
				t.Fatalf("the key is not found: %v", source.Err())
			}
			setData(t, cluster, &corev1.ConfigMap{}, JWKSConfigMap, published)
			clock.SetTime(start.Add(refreshAfter))
			have, _ := source.Key(kid)
			if diff := cmp.Diff(want, have); diff != "" {
				t.Errorf("the key (-before +after):\n%s", diff)
			}
			later := NewJWKSSource(t.Context(), cluster, namespace, clock)
			if _, ok := later.Key(kid); ok {
				t.Error("the key is known to a source that has read none")
			}
			for _, source := range []*JWKSSource{source, later} {
				err := source.Err()
				if err == nil || !strings.Contains(err.Error(), namespace+"/"+JWKSConfigMap) {
					t.Errorf("error is %v, and should name the ConfigMap", err)
				}
				// What can be read and is empty is told from what cannot be read.
				if _, unreadable := ParseJWKS([]byte(published)); err != nil && strings.Contains(err.Error(), "has no public key") != (unreadable == nil) {
					t.Errorf("error is %v, and the set cannot be read: %v", err, unreadable)
				}
			}
		})
	}
}
