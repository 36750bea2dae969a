// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package advisor

import (
	"cmp"
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// A clusterfinding is looked into as a finding without a namespace. Its Investigation is
// in the namespace that srenix runs in, whose people are those of the cluster.

// readFinding reads a finding; without a namespace, a clusterfinding.
func readFinding(ctx context.Context, reader client.Reader, key client.ObjectKey) (*srenix.Finding, error) {
	finding := &srenix.Finding{}
	if key.Namespace != "" {
		return finding, reader.Get(ctx, key, finding)
	}
	of := &srenix.ClusterFinding{}
	err := reader.Get(ctx, key, of)
	return &srenix.Finding{ObjectMeta: of.ObjectMeta, Spec: of.Spec, Status: of.Status}, err
}

// investigationsOf is by what the Investigations of a finding are found, and where: own
// is the namespace that srenix runs in.
func investigationsOf(finding client.ObjectKey, own string) []client.ListOption {
	named := opsv1alpha1.InvestigatedFinding{Name: finding.Name}
	if finding.Namespace == "" {
		named.Kind = opsv1alpha1.KindClusterFinding
	}
	return []client.ListOption{client.InNamespace(cmp.Or(finding.Namespace, own)), client.MatchingFields{byFinding: indexed(&named)}}
}

// indexed is the value of an Investigation in the index byFinding.
func indexed(named *opsv1alpha1.InvestigatedFinding) string {
	if named.Kind == opsv1alpha1.KindClusterFinding {
		return named.Kind + "/" + named.Name
	}
	return named.Name
}

// findingKey names the finding of an Investigation. One of a clusterfinding that is
// anywhere else than where srenix runs is of none.
func findingKey(of *opsv1alpha1.Investigation, own string) (client.ObjectKey, bool) {
	if of.Spec.Finding.Kind != opsv1alpha1.KindClusterFinding {
		return client.ObjectKey{Namespace: of.Namespace, Name: of.Spec.Finding.Name}, true
	}
	return client.ObjectKey{Name: of.Spec.Finding.Name}, of.Namespace == own
}

// ofFinding names the finding of an Investigation.
func ofFinding(own string) handler.MapFunc {
	return func(_ context.Context, object client.Object) []reconcile.Request {
		key, has := findingKey(object.(*opsv1alpha1.Investigation), own)
		if !has {
			return nil
		}
		return []reconcile.Request{{NamespacedName: key}}
	}
}
