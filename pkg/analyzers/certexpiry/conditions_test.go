// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package certexpiry

import (
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
)

// conditions are the conditions of a Certificate that cert-manager writes, by type, status
// and reason: its readiness and trigger policies (internal/controller/certificates/policies),
// what its issuing controller takes over from a request, and what cmctl renew sets.
var conditions = func() map[[3]string]bool {
	known := map[[3]string]bool{
		{"Ready", "True", "Ready"}: true, {"Ready", "False", "Expired"}: true, {"Ready", "False", "WindowError"}: true,
		{"Issuing", "True", "Renewing"}: true, {"Issuing", "True", "ManuallyTriggered"}: true,
		{"Issuing", "False", "Failed"}: true, {"Issuing", "False", "InvalidCertificate"}: true, {"Issuing", "False", "Issued"}: true,
	}
	for _, violation := range []string{
		"DoesNotExist", "MissingData", "InvalidKeyPair", "InvalidCertificate", "InvalidCertificateRequest",
		"IncorrectIssuer", "IncorrectCertificate", "SecretMismatch", "RequestChanged",
	} {
		known[[3]string{"Ready", "False", violation}] = true
		known[[3]string{"Issuing", "True", violation}] = true
	}
	return known
}()

// TestGoldensAreWhatCertManagerWrites holds the Certificates of all goldens to that.
func TestGoldensAreWhatCertManagerWrites(t *testing.T) {
	var files []string
	for _, pattern := range []string{"../*/testdata/*.yaml", "../../*/testdata/*.yaml"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	judged := 0
	for _, file := range files {
		for _, object := range analyzertest.Read(t, file).Objects {
			certificate, is := object.(*unstructured.Unstructured)
			if !is || certificate.GetKind() != "Certificate" {
				continue
			}
			for _, kind := range []string{"Ready", "Issuing"} {
				c, has := inputs.ConditionOf(certificate, kind)
				if !has || c.Reason == "" { // not a condition, as some near misses have
					continue
				}
				judged++
				if !conditions[[3]string{kind, c.Status, c.Reason}] {
					t.Errorf("%s: Certificate %s is %s %s (%s)", file, certificate.GetName(), kind, c.Status, c.Reason)
				}
				ends := inputs.TimeAt(certificate, "status", "notAfter")
				switch {
				case c.Reason == "DoesNotExist" && c.Status == "False" && !ends.IsZero():
					t.Errorf("%s: the Secret of Certificate %s does not exist, and its end is known", file, certificate.GetName())
				case c.Reason == "Expired" && (ends.IsZero() || c.LastTransition.Before(ends)):
					t.Errorf("%s: Certificate %s expired at %s before its end %s", file, certificate.GetName(), c.LastTransition, ends)
				}
			}
		}
	}
	if judged == 0 {
		t.Error("no golden has a Certificate")
	}
}
