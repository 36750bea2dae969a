// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package approval is `kubectl create approval`: it shows a proposal, asks, has
// a token minted for the person who asks, and posts the decision; or it prints
// an Approval to commit to Git.
//
// It judges nothing. Whether a decision counts is the server's to say, also
// when the proposal reads Blocked. What it does check is that the digest which
// is signed is the digest of what it shows. A token is never printed, except
// inside the manifest that was asked for.
package approval
