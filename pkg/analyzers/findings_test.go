// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package analyzers

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

func TestAFindingIsBoundedWhateverItIsAbout(t *testing.T) {
	long := v1alpha1.FindingSpec{
		Reason: "Long", Subject: v1alpha1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: "a"}, Message: strings.Repeat("ä", 1_000_000),
	}
	for range 10_000 {
		long.Related = append(long.Related, v1alpha1.RelatedObject{ObjectReference: v1alpha1.ObjectReference{Name: strings.Repeat("n", 253)}})
		long.Remediation.Commands = append(long.Remediation.Commands, "kubectl get pod "+strings.Repeat("n", 253))
	}
	content, err := json.Marshal(NewFinding("Test", long))
	if err != nil || len(content) > 16<<10 || !utf8.Valid(content) {
		t.Errorf("it has %d bytes, %v", len(content), err)
	}
	if len(long.Related) != 10_000 {
		t.Error("what the analyzer holds was cut")
	}
}
