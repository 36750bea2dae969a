// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	builtin "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// Source makes the list-watches that inputs are read from.
type Source interface {
	// ListerWatcher reads resource in all namespaces, as objects of the type of
	// example. An error says that this can never work, for example because the
	// type is not in the scheme; that a resource is absent or forbidden shows when
	// it is listed.
	ListerWatcher(resource schema.GroupVersionResource, example Object) (cache.ListerWatcher, error)
}

// NotReadError is what a list of a Source ends with that holds a part of a cluster, and
// does not have what it is asked for: not now, and not later. The input is not known, as
// one that is forbidden.
type NotReadError struct {
	// Why says what there is instead, in words that follow a colon.
	Why string
	// Wanted are the resources that would have to be added.
	Wanted []schema.GroupResource
}

// Error implements error.
func (e *NotReadError) Error() string { return e.Why }

// NewSource returns the Source that reads from an API server: built-in types in
// protobuf, *metav1.PartialObjectMetadata as metadata only, in protobuf,
// *unstructured.Unstructured and the types of scheme in JSON. scheme may be nil.
// There is no client-side rate limit: an engine sends few requests and backs off
// by itself.
func NewSource(config *rest.Config, scheme *runtime.Scheme) (Source, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1
	config.RateLimiter = nil
	// Compressing watches takes more time at both ends than it saves on the way: of
	// what this process does for a change, a tenth would be decompressing.
	config.DisableCompression = true
	if config.UserAgent == "" {
		config.UserAgent = rest.DefaultKubernetesUserAgent()
	}
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("making an HTTP client: %w", err)
	}
	metadataClient, err := metadata.NewForConfigAndClient(config, httpClient)
	if err != nil {
		return nil, fmt.Errorf("making a metadata client: %w", err)
	}
	dynamicClient, err := dynamic.NewForConfigAndClient(config, httpClient)
	if err != nil {
		return nil, fmt.Errorf("making a dynamic client: %w", err)
	}
	return &apiSource{
		config:   config,
		http:     httpClient,
		scheme:   scheme,
		metadata: metadataClient,
		dynamic:  dynamicClient,
		clients:  map[clientKey]rest.Interface{},
	}, nil
}

type apiSource struct {
	config   *rest.Config
	http     *http.Client
	scheme   *runtime.Scheme
	metadata metadata.Interface
	dynamic  dynamic.Interface

	mu      sync.Mutex
	clients map[clientKey]rest.Interface
}

type clientKey struct {
	version schema.GroupVersion
	builtin bool
}

func (s *apiSource) ListerWatcher(resource schema.GroupVersionResource, example Object) (cache.ListerWatcher, error) {
	switch example.(type) {
	case *metav1.PartialObjectMetadata:
		client := s.metadata.Resource(resource)
		return &cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
				return client.List(ctx, options)
			},
			WatchFuncWithContext: client.Watch,
		}, nil
	case *unstructured.Unstructured:
		client := s.dynamic.Resource(resource)
		return &cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
				return client.List(ctx, options)
			},
			WatchFuncWithContext: client.Watch,
		}, nil
	}
	client, err := s.client(resource.GroupVersion(), example)
	if err != nil {
		return nil, fmt.Errorf("making a client for %s: %w", resource, err)
	}
	request := func(options metav1.ListOptions) *rest.Request {
		return client.Get().Resource(resource.Resource).VersionedParams(&options, metav1.ParameterCodec)
	}
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return request(options).Do(ctx).Get()
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.Watch = true
			return request(options).Watch(ctx)
		},
	}, nil
}

// client returns the client for a group and version that decodes example's type.
func (s *apiSource) client(version schema.GroupVersion, example Object) (rest.Interface, error) {
	scheme := builtin.Scheme
	key := clientKey{version: version, builtin: true}
	if _, _, err := builtin.Scheme.ObjectKinds(example); err != nil {
		if s.scheme == nil {
			return nil, fmt.Errorf("%T is not a built-in type, and there is no scheme", example)
		}
		if _, _, err := s.scheme.ObjectKinds(example); err != nil {
			return nil, err
		}
		scheme, key.builtin = s.scheme, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if client, ok := s.clients[key]; ok {
		return client, nil
	}
	config := rest.CopyConfig(s.config)
	config.GroupVersion = &version
	config.APIPath = "/apis"
	if version.Group == "" {
		config.APIPath = "/api"
	}
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	config.ContentType = runtime.ContentTypeJSON
	config.AcceptContentTypes = runtime.ContentTypeJSON
	if key.builtin {
		config.ContentType = runtime.ContentTypeProtobuf
		config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	}
	client, err := rest.RESTClientForConfigAndClient(config, s.http)
	if err != nil {
		return nil, err
	}
	s.clients[key] = client
	return client, nil
}
