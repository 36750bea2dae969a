// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// strictBodies makes an unknown or duplicate field in a body an error, where the
// library would drop it with a warning: what a person approves is what they
// wrote, all of it. A client cannot ask for less.
func strictBodies(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			query := r.URL.Query()
			query.Set("fieldValidation", metav1.FieldValidationStrict)
			r.URL.RawQuery = query.Encode()
		}
		handler.ServeHTTP(w, r)
	})
}
