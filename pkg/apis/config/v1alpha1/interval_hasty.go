// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build srenix_hasty_approvals

package v1alpha1

import "time"

// DefaultApprovalInterval, for programs that a test builds with this tag in order
// to see a runbook released without waiting for half an hour.
const DefaultApprovalInterval = 4 * time.Second
