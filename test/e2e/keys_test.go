// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/token"
	"github.com/srenix/srenix/test/harness"
)

// TestAttackPublishedKeysReplaced is by somebody with every right in the cluster: an
// empty key set would have every pending approval refused, and another key would
// verify what its owner mints.
func TestAttackPublishedKeysReplaced(t *testing.T) {
	elsewhere := namespace(t)
	server := apiserverClient(t)
	somebody := map[string][]string{
		"an admin":                      nil,
		"a namesake of the server":      {"--as=system:serviceaccount:" + elsewhere + ":srenix-apiserver", "--as-group=system:masters"},
		"another account of the server": {"--as=system:serviceaccount:" + harness.Namespace + ":srenix-advisor", "--as-group=system:masters"},
	}
	for _, name := range []string{token.JWKSConfigMap, audit.VerifierKeysConfigMap} {
		published := &corev1.ConfigMap{}
		eventually(t, "the server publishes "+name, func(ctx context.Context) (bool, string) {
			err := server.Get(ctx, client.ObjectKey{Namespace: harness.Namespace, Name: name}, published)
			return err == nil, fmt.Sprint(err)
		})
		for who, as := range somebody {
			for what, arguments := range map[string][]string{
				"changes": {"patch", "configmap", name, "--type=merge", "-p", `{"data":{"jwks.json":"{\"keys\":[]}"}}`},
				"labels":  {"label", "configmap", name, "a=b"},
				"creates": {"create", "configmap", name},
			} {
				arguments = append(append(arguments, "-n", harness.Namespace, "--dry-run=server"), as...)
				if output := kubectlFails(t, srenix.Plane.Kubeconfig(), arguments...); !strings.Contains(output, "srenix-published-keys") {
					t.Errorf("%s %s %s, and was refused otherwise than by the policy:\n%s", who, what, name, output)
				}
			}
		}
		// Whom it concerns goes on publishing, and what is deleted comes back.
		if err := server.Update(t.Context(), published, client.DryRunAll); err != nil {
			t.Errorf("the server cannot publish %s: %v", name, err)
		}
		again := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: harness.Namespace, Name: name}}
		if err := server.Create(t.Context(), again, client.DryRunAll); !apierrors.IsAlreadyExists(err) {
			t.Errorf("the server cannot create %s: %v", name, err)
		}
		kubectl(t, "delete", "configmap", name, "-n", harness.Namespace, "--dry-run=server")
	}
	kubectl(t, "create", "configmap", "of-somebody-else", "-n", harness.Namespace, "--dry-run=server")
}
