// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"

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

func notYet() error {
	refusal := apierrors.NewServiceUnavailable("the first complete view is still being computed: try again in a second")
	refusal.ErrStatus.Details = &metav1.StatusDetails{RetryAfterSeconds: 1}
	return refusal
}
