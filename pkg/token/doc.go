// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package token mints and verifies the credential that an approval carries: a
// JWT signed with Ed25519 which binds one person, one proposal and one digest.
// It also keeps the keys: a Secret that only the API server reads, and a JWKS
// ConfigMap that anybody who verifies may read.
//
// It knows nothing of policy. Whether a valid token is enough, was used before
// or fits what is being approved is decided elsewhere (package policy). Errors
// never contain a token or a part of one.
package token
