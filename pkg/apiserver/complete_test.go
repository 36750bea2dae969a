// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/utils/clock"

	"github.com/srenix/srenix/pkg/apis/srenix"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/registry/finding"
	"github.com/srenix/srenix/pkg/registry/memory"
	"github.com/srenix/srenix/pkg/registry/virtual"
)

// TestTheFirstListOfAnyVersionIsWhole has the store filled a moment ago: whoever asks
// for any version gets what the cacher has, which is all once it has caught up.
func TestTheFirstListOfAnyVersionIsWhole(t *testing.T) {
	if err := memory.ConfigureCachers(); err != nil {
		t.Fatal(err)
	}
	scheme, codecs, err := newServingScheme()
	if err != nil {
		t.Fatal(err)
	}
	findings, err := finding.NewREST(virtual.Options{Scheme: scheme, Codec: codecs.LegacyCodec(v1alpha1.SchemeGroupVersion), Clock: clock.RealClock{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(findings.Destroy)
	const filled = 5000
	for i := range filled {
		name := fmt.Sprintf("finding-%d", i)
		if err := findings.Objects().Put(&srenix.Finding{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := caughtUp(t.Context(), findings); err != nil {
		t.Fatal(err)
	}
	ctx := genericapirequest.WithNamespace(t.Context(), metav1.NamespaceAll)
	for _, version := range []string{"0", "1"} {
		listed, err := findings.List(ctx, &metainternalversion.ListOptions{ResourceVersion: version})
		if err != nil {
			t.Fatal(err)
		}
		if got := len(listed.(*srenix.FindingList).Items); got != filled {
			t.Errorf("of version %s there are %d, want %d", version, got, filled)
		}
	}
}

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
