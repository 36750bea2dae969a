// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"strings"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

const testNamespace = "srenix-system"

func newKeys(t testing.TB, c client.Client) *KeyStore {
	t.Helper()
	keys := NewKeyStore(c, testNamespace, "c1")
	if err := keys.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	return keys
}

func publishedKeys(t testing.TB, c client.Client) VerifierKeys {
	t.Helper()
	published := &corev1.ConfigMap{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: testNamespace, Name: VerifierKeysConfigMap}, published); err != nil {
		t.Fatal(err)
	}
	keys, err := ParseVerifierKeys(published.Data[VerifierKeysKey])
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func signedBy(t testing.TB, keys *KeyStore, size int64) string {
	t.Helper()
	signer, _, err := keys.Signer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	signed, err := Checkpoint{Origin: Origin("c1"), Size: size, Root: make([]byte, 32)}.Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func TestReplicasThatRaceShareOneKey(t *testing.T) {
	// Each looks before any creates, so that all of them try to.
	var looked sync.WaitGroup
	const replicas = 6
	looked.Add(replicas)
	cluster := newCluster(t)
	var wait sync.WaitGroup
	for range replicas {
		wait.Go(func() {
			once := sync.Once{}
			racing := interceptor.NewClient(cluster, interceptor.Funcs{
				Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
					err := c.Get(ctx, key, object, options...)
					if _, secret := object.(*corev1.Secret); secret {
						once.Do(func() { looked.Done(); looked.Wait() })
					}
					return err
				},
			})
			if err := NewKeyStore(racing, testNamespace, "c1").Ensure(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	// Not ensured once more, which would mend what a loser has published.
	keys := NewKeyStore(cluster, testNamespace, "c1")
	published := publishedKeys(t, cluster)
	if len(published.lines) != 1 {
		t.Errorf("%d keys are published, want 1", len(published.lines))
	}
	if _, err := OpenCheckpoint(signedBy(t, keys, 1), published); err != nil {
		t.Errorf("what the stored key signs: %v", err)
	}
}

func TestOldCheckpointsVerifyAfterAnotherKeyTookOver(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, c client.Client, keys *KeyStore){
		"rotated": func(t *testing.T, _ client.Client, keys *KeyStore) {
			if err := keys.Rotate(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		"the Secret was lost": func(t *testing.T, c client.Client, keys *KeyStore) {
			if err := c.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: KeySecret}}); err != nil {
				t.Fatal(err)
			}
			if err := keys.Ensure(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		"rotated, and the ConfigMap was lost": func(t *testing.T, c client.Client, keys *KeyStore) {
			if err := keys.Rotate(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := c.Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: VerifierKeysConfigMap}}); err != nil {
				t.Fatal(err)
			}
			if err := keys.Ensure(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		"rotated, and the ConfigMap was damaged": func(t *testing.T, c client.Client, keys *KeyStore) {
			if err := keys.Rotate(t.Context()); err != nil {
				t.Fatal(err)
			}
			damaged := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: VerifierKeysConfigMap}}
			if err := c.Update(t.Context(), damaged); err != nil {
				t.Fatal(err)
			}
			if err := keys.Ensure(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := newCluster(t)
			keys := newKeys(t, cluster)
			old := signedBy(t, keys, 1)
			change(t, cluster, keys)
			next, published := signedBy(t, keys, 2), publishedKeys(t, cluster)
			_, own, err := keys.Signer(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := gocmp.Diff(own.lines, published.lines); diff != "" || len(published.lines) != 2 {
				t.Errorf("keys (-in the Secret +published):\n%s", diff)
			}
			for what, signed := range map[string]string{"old": old, "new": next} {
				if _, err := OpenCheckpoint(signed, published); err != nil {
					t.Errorf("the %s checkpoint: %v", what, err)
				}
			}
			current, err := ParseVerifierKeys(published.lines[0])
			if err != nil {
				t.Fatal(err)
			}
			if _, err := OpenCheckpoint(next, current); err != nil {
				t.Errorf("the key that signs is not published first: %v", err)
			}
		})
	}
}

func TestUnusableSecretIsToldWithoutItsContent(t *testing.T) {
	cluster := newCluster(t)
	keys := newKeys(t, cluster)
	good := &corev1.Secret{}
	if err := cluster.Get(t.Context(), client.ObjectKey{Namespace: testNamespace, Name: KeySecret}, good); err != nil {
		t.Fatal(err)
	}
	other := newCluster(t)
	if err := NewKeyStore(other, testNamespace, "c2").Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	ofOther := &corev1.Secret{}
	if err := other.Get(t.Context(), client.ObjectKey{Namespace: testNamespace, Name: KeySecret}, ofOther); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]map[string][]byte{
		"empty":                   {},
		"cut":                     {signerEntry: good.Data[signerEntry][:60], verifiersEntry: good.Data[verifiersEntry]},
		"no public key":           {signerEntry: good.Data[signerEntry]},
		"public key of another":   {signerEntry: good.Data[signerEntry], verifiersEntry: ofOther.Data[verifiersEntry]},
		"that of another cluster": ofOther.Data,
	} {
		t.Run(name, func(t *testing.T) {
			damaged := good.DeepCopy()
			damaged.Data, damaged.ResourceVersion = data, ""
			if err := cluster.Update(t.Context(), damaged); err != nil {
				t.Fatal(err)
			}
			for what, err := range map[string]error{"Ensure": keys.Ensure(t.Context()), "Signer": third(keys.Signer(t.Context())), "Rotate": keys.Rotate(t.Context())} {
				if err == nil || !strings.Contains(err.Error(), "delete it") || strings.Contains(err.Error(), "PRIVATE") {
					t.Errorf("%s: error is %v", what, err)
				}
			}
		})
	}
}

func third[A, B any](_ A, _ B, err error) error { return err }

func TestPrivateKeyIsNowhereButInTheSecret(t *testing.T) {
	cluster := newCluster(t)
	keys := newKeys(t, cluster)
	if err := keys.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	published := &corev1.ConfigMap{}
	if err := cluster.Get(t.Context(), client.ObjectKey{Namespace: testNamespace, Name: VerifierKeysConfigMap}, published); err != nil {
		t.Fatal(err)
	}
	signer, _, err := keys.Signer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if signer.Name() != "srenix.io/audit/c1" {
		t.Errorf("the key is named %s", signer.Name())
	}
	for key, value := range published.Data {
		if key != VerifierKeysKey || strings.Contains(value, "PRIVATE") {
			t.Errorf("entry %s of the ConfigMap is %q", key, value)
		}
	}
}
