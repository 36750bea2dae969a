// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package certexpiry

import (
	"fmt"
	"slices"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// secrets is the rule about TLS Secrets that no Certificate writes.
func (a analyzer) secrets() analyzers.Rule {
	return analyzers.Rule{
		Subject: inputs.TLSSecrets.Ref(),
		Reads:   []live.KindRef{inputs.Certificates.Ref(), inputs.Ingresses.Ref()},
		Analyze: a.secret,
	}
}

func (a analyzer) secret(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	secret, exists := inputs.TLSSecrets.Get(view, subject)
	if !exists || secret.DeletionTimestamp != nil {
		return nil, nil
	}
	begins, ends, known := inputs.Validity(secret)
	if !known {
		return nil, nil
	}
	late := ends.Add(-notice(begins, ends))
	urgent := ends.Add(-a.soon)
	if urgent.Before(late) {
		urgent = late
	}
	for _, at := range []time.Time{late, urgent, ends} {
		view.RecheckAt(at)
	}
	now := view.Now()
	if now.Before(late) || written(view, subject) {
		return nil, nil
	}
	finding := v1alpha1.FindingSpec{
		Reason: ExpiresSoon, Severity: v1alpha1.SeverityWarning, Since: metav1.NewTime(late),
		Subject: v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Secret", Namespace: secret.Namespace, Name: secret.Name, UID: secret.UID},
		Message: fmt.Sprintf("The certificate in Secret %s is valid until %s, and no Certificate renews it.", secret.Name, ends.UTC().Format(time.RFC3339)),
		Remediation: v1alpha1.Remediation{
			Text: "See who uses the Secret, and have who wrote it write a new certificate. Delete it if nobody uses it.",
			Commands: []string{
				fmt.Sprintf("kubectl describe secret %s -n %s", secret.Name, secret.Namespace),
				fmt.Sprintf("kubectl get ingresses,pods -n %s -o yaml | grep -n %s", secret.Namespace, secret.Name),
			},
		},
	}
	if !now.Before(ends) {
		finding.Reason, finding.Since = Expired, metav1.NewTime(ends)
		finding.Message = fmt.Sprintf("The certificate in Secret %s was valid until %s, and no Certificate renews it.", secret.Name, ends.UTC().Format(time.RFC3339))
	}
	// Of one that no Ingress serves nobody knows whether it is only left over.
	if !now.Before(urgent) && served(view, subject) {
		finding.Severity = v1alpha1.SeverityCritical
	}
	return []v1alpha1.FindingSpec{finding}, nil
}

// written tells whether a Certificate writes a Secret; that one has its own findings.
func written(view *live.View, secret live.Key) bool {
	return len(inputs.Certificates.ByIndex(view, inputs.BySecret, secret.String())) > 0
}

func served(view *live.View, secret live.Key) bool {
	return slices.ContainsFunc(inputs.Ingresses.List(view, secret.Namespace, nil), func(ingress *networkingv1.Ingress) bool {
		return slices.ContainsFunc(ingress.Spec.TLS, func(entry networkingv1.IngressTLS) bool { return entry.SecretName == secret.Name })
	})
}
