// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"

// access is the check on top of the layers: srenix is nobody's deputy, so the
// approver must be allowed to do the action themselves, and to approve its kind.
func access(f *facts) v1alpha1.Verdict {
	if f.actsOnNothing() {
		return noAction()
	}
	if f.Stage == StageStanding {
		return pending("the approver's own rights are checked when one approves")
	}
	if f.claims == nil {
		return denied("it is not known who approves: "+f.tokenErr.Error(), mintAnother)
	}
	if f.AccessDenied == nil {
		return unread("whether the approver may do this")
	}
	if *f.AccessDenied != "" {
		return denied(*f.AccessDenied, "ask somebody who has these rights to approve")
	}
	return allowed(f.claims.Subject + " may do this, and may approve it")
}
