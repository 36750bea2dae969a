// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"

	"github.com/srenix/srenix/pkg/apis/srenix/install"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/registry/finding"
	"github.com/srenix/srenix/pkg/registry/proposal"
)

// newServingScheme returns the scheme and codecs of the aggregated group.
func newServingScheme() (*runtime.Scheme, serializer.CodecFactory, error) {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	// The library's own kinds (Status, discovery, options) are unversioned.
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	scheme.AddUnversionedTypes(schema.GroupVersion{Version: "v1"},
		&metav1.Status{}, &metav1.APIVersions{}, &metav1.APIGroupList{}, &metav1.APIGroup{}, &metav1.APIResourceList{})
	for kind, selectable := range map[string][]string{
		"Finding":        append(finding.SelectableFields(), "metadata.name", "metadata.namespace"),
		"ClusterFinding": append(finding.SelectableFields(), "metadata.name"),
		"Proposal":       append(proposal.SelectableFields(), "metadata.name", "metadata.namespace"),
	} {
		gvk := v1alpha1.SchemeGroupVersion.WithKind(kind)
		if err := scheme.AddFieldLabelConversionFunc(gvk, acceptFields(kind, selectable)); err != nil {
			return nil, serializer.CodecFactory{}, fmt.Errorf("registering the field selectors of %s: %w", kind, err)
		}
	}
	return scheme, serializer.NewCodecFactory(scheme), nil
}

// acceptFields refuses a field selector that names anything else, which the
// library answers with 400.
func acceptFields(kind string, selectable []string) runtime.FieldLabelConversionFunc {
	slices.Sort(selectable)
	return func(label, value string) (string, string, error) {
		if _, found := slices.BinarySearch(selectable, label); !found {
			return "", "", fmt.Errorf("%q is not a field that %s can be selected by: use one of %q", label, kind, selectable)
		}
		return label, value, nil
	}
}
