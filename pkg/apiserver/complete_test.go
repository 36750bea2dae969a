// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/sets"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
)

func TestNothingOfOursIsServedBeforeTheViewIsComplete(t *testing.T) {
	complete := false
	_, codecs, err := newServingScheme()
	if err != nil {
		t.Fatal(err)
	}
	handler := whenComplete(func() bool { return complete }, codecs, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	resolver := &genericapirequest.RequestInfoFactory{APIPrefixes: sets.NewString("apis", "api"), GrouplessAPIPrefixes: sets.NewString("api")}
	ask := func(method, path string) *httptest.ResponseRecorder {
		t.Helper()
		request := httptest.NewRequest(method, path, nil)
		info, err := resolver.NewRequestInfo(request)
		if err != nil {
			t.Fatal(err)
		}
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, request.WithContext(genericapirequest.WithRequestInfo(request.Context(), info)))
		return answer
	}
	ours := map[string]string{
		"/apis/srenix.io/v1alpha1/findings":                                   http.MethodGet,
		"/apis/srenix.io/v1alpha1/findings?watch=true":                        http.MethodGet,
		"/apis/srenix.io/v1alpha1/namespaces/shop/proposals/x":                http.MethodGet,
		"/apis/srenix.io/v1alpha1/namespaces/shop/proposals/x/approve":        http.MethodPost,
		"/apis/srenix.io/v1alpha1/namespaces/shop/findings?sendInitialEvents": http.MethodGet,
	}
	for path, method := range ours {
		answer := ask(method, path)
		if answer.Code != http.StatusServiceUnavailable || answer.Header().Get("Retry-After") != "1" || !strings.Contains(answer.Body.String(), "still being computed") {
			t.Errorf("%s %s: %d %v %s", method, path, answer.Code, answer.Header(), answer.Body)
		}
	}
	for _, path := range []string{"/readyz", "/livez", "/metrics", "/apis", "/apis/srenix.io", "/apis/srenix.io/v1alpha1", "/openapi/v3"} {
		if answer := ask(http.MethodGet, path); answer.Code != http.StatusOK {
			t.Errorf("%s: %d", path, answer.Code)
		}
	}
	complete = true
	for path, method := range ours {
		if answer := ask(method, path); answer.Code != http.StatusOK {
			t.Errorf("%s %s once it is complete: %d", method, path, answer.Code)
		}
	}
}
