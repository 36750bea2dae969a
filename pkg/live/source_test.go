// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/rest"

	builtin "k8s.io/client-go/kubernetes/scheme"

	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

// gadget is a custom type that only the test's scheme knows.
type gadget struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Size              int `json:"size"`
}

func (g *gadget) DeepCopyObject() runtime.Object {
	out := *g
	g.DeepCopyInto(&out.ObjectMeta)
	return &out
}

type gadgetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Items           []gadget `json:"items"`
}

func (l *gadgetList) DeepCopyObject() runtime.Object {
	out := *l
	out.Items = append([]gadget{}, l.Items...)
	return &out
}

var (
	gadgetResource = schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "gadgets"}
	thingResource  = schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "things"}
	gadgets        = live.NewInput(gadgetResource, live.InputOptions[*gadget]{})
	things         = live.NewInput(thingResource, live.InputOptions[*unstructured.Unstructured]{})
	absent         = live.NewInput(schema.GroupVersionResource{Group: "absent.example.com", Version: "v1", Resource: "things"}, live.InputOptions[*unstructured.Unstructured]{Optional: true})
)

// server answers lists as an API server of before streamed lists does, and
// notes what was asked of it.
type server struct {
	mu   sync.Mutex
	asks map[string]string // Accept by path, of lists
}

func (s *server) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	query := request.URL.Query()
	if query.Get("sendInitialEvents") != "" {
		status := apierrors.NewBadRequest("sendInitialEvents is not supported").Status()
		writeJSON(w, http.StatusBadRequest, &status)
		return
	}
	if query.Get("watch") != "" {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-request.Context().Done()
		return
	}
	s.mu.Lock()
	s.asks[request.URL.Path] = request.Header.Get("Accept")
	s.mu.Unlock()
	versioned := metav1.ListMeta{ResourceVersion: "7"}
	object := metav1.ObjectMeta{Namespace: "ns", Name: "a", ResourceVersion: "7"}
	switch request.URL.Path {
	case "/api/v1/pods":
		w.Header().Set("Content-Type", runtime.ContentTypeProtobuf)
		list := &corev1.PodList{ListMeta: versioned, Items: []corev1.Pod{{ObjectMeta: object, Spec: corev1.PodSpec{NodeName: "n"}}}}
		list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("PodList"))
		if err := protobuf.NewSerializer(builtin.Scheme, builtin.Scheme).Encode(list, w); err != nil {
			panic(err)
		}
	case "/apis/example.com/v1/widgets":
		writeJSON(w, http.StatusOK, &metav1.PartialObjectMetadataList{
			TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadataList"},
			ListMeta: versioned, Items: []metav1.PartialObjectMetadata{{ObjectMeta: object}},
		})
	case "/apis/example.com/v1/gadgets":
		writeJSON(w, http.StatusOK, &gadgetList{
			TypeMeta: metav1.TypeMeta{APIVersion: "example.com/v1", Kind: "gadgetList"},
			ListMeta: versioned, Items: []gadget{{ObjectMeta: object, Size: 3}},
		})
	case "/apis/example.com/v1/things":
		writeJSON(w, http.StatusOK, map[string]any{
			"apiVersion": "example.com/v1", "kind": "ThingList", "metadata": versioned,
			"items": []any{map[string]any{"apiVersion": "example.com/v1", "kind": "Thing", "metadata": object}},
		})
	case "/apis/apiextensions.k8s.io/v1/customresourcedefinitions":
		writeJSON(w, http.StatusOK, &metav1.PartialObjectMetadataList{
			TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadataList"}, ListMeta: versioned,
		})
	default:
		http.NotFound(w, request)
	}
}

func writeJSON(w http.ResponseWriter, code int, object any) {
	w.Header().Set("Content-Type", runtime.ContentTypeJSON)
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(object); err != nil {
		panic(err)
	}
}

func TestNewSourceAsksForEachTypeInItsCheapestForm(t *testing.T) {
	handler := &server{asks: map[string]string{}}
	api := httptest.NewServer(handler)
	t.Cleanup(api.Close) // after the engine has ended, which closes the watches
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(gadgetResource.GroupVersion(), &gadget{}, &gadgetList{})
	metav1.AddToGroupVersion(scheme, gadgetResource.GroupVersion())
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	source, err := live.NewSource(&rest.Config{Host: api.URL, Transport: transport}, scheme)
	if err != nil {
		t.Fatal(err)
	}
	e := live.New(live.Options{RetryBackoff: quick})
	rule := live.Rule{
		Name: "rule", Subject: pods.Ref(), Reads: []live.KindRef{widgets.Ref(), gadgets.Ref(), things.Ref(), absent.Ref()},
		Evaluate: func(*live.View, live.Key) ([]live.Output, error) { return nil, nil },
	}
	if err := e.AddRule(rule); err != nil {
		t.Fatal(err)
	}
	livetest.Run(t, e, source)
	status := live.List(e, live.Statuses())[0]
	if status.State != live.Healthy {
		t.Fatalf("%s: %s", status.Reason, status.Message)
	}
	handler.mu.Lock()
	defer handler.mu.Unlock()
	protobufFirst := map[string]bool{}
	for path, accept := range handler.asks {
		protobufFirst[path] = strings.HasPrefix(accept, runtime.ContentTypeProtobuf)
	}
	want := map[string]bool{
		"/api/v1/pods":                       true,
		"/apis/example.com/v1/widgets":       true,
		"/apis/example.com/v1/gadgets":       false,
		"/apis/example.com/v1/things":        false,
		"/apis/absent.example.com/v1/things": false,
		// because one of the inputs may be absent
		"/apis/apiextensions.k8s.io/v1/customresourcedefinitions": true,
	}
	if diff := cmp.Diff(want, protobufFirst); diff != "" {
		t.Errorf("lists in protobuf (-want +got):\n%s", diff)
	}
	if accept := handler.asks["/apis/example.com/v1/widgets"]; !strings.Contains(accept, "as=PartialObjectMetadataList") {
		t.Errorf("widgets were asked for as %q, want metadata only", accept)
	}
	p, _ := live.Get(e, pods, key("ns", "a"))
	g, _ := live.Get(e, gadgets, key("ns", "a"))
	if p == nil || p.Spec.NodeName != "n" || g == nil || g.Size != 3 {
		t.Errorf("got pod %v and gadget %v", p, g)
	}
	if len(live.List(e, widgets)) != 1 || len(live.List(e, things)) != 1 {
		t.Errorf("got %d widgets and %d things, want one each", len(live.List(e, widgets)), len(live.List(e, things)))
	}
}

func TestNewSourceRefusesATypeThatNoSchemeKnows(t *testing.T) {
	source, err := live.NewSource(&rest.Config{Host: "http://localhost"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := source.ListerWatcher(gadgetResource, &gadget{}); err == nil {
		t.Error("a type was accepted that cannot be decoded")
	}
}
