// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"errors"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/klog/v2"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// whenComplete answers requests for objects of ours only once there is all that is
// to be served. The aggregator sends requests before it has asked whether the server
// is ready, and a client that lists a part takes the rest for gone. Clients of
// client-go try again by themselves.
func whenComplete(complete func() bool, codecs runtime.NegotiatedSerializer, handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, ok := genericapirequest.RequestInfoFrom(r.Context())
		if ok && info.IsResourceRequest && info.APIGroup == v1alpha1.GroupName && !complete() {
			responsewriters.ErrorNegotiated(notYet(), codecs, v1alpha1.SchemeGroupVersion, w, r)
			return
		}
		handler.ServeHTTP(w, r)
	})
}

// caughtUp waits until what clients are served from has everything that the live view
// has given out. A list without a version waits for that; others, as those of informers
// that come from another replica, are answered from what there is, and would take what
// is still on its way for gone.
func caughtUp(ctx context.Context, served ...rest.Lister) error {
	for _, resource := range served {
		var last error
		err := wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
			if _, last = resource.List(genericapirequest.WithNamespace(ctx, metav1.NamespaceAll), &metainternalversion.ListOptions{}); last != nil {
				klog.FromContext(ctx).Error(last, "The first complete view cannot be listed yet")
			}
			return last == nil, nil
		})
		if err != nil {
			return errors.Join(err, last)
		}
	}
	return nil
}

func notYet() error {
	refusal := apierrors.NewServiceUnavailable("the first complete view is still being computed: try again in a second")
	refusal.ErrStatus.Details = &metav1.StatusDetails{RetryAfterSeconds: 1}
	return refusal
}
