// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"context"
	"fmt"
	"path"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/policy"
	"github.com/srenix/srenix/pkg/token"
)

// reviewAccess asks whether whoever decides may, and may do what is approved.
func (g *gathering) reviewAccess(ctx context.Context, claims *token.Claims) {
	refusal, err := g.accessRefusal(ctx, claims)
	if err != nil {
		g.unknown(err, policy.Access)
		return
	}
	g.in.AccessDenied = &refusal
}

// accessRefusal asks the cluster whether somebody, with the groups that the token
// carries, may decide about the proposal, and if it is a yes, approve the action kind
// and do the action by hand. It tells what they may not, and is empty if they may.
func (g *gathering) accessRefusal(ctx context.Context, claims *token.Claims) (string, error) {
	spec := &g.in.Proposal.Spec
	needed := []authorizationv1.ResourceAttributes{policy.DecidePermission(g.in.Proposal.Namespace, g.in.Proposal.Name)}
	if claims.Binding.Decision != v1alpha1.DecisionDeny {
		needed = append(needed, policy.ApprovePermission(spec.ActionKind, g.in.Proposal.Namespace))
		if permission, ok := policy.RequiredPermission(spec.ActionKind, spec.Target); ok {
			needed = append(needed, permission)
		} else if spec.ActionKind != v1alpha1.ActionRunbook {
			return "", fmt.Errorf("no right is known that %q needs", spec.ActionKind)
		}
	}
	var refusals []string
	for i := range needed {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: claims.Subject, Groups: claims.Binding.Groups, ResourceAttributes: &needed[i],
		}}
		if err := g.Access.Create(ctx, review); err != nil {
			return "", fmt.Errorf("asking whether %s: %w", permits(claims.Subject, "may", &needed[i]), err)
		}
		if !review.Status.Allowed || review.Status.Denied {
			refusals = append(refusals, permits(claims.Subject, "may not", &needed[i]))
		}
	}
	return strings.Join(refusals, ", and "), nil
}

// permits writes "alice may delete pods web-0 in namespace shop".
func permits(user, may string, attributes *authorizationv1.ResourceAttributes) string {
	resource := path.Join(attributes.Resource, attributes.Subresource)
	if attributes.Group != "" {
		resource += "." + attributes.Group
	}
	return fmt.Sprintf("%s %s %s %s %s in namespace %s", user, may, attributes.Verb, resource, attributes.Name, attributes.Namespace)
}
