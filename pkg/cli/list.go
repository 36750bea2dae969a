// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/pager"
)

// Each reads a list page by page, and hands every item of it to do.
func Each[T runtime.Object](ctx context.Context, list func(context.Context, metav1.ListOptions) (runtime.Object, error), do func(T)) error {
	return pager.New(list).EachListItem(ctx, metav1.ListOptions{}, func(object runtime.Object) error {
		do(object.(T))
		return nil
	})
}

// ExplainRead adds to an error of reading srenix.io what to do next. Command is what
// was called, as "kubectl srenix status", and namespace is empty for all.
func ExplainRead(err error, command, namespace string) error {
	switch {
	case apierrors.IsNotFound(err), apierrors.IsServiceUnavailable(err):
		return WithHint(err, "The API srenix.io/v1alpha1 does not answer: is srenix installed in this cluster? See: kubectl get apiservice v1alpha1.srenix.io")
	case apierrors.IsForbidden(err) && namespace == "":
		return WithHint(err, fmt.Sprintf("Look at a namespace that you may view: %s -n NAMESPACE", command))
	case apierrors.IsForbidden(err):
		return WithHint(err, "ClusterRole srenix-viewer gives these rights; it is part of view.")
	}
	return err
}
