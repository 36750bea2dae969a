// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/policy"
	"github.com/srenix/srenix/pkg/token"
)

// fieldOwner is the name under which the executor's patches are recorded in managedFields.
const fieldOwner = client.FieldOwner(controllerName)

// order is one approved action on one incarnation of its target.
type order struct {
	target srenix.ObjectReference
	patch  *srenix.Patch
	// value is what the action writes that is not in the proposal; empty for those
	// that write nothing of the kind.
	value string
	// object is the target as it was judged. Its resourceVersion is a precondition
	// of the action; nil where the target is gone, or is another object by now.
	object client.Object
}

// action is one thing that srenix knows how to do. Each acts on one object, once,
// under preconditions on its UID and resourceVersion.
type action interface {
	// newTarget returns an empty object of the kind that is acted on.
	newTarget() client.Object
	// value is what the action writes for this token that is not in the proposal.
	value(claims *token.Claims) string
	// request is what do sends, for the audit chain: a JSON patch, or options of a
	// deletion.
	request(order order) (any, error)
	// do acts and returns what the API server answered. With client.DryRunAll
	// among the options it only asks: the object is then what would be stored,
	// whole, and nil for a deletion.
	do(ctx context.Context, c client.Client, order order, dryRun bool) (client.Object, error)
	// done tells whether a target that has the UID of the order shows the action,
	// and what it shows, as the rest of a sentence about it.
	done(target client.Object, order order) (bool, string)
	// deletes tells whether a target that is gone shows the action.
	deletes() bool
	// summary tells in a few words what do does, in the past tense.
	summary(order order) string
}

// sight is what looking at a target tells of an action on it.
type sight struct {
	// done means that the action is there to see. unclear means that it is not,
	// and that this does not say that it was not carried out.
	done, unclear bool
	// text tells what was seen, as the rest of a sentence about the target.
	text string
	// object is the target, if there is one of its name.
	object client.Object
}

// newWhole returns an empty object of the kind that an action kind is for, which
// holds whatever the API server answers: a type of ours would leave out the
// fields that are newer than it.
func newWhole(kind srenix.ActionKind) *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	gvk, _ := policy.TargetGVK(kind)
	object.SetGroupVersionKind(gvk)
	return object
}

// look tells whether an action was carried out. The generation is the one that
// the target had before: while it has it still, nothing was written to its spec.
func look(ctx context.Context, reader client.Reader, act action, order order, generation int64) (sight, error) {
	object := act.newTarget()
	err := reader.Get(ctx, client.ObjectKey{Namespace: order.target.Namespace, Name: order.target.Name}, object)
	switch {
	case gone(err, order.target.Name):
		return sight{done: act.deletes(), unclear: !act.deletes(), text: "is gone"}, nil
	case err != nil:
		return sight{}, fmt.Errorf("looking at %s %s/%s: %w", order.target.Kind, order.target.Namespace, order.target.Name, err)
	case object.GetUID() != order.target.UID:
		return sight{
			done: act.deletes(), unclear: !act.deletes(), object: object,
			text: fmt.Sprintf("is gone, and another one of its name has UID %s", object.GetUID()),
		}, nil
	}
	seen := sight{object: object}
	seen.done, seen.text = act.done(object, order)
	if !seen.done && !act.deletes() && object.GetGeneration() != generation {
		seen.unclear = true
		seen.text += ", and was changed by somebody meanwhile"
	}
	return seen, nil
}

// newActions is the closed list. An action kind that is not in it is refused.
func newActions() map[srenix.ActionKind]action {
	return map[srenix.ActionKind]action{
		srenix.ActionDeletePod:                 deletePod(),
		srenix.ActionDeleteJob:                 deleteJob(),
		srenix.ActionDeleteCertificateRequest:  deleteCertificateRequest(),
		srenix.ActionPatchDeploymentAnnotation: patchDeploymentAnnotation{},
		srenix.ActionPatchIngressTLS:           patchIngressTLS{},
	}
}

// refusedOutright tells whether the API server answered that it did not act, so
// that nothing can still be on its way. A conflict is one, too.
func refusedOutright(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsNotFound(err) || apierrors.IsBadRequest(err) ||
		apierrors.IsMethodNotSupported(err) || apierrors.IsUnauthorized(err) || targetMoved(err)
}

// targetMoved tells whether a precondition failed: 409 of a delete, and 422 of
// the test operations of a JSON patch (k8s.io/apiserver, endpoints/handlers/patch.go).
func targetMoved(err error) bool { return apierrors.IsConflict(err) || apierrors.IsInvalid(err) }

// gone tells whether the API that serves the object answered that there is none
// of this name. A 404 without a Status is something else: the API itself is not
// there, and then nothing is known of the object.
func gone(err error, name string) bool {
	if !apierrors.IsNotFound(err) || apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse) {
		return false
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	details := status.Status().Details
	return details != nil && details.Name == name
}
