// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"

// hashChainedAudit is layer 7: the chain is in order, and the decision will
// stand in it before it takes effect; at execution, it does already. Why a head
// does not verify comes in as Unknown.
func hashChainedAudit(f *facts) v1alpha1.Verdict {
	switch {
	case f.Stage == StageStanding:
		return pending("the decision is appended to the audit chain when one is made")
	case !f.ChainVerified:
		return unread("whether the audit chain is in order")
	case f.Stage == StageApproval:
		return allowed("the audit chain is in order")
	case f.AcceptedAt.Earliest.IsZero():
		return denied("the audit chain does not know that this approval was accepted", "approve anew: kubectl create approval")
	}
	return allowed("accepted in the audit chain at " + instant(f.AcceptedAt.Latest))
}
