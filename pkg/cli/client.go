// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"
)

// RESTConfig is what the connection flags describe, as the caller's own copy. Warnings
// of the server are written to warnings, each once.
func RESTConfig(getter genericclioptions.RESTClientGetter, warnings io.Writer) (*rest.Config, error) {
	config, err := getter.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	config = rest.CopyConfig(config)
	config.WarningHandler = rest.NewWarningWriter(warnings, rest.WarningWriterOptions{Deduplicate: true})
	return config, nil
}

// Client sends requests to the paths of one group and version.
type Client struct {
	rest.Interface
	// Parameters encodes metav1's options into a request's query.
	Parameters runtime.ParameterCodec
}

// NewClient returns a client for one group and version, whose kinds add
// registers. It needs no discovery, so each request is the only one that is
// made. Warnings of the server are written to warnings.
func NewClient(getter genericclioptions.RESTClientGetter, version schema.GroupVersion, add func(*runtime.Scheme) error, warnings io.Writer) (*Client, error) {
	config, err := RESTConfig(getter, warnings)
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	if err := add(scheme); err != nil {
		return nil, fmt.Errorf("registering the kinds of %s: %w", version, err)
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"}) // Status
	config.GroupVersion = &version
	config.APIPath = "/apis"
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	config.UserAgent = rest.DefaultKubernetesUserAgent()
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("making a client of %s: %w", version, err)
	}
	return &Client{Interface: client, Parameters: runtime.NewParameterCodec(scheme)}, nil
}
