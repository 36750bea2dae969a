// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package inputs

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	certManager = schema.GroupVersion{Group: "cert-manager.io", Version: "v1"}
	acme        = schema.GroupVersion{Group: "acme.cert-manager.io", Version: "v1"}
)

// BySecret finds Certificates by "NAMESPACE/NAME" of the Secret that they write.
const BySecret = "secret"

// What cert-manager keeps, where it is installed, without the requests and the
// certificates that some of it carries, which are nobody's business here.
var (
	Certificates = NewCustom(certManager.WithResource("certificates"), CustomOptions{
		Indexes: map[string]func(*unstructured.Unstructured) []string{BySecret: func(in *unstructured.Unstructured) []string {
			if secret := TextAt(in, "spec", "secretName"); secret != "" {
				return []string{in.GetNamespace() + "/" + secret}
			}
			return nil
		}},
	})
	CertificateRequests = NewCustom(certManager.WithResource("certificaterequests"), CustomOptions{
		Without: [][]string{{"spec", "request"}, {"status", "certificate"}, {"status", "ca"}},
	})
	Issuers        = NewCustom(certManager.WithResource("issuers"), CustomOptions{})
	ClusterIssuers = NewCustom(certManager.WithResource("clusterissuers"), CustomOptions{})
	Orders         = NewCustom(acme.WithResource("orders"), CustomOptions{Without: [][]string{{"spec", "request"}, {"status", "certificate"}}})
	Challenges     = NewCustom(acme.WithResource("challenges"), CustomOptions{})
)
