// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package inputs

import "k8s.io/apimachinery/pkg/runtime/schema"

// Gateways of the Gateway API, where it is installed. Their status counts routes,
// and is read by nobody.
var Gateways = NewCustom(
	schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "gateways"},
	CustomOptions{Versions: []string{"v1beta1"}, Without: [][]string{{"status"}}},
)
