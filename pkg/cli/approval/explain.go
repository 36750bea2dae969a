// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/cli"
)

// accessVerdict begins what a refusal says of the rights of who asks (pkg/policy, Access).
const accessVerdict = "Access: "

// budgetVerdict begins what a refusal says of what is left of an hour (pkg/policy, RateBudget).
const budgetVerdict = "RateBudget: "

// explain adds to a server's error what to do next.
func (p *proposals) explain(err error, name string) error { return p.explainDecision(err, name, false) }

// explainDecision is explain for a decision, which a dry run posts to ask what would become of it.
func (p *proposals) explainDecision(err error, name string, dryRun bool) error {
	next := ""
	switch {
	case apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse) && apierrors.IsNotFound(err),
		apierrors.IsServiceUnavailable(err):
		next = "The API srenix.io/v1alpha1 does not answer: is srenix installed in this cluster? See: kubectl get apiservice v1alpha1.srenix.io"
	case apierrors.IsNotFound(err):
		next = fmt.Sprintf("The finding that it would mend has probably cleared, perhaps because the proposal was approved already (kubectl get approvals -n %[1]s), or a silence withholds it (kubectl get silences -n %[1]s), or it is in another namespace than %[1]s. See what there is: kubectl get proposals -n %[1]s, or -A where you may", p.namespace)
	case apierrors.IsConflict(err):
		next = fmt.Sprintf("Nothing was decided. Look again, and decide on what you see then: kubectl create approval --proposal %s -n %s", name, p.namespace)
	case apierrors.IsUnauthorized(err):
		next = "Log in to the cluster again, and check who you are with: kubectl auth whoami"
	case isLackOfRights(err):
		next = fmt.Sprintf("Is namespace %[1]s the one that you mean? Another is named with -n. ClusterRole srenix-approver gives these rights, where somebody binds it to you there. See what you may: kubectl auth can-i --list -n %[1]s", p.namespace)
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), accessVerdict) && dryRun:
		next = fmt.Sprintf("See what you may do yourself: kubectl auth can-i --list -n %s", p.namespace)
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), accessVerdict):
		next = fmt.Sprintf("A proposal does not say what you yourself may do. Ask before you approve: kubectl create approval --proposal %s -n %s --dry-run=server", name, p.namespace)
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), budgetVerdict):
		return err // It says when there is budget again, which no proposal shows.
	case apierrors.IsForbidden(err):
		next = fmt.Sprintf("Each refusal names what refuses, and tells what would make it pass. See what every layer says: kubectl describe proposal.srenix.io/%s -n %s", name, p.namespace)
	case apierrors.IsBadRequest(err) && strings.Contains(err.Error(), "expirationSeconds"):
		next = "Ask for less with --token-lifetime."
	case apierrors.IsInternalError(err), apierrors.IsServerTimeout(err), apierrors.IsTimeout(err):
		return p.lookFirst(err)
	}
	if next == "" {
		return err
	}
	return cli.WithHint(err, next)
}

// lookFirst is for errors after which a decision may have been stored.
func (p *proposals) lookFirst(err error) error {
	return cli.WithHint(err, fmt.Sprintf("Look whether it was decided all the same, and then try again: kubectl get approvals -n %s", p.namespace))
}

// isLackOfRights tells RBAC's refusal from a policy layer's. Both are Forbidden,
// and only the first is worded by k8s.io/apiserver's responsewriters.Forbidden.
func isLackOfRights(err error) bool {
	text := err.Error()
	return apierrors.IsForbidden(err) && strings.Contains(text, `User "`) && strings.Contains(text, `" cannot `)
}
