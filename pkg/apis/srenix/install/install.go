// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package install registers every version of the aggregated group.
package install

import (
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	"github.com/srenix/srenix/pkg/apis/srenix"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// Install adds the internal and the served version to the scheme.
func Install(scheme *runtime.Scheme) {
	utilruntime.Must(srenix.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	utilruntime.Must(scheme.SetVersionPriority(v1alpha1.SchemeGroupVersion))
}
