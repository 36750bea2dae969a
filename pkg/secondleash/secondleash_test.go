// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package secondleash

import (
	"errors"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

// What kube-apiserver fills in, and what refuses more, is no difference; whatever may
// refuse less is one.
func TestALeashThatMayRefuseLessIsNoticed(t *testing.T) {
	type (
		policySpec  = admissionregistrationv1.ValidatingAdmissionPolicySpec
		bindingSpec = admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec
	)
	more := admissionregistrationv1.Validation{Expression: `request.namespace != "bank"`}
	for name, test := range map[string]struct {
		change func(*policySpec, *bindingSpec)
		says   string
	}{
		"as shipped": {change: func(*policySpec, *bindingSpec) {}},
		"with defaults": {change: func(p *policySpec, _ *bindingSpec) {
			p.MatchConstraints.MatchPolicy = ptr.To(admissionregistrationv1.Equivalent)
			p.MatchConstraints.NamespaceSelector, p.MatchConstraints.ObjectSelector = &metav1.LabelSelector{}, &metav1.LabelSelector{}
			p.MatchConstraints.ResourceRules[0].Scope = ptr.To(admissionregistrationv1.AllScopes)
		}},
		"in other lines": {change: func(p *policySpec, _ *bindingSpec) { p.Validations[0].Expression += "\n" }},
		"a validation more": {change: func(p *policySpec, _ *bindingSpec) {
			p.Validations = append([]admissionregistrationv1.Validation{more}, p.Validations...)
		}},
		"another message":           {change: func(p *policySpec, _ *bindingSpec) { p.Validations[1].Message = "no" }},
		"only its first validation": {says: "has no validation", change: func(p *policySpec, _ *bindingSpec) { p.Validations = p.Validations[:1] }},
		"another validation":        {says: "has no validation", change: func(p *policySpec, _ *bindingSpec) { p.Validations[3] = more }},
		"another variable":          {says: "variable acts", change: func(p *policySpec, _ *bindingSpec) { p.Variables[4].Expression = "false" }},
		"no variables":              {says: "variable own", change: func(p *policySpec, _ *bindingSpec) { p.Variables = nil }},
		"a condition more": {says: "matchCondition some", change: func(p *policySpec, _ *bindingSpec) {
			p.MatchConditions = append(p.MatchConditions, admissionregistrationv1.MatchCondition{Name: "some", Expression: "false"})
		}},
		"for leases only": {says: "matchConstraints", change: func(p *policySpec, _ *bindingSpec) {
			p.MatchConstraints.ResourceRules[0].Resources = []string{"leases"}
		}},
		"for what is in a namespace": {says: "matchConstraints", change: func(p *policySpec, _ *bindingSpec) {
			p.MatchConstraints.ResourceRules[0].Scope = ptr.To(admissionregistrationv1.NamespacedScope)
		}},
		"not for pods": {says: "matchConstraints", change: func(p *policySpec, _ *bindingSpec) {
			p.MatchConstraints.ExcludeResourceRules = []admissionregistrationv1.NamedRuleWithOperations{{}}
		}},
		"not in some namespaces": {says: "matchConstraints", change: func(p *policySpec, _ *bindingSpec) {
			p.MatchConstraints.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
		}},
		"not for some objects": {says: "matchConstraints", change: func(p *policySpec, _ *bindingSpec) {
			p.MatchConstraints.ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
		}},
		"exact versions only": {says: "matchConstraints", change: func(p *policySpec, _ *bindingSpec) {
			p.MatchConstraints.MatchPolicy = ptr.To(admissionregistrationv1.Exact)
		}},
		"failing open":           {says: "failurePolicy", change: func(p *policySpec, _ *bindingSpec) { p.FailurePolicy = ptr.To(admissionregistrationv1.Ignore) }},
		"with parameters":        {says: "parameters", change: func(p *policySpec, _ *bindingSpec) { p.ParamKind = &admissionregistrationv1.ParamKind{} }},
		"bound to warn":          {says: "does not deny", change: func(_ *policySpec, b *bindingSpec) { b.ValidationActions = b.ValidationActions[1:] }},
		"bound elsewhere":        {says: "policy other", change: func(_ *policySpec, b *bindingSpec) { b.PolicyName = "other" }},
		"bound for some":         {says: "some resources", change: func(_ *policySpec, b *bindingSpec) { b.MatchResources = &admissionregistrationv1.MatchResources{} }},
		"bound with a parameter": {says: "parameters", change: func(_ *policySpec, b *bindingSpec) { b.ParamRef = &admissionregistrationv1.ParamRef{} }},
	} {
		t.Run(name, func(t *testing.T) {
			policy, binding, err := Shipped()
			if err != nil {
				t.Fatal(err)
			}
			test.change(&policy.Spec, &binding.Spec)
			err = Check(t.Context(), fake.NewClientBuilder().WithObjects(policy, binding).Build())
			if test.says == "" && err != nil || test.says != "" && (!errors.Is(err, ErrDiffers) || !strings.Contains(err.Error(), test.says)) {
				t.Errorf("%v, want %q", err, test.says)
			}
		})
	}
	if err := Check(t.Context(), fake.NewClientBuilder().Build()); !apierrors.IsNotFound(err) {
		t.Errorf("with nothing installed: %v", err)
	}
}
