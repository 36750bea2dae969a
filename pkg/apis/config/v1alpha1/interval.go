// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !srenix_hasty_approvals

package v1alpha1

import "time"

// DefaultApprovalInterval is the least time between two approvals where more
// than one is needed. Configuration can lengthen it, and nothing shortens it.
const DefaultApprovalInterval = 30 * time.Minute
