// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package secondleash tells whether the ValidatingAdmissionPolicy on the executor is
// that of this build. It does not know whether kube-apiserver enforces it, nor on whom.
package secondleash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/srenix/srenix/artifacts"
)

// Name is that of the policy, and of its binding.
const Name = "srenix-executor-leash"

// ErrDiffers means that something of this build's policy is missing in the installed one.
var ErrDiffers = errors.New("the installed ValidatingAdmissionPolicy " + Name + " is not that of this version")

// Check reads what is installed, and is an error unless it refuses whatever the policy
// of this build refuses. It may refuse more: validations, variables and resource rules
// may be added to it. The error names what is not as it was shipped.
func Check(ctx context.Context, reader client.Reader) error {
	policy, binding := &admissionregistrationv1.ValidatingAdmissionPolicy{}, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{}
	for _, object := range []client.Object{policy, binding} {
		if err := reader.Get(ctx, client.ObjectKey{Name: Name}, object); err != nil {
			return fmt.Errorf("reading the second leash: %w", err)
		}
	}
	shipped, _, err := Shipped()
	if err != nil {
		return err
	}
	if differs := append(differences(&shipped.Spec, &policy.Spec), ofBinding(&binding.Spec)...); len(differs) > 0 {
		return fmt.Errorf("%w: %s", ErrDiffers, strings.Join(differs, "; "))
	}
	return nil
}

// Shipped returns the policy of this build and its binding.
func Shipped() (*admissionregistrationv1.ValidatingAdmissionPolicy, *admissionregistrationv1.ValidatingAdmissionPolicyBinding, error) {
	policy, binding := &admissionregistrationv1.ValidatingAdmissionPolicy{}, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{}
	documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(artifacts.ExecutorLeash), 4096)
	for _, object := range []any{policy, binding} {
		if err := documents.Decode(object); err != nil {
			return nil, nil, fmt.Errorf("reading the second leash that is compiled in: %w", err)
		}
	}
	return policy, binding, nil
}

// differences tells how an installed policy may refuse less than the shipped one.
func differences(shipped, installed *admissionregistrationv1.ValidatingAdmissionPolicySpec) []string {
	var differs []string
	if ptr.Deref(installed.FailurePolicy, admissionregistrationv1.Fail) != admissionregistrationv1.Fail {
		differs = append(differs, "its failurePolicy is not Fail")
	}
	if installed.ParamKind != nil {
		differs = append(differs, "it has parameters")
	}
	if !matchesAll(shipped.MatchConstraints, installed.MatchConstraints) {
		differs = append(differs, "its matchConstraints do not match every resource")
	}
	// Each condition takes requests out.
	for _, condition := range installed.MatchConditions {
		if !slices.ContainsFunc(shipped.MatchConditions, func(of admissionregistrationv1.MatchCondition) bool { return same(of.Expression, condition.Expression) }) {
			differs = append(differs, fmt.Sprintf("its matchCondition %s is another one", condition.Name))
		}
	}
	for _, variable := range shipped.Variables {
		if !slices.ContainsFunc(installed.Variables, func(of admissionregistrationv1.Variable) bool {
			return of.Name == variable.Name && same(of.Expression, variable.Expression)
		}) {
			differs = append(differs, fmt.Sprintf("its variable %s is missing or another one", variable.Name))
		}
	}
	for _, validation := range shipped.Validations {
		if !slices.ContainsFunc(installed.Validations, func(of admissionregistrationv1.Validation) bool { return same(of.Expression, validation.Expression) }) {
			differs = append(differs, fmt.Sprintf("it has no validation %q", shown(validation.Expression)))
		}
	}
	return differs
}

// matchesAll tells whether an installed policy is asked about whatever the shipped one is.
func matchesAll(shipped, installed *admissionregistrationv1.MatchResources) bool {
	if installed == nil || len(installed.ExcludeResourceRules) > 0 ||
		ptr.Deref(installed.MatchPolicy, admissionregistrationv1.Equivalent) != admissionregistrationv1.Equivalent {
		return false
	}
	for _, selector := range []*metav1.LabelSelector{installed.NamespaceSelector, installed.ObjectSelector} {
		if selector != nil && !equality.Semantic.DeepEqual(*selector, metav1.LabelSelector{}) {
			return false
		}
	}
	return !slices.ContainsFunc(shipped.ResourceRules, func(rule admissionregistrationv1.NamedRuleWithOperations) bool {
		return !slices.ContainsFunc(installed.ResourceRules, func(of admissionregistrationv1.NamedRuleWithOperations) bool {
			if ptr.Deref(of.Scope, admissionregistrationv1.AllScopes) == admissionregistrationv1.AllScopes {
				of.Scope = rule.Scope // that is its default
			}
			return equality.Semantic.DeepEqual(rule, of)
		})
	})
}

// ofBinding tells what of a binding keeps the policy from refusing.
func ofBinding(spec *admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec) []string {
	var differs []string
	if spec.PolicyName != Name {
		differs = append(differs, fmt.Sprintf("its binding is to policy %s", spec.PolicyName))
	}
	if !slices.Contains(spec.ValidationActions, admissionregistrationv1.Deny) {
		differs = append(differs, "its binding does not deny")
	}
	if spec.MatchResources != nil || spec.ParamRef != nil {
		differs = append(differs, "its binding is for some resources or parameters only")
	}
	return differs
}

// same compares expressions without how they are broken into lines, which differs by
// what installs them.
func same(a, b string) bool { return line(a) == line(b) }

func line(expression string) string { return strings.Join(strings.Fields(expression), " ") }

// shown is the beginning of an expression.
func shown(expression string) string {
	const most = 80
	text := line(expression)
	if len(text) <= most {
		return text
	}
	return text[:most] + "..."
}
