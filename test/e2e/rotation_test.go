// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/token"
	"github.com/srenix/srenix/test/harness"
)

// ageSigningKey makes the present key one that has signed for longer than it may.
func ageSigningKey(t *testing.T) {
	t.Helper()
	secret := &corev1.Secret{}
	c := opsClient(t)
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: harness.Namespace, Name: token.SigningKeysSecret}, secret); err != nil {
		t.Fatal(err)
	}
	for key, data := range secret.Data {
		var keys map[string]any
		if err := json.Unmarshal(data, &keys); err != nil {
			t.Fatalf("Secret %s is not JSON any more", token.SigningKeysSecret)
		}
		keys["since"] = time.Now().Add(-31 * 24 * time.Hour).UTC().Format(time.RFC3339)
		aged, err := json.Marshal(keys)
		if err != nil {
			t.Fatal(err)
		}
		secret.Data[key] = aged
	}
	if err := c.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
}

func keyOf(t *testing.T, signed string) any {
	t.Helper()
	parsed, _, err := jwt.NewParser().ParseUnverified(signed, jwt.MapClaims{})
	if err != nil {
		t.Fatal("a token that is none")
	}
	return parsed.Header["kid"]
}

// TestKeysAreRotatedWhileApprovalsRun: tokens of the old key and of the new one
// count alike at a replica that has read only the old one and at the executor. No
// listing of proposals fails meanwhile, and no approval but with a token of the new
// key, at a replica that does not know that key yet.
func TestKeysAreRotatedWhileApprovalsRun(t *testing.T) {
	ns := namespace(t)
	rosa := approver(t, ns, "rosa")
	first, second := stuckStatefulSet(t, ns, "first"), stuckStatefulSet(t, ns, "second")
	before := mint(t, rosa, first)

	asking, stop := context.WithCancel(t.Context())
	var failures []error
	var asked sync.WaitGroup
	proposals := dynamicClient(t, adminConfig(t)).Resource(v1alpha1.SchemeGroupVersion.WithResource("proposals")).Namespace(ns)
	asked.Go(func() {
		_ = wait.PollUntilContextCancel(asking, pollInterval, true, func(ctx context.Context) (bool, error) {
			if _, err := proposals.List(ctx, metav1.ListOptions{}); err != nil && ctx.Err() == nil {
				failures = append(failures, err)
			}
			return false, nil
		})
	})
	ageSigningKey(t)
	// Whichever replica looks first rotates it; one that starts looks at once.
	direct := startReplica(t, "srenix-apiserver-rotates")
	var after v1alpha1.TokenRequestStatus
	eventually(t, "a token that is signed by a new key", func(context.Context) (bool, string) {
		answer, err := postTo(t, direct(rosa), second, "token", tokenRequest(second.Spec.Digest))
		if err != nil {
			return false, err.Error()
		}
		var request v1alpha1.ProposalTokenRequest
		if err := json.Unmarshal(answer, &request); err != nil {
			return false, err.Error()
		}
		after = request.Status
		return keyOf(t, after.Token) != keyOf(t, before.Token), fmt.Sprint(keyOf(t, after.Token))
	})
	if _, err := post(t, rosa, first, "approve", approvalRequest(first.Spec.Digest, before.Token)); err != nil {
		t.Errorf("an approval with a token of the old key failed: %v", err)
	}
	// A replica reads the keys again for one that it does not know, at most every
	// five seconds.
	eventually(t, "the approval of "+second.Spec.Target.Name, func(context.Context) (bool, string) {
		_, err := post(t, rosa, second, "approve", approvalRequest(second.Spec.Digest, after.Token))
		if err != nil && !strings.Contains(err.Error(), token.ErrUnknownKey.Error()) {
			t.Errorf("an approval with a token of the new key failed otherwise than by that key: %v", err)
		}
		return err == nil, fmt.Sprint(err)
	})
	for _, minted := range []v1alpha1.TokenRequestStatus{before, after} {
		kubectl(t, "wait", "--for=condition=Verified", "approval/"+minted.ApprovalName, "-n", ns, "--timeout=90s")
	}
	stop()
	asked.Wait()
	for _, err := range failures {
		t.Errorf("listing proposals failed while keys were rotated: %v", err)
	}
}
