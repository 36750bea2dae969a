// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"errors"
	"iter"
	"strings"
	"testing"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

func TestLogsOfSeveralComponentsVerifyTogether(t *testing.T) {
	chain := chainOf(t, 10)
	var apiserver, executor, shipped []opsv1alpha1.AuditEventSpec
	for i, event := range chain {
		if i%3 == 0 {
			executor = append(executor, event)
		} else {
			apiserver = append(apiserver, event)
		}
		if i < 6 { // a shipper that delivered some once more
			shipped = append(shipped, event)
		}
	}
	whole, err := Verify(sequence(chain))
	if err != nil {
		t.Fatal(err)
	}
	for name, logs := range map[string][]iter.Seq2[opsv1alpha1.AuditEventSpec, error]{
		"two components":      {sequence(apiserver), sequence(executor)},
		"in the other order":  {sequence(executor), sequence(apiserver)},
		"with repeated lines": {sequence(apiserver), sequence(executor), sequence(shipped)},
		"one, and an empty":   {sequence(chain), sequence(nil)},
	} {
		if merged, err := Verify(Merge(logs...)); err != nil || merged != whole {
			t.Errorf("%s: %+v, %v; want %+v", name, merged, err, whole)
		}
	}
	forged := append([]opsv1alpha1.AuditEventSpec{}, executor...)
	forged[1].Actor = "somebody"
	var bad *BadLink
	if _, err := Verify(Merge(sequence(apiserver), sequence(forged))); !errors.As(err, &bad) || bad.Index != forged[1].Index {
		t.Errorf("an edited event: %v", err)
	}
	if _, err := Verify(Merge(sequence(chain), sequence(forged))); !errors.As(err, &bad) {
		t.Errorf("two events of one index: %v", err)
	}
	if _, err := Verify(Merge(sequence(apiserver))); !errors.As(err, &bad) {
		t.Errorf("half of the chain: %v", err)
	}
	if _, err := Verify(Merge(sequence(chain), ReadJSONL(strings.NewReader("nonsense")))); err == nil || errors.As(err, &bad) {
		t.Errorf("a log that cannot be read: %v", err)
	}
}
