// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"

// access is the check on top of the layers: whoever decides must be allowed to, however
// the decision comes in. And srenix is nobody's deputy, so that an approver must be
// allowed to do the action themselves, too, and to approve its kind. A no that was
// accepted stands.
func access(f *facts) v1alpha1.Verdict {
	if f.Stage == StageStanding {
		return pending("the approver's own rights are checked when one approves")
	}
	if f.actsOnNothing() && f.Stage == StageExecution {
		return noAction()
	}
	if f.claims == nil {
		return denied("it is not known who approves: "+f.tokenErr.Error(), mintAnother)
	}
	if f.AccessDenied == nil {
		return unread("whether the approver may do this")
	}
	if *f.AccessDenied != "" {
		return denied(*f.AccessDenied, "ask somebody who has these rights to decide")
	}
	if f.actsOnNothing() {
		return allowed(f.claims.Subject + " may decide about this")
	}
	return allowed(f.claims.Subject + " may do this, and may approve it")
}
