// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package artifacts

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/registry/customresource/tableconvertor"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// TestTheWideTableOfApprovalsTellsWhy prints approvals by kube-apiserver's own code. A
// person's no and a yes that the policy refused are in the same phase.
func TestTheWideTableOfApprovalsTellsWhy(t *testing.T) {
	manifest, err := os.ReadFile("kustomize/base/crds/ops.srenix.io_approvals.yaml")
	if err != nil {
		t.Fatal(err)
	}
	definition := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(manifest, definition); err != nil {
		t.Fatal(err)
	}
	convertor, err := tableconvertor.New(definition.Spec.Versions[0].AdditionalPrinterColumns)
	if err != nil {
		t.Fatal(err)
	}
	approval := func(name string, decision v1alpha1.Decision, status opsv1alpha1.ApprovalStatus) opsv1alpha1.Approval {
		return opsv1alpha1.Approval{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: opsv1alpha1.ApprovalSpec{
				Decision: decision, Proposal: opsv1alpha1.ProposalReference{Name: "fix"},
				Snapshot: v1alpha1.ProposalSpec{ActionKind: v1alpha1.ActionDeletePod, Target: v1alpha1.ObjectReference{Kind: "Pod", Name: "db-0"}},
			},
			Status: status,
		}
	}
	because := func(condition, reason string) []metav1.Condition {
		return []metav1.Condition{{Type: condition, Status: metav1.ConditionFalse, Reason: reason}}
	}
	table, err := convertor.ConvertToTable(t.Context(), &opsv1alpha1.ApprovalList{Items: []opsv1alpha1.Approval{
		approval("new", v1alpha1.DecisionApprove, opsv1alpha1.ApprovalStatus{}),
		approval("no", v1alpha1.DecisionDeny, opsv1alpha1.ApprovalStatus{
			Phase: opsv1alpha1.PhaseDenied, Approver: "bob", Message: "bob said no", Conditions: because(opsv1alpha1.ConditionAccepted, "DeniedByPerson"),
		}),
		approval("refused", v1alpha1.DecisionApprove, opsv1alpha1.ApprovalStatus{
			Phase: opsv1alpha1.PhaseDenied, Approver: "bob", Message: "TargetScope: it is gone", Conditions: because(opsv1alpha1.ConditionAccepted, "DeniedByPolicy"),
		}),
		approval("failed", v1alpha1.DecisionApprove, opsv1alpha1.ApprovalStatus{
			Phase: opsv1alpha1.PhaseFailed, Approver: "bob", Message: "a webhook refused it", Conditions: because(opsv1alpha1.ConditionExecuted, "Refused"),
		}),
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		mostPriority int32
		want         string
	}{
		{0, `Name Proposal Action Decision Approver Phase Verified
new fix DeletePod Approve - - -
no fix DeletePod Deny bob Denied -
refused fix DeletePod Approve bob Denied -
failed fix DeletePod Approve bob Failed -
`},
		{1, `Name Proposal Action Decision Approver Phase Verified Kind Target Accepted Executed Message
new fix DeletePod Approve - - - Pod db-0 - - -
no fix DeletePod Deny bob Denied - Pod db-0 DeniedByPerson - bob said no
refused fix DeletePod Approve bob Denied - Pod db-0 DeniedByPolicy - TargetScope: it is gone
failed fix DeletePod Approve bob Failed - Pod db-0 - Refused a webhook refused it
`},
	} {
		var have strings.Builder
		line := func(cell func(int) any) {
			var cells []string
			for i, column := range table.ColumnDefinitions {
				if column.Priority > test.mostPriority || column.Name == "Age" {
					continue
				}
				text := "-"
				if value := cell(i); value != nil {
					text = fmt.Sprint(value)
				}
				cells = append(cells, text)
			}
			have.WriteString(strings.Join(cells, " ") + "\n")
		}
		line(func(i int) any { return table.ColumnDefinitions[i].Name })
		for _, row := range table.Rows {
			line(func(i int) any { return row.Cells[i] })
		}
		if diff := cmp.Diff(test.want, have.String()); diff != "" {
			t.Errorf("up to priority %d (-want +have)\n%s", test.mostPriority, diff)
		}
	}
}
