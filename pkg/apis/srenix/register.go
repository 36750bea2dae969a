// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package srenix

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupName is the aggregated API group.
const GroupName = "srenix.io"

// SchemeGroupVersion is the internal version of the group.
var SchemeGroupVersion = schema.GroupVersion{Group: GroupName, Version: runtime.APIVersionInternal}

var (
	// SchemeBuilder collects the functions that register this package.
	SchemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)
	// AddToScheme registers the kinds of this package.
	AddToScheme = SchemeBuilder.AddToScheme
)

// Resource qualifies a resource name with this group.
func Resource(resource string) schema.GroupResource {
	return SchemeGroupVersion.WithResource(resource).GroupResource()
}

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(SchemeGroupVersion,
		&Finding{}, &FindingList{},
		&ClusterFinding{}, &ClusterFindingList{},
		&Proposal{}, &ProposalList{},
		&ProposalTokenRequest{}, &ProposalApproval{}, &ProposalRunbook{}, &FindingInvestigation{},
	)
	return nil
}
