// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import "errors"

// Why a token was refused. Each is matched with errors.Is.
var (
	// ErrMalformed is not a JWT of the one shape that is minted, or too large.
	ErrMalformed = errors.New("the token is malformed")
	// ErrAlgorithm names another algorithm than EdDSA.
	ErrAlgorithm = errors.New("the token is not signed with EdDSA")
	// ErrUnknownKey names a key that is not published, or no longer.
	ErrUnknownKey = errors.New("the token is signed with an unknown key")
	// ErrSignature does not verify.
	ErrSignature = errors.New("the token's signature does not verify")
	// ErrIssuer was minted by somebody else.
	ErrIssuer = errors.New("the token's issuer is not srenix")
	// ErrAudience was minted for another cluster, or for the other of dry runs and decisions.
	ErrAudience = errors.New("the token is for another cluster, or for a dry run and not a decision, or the other way round")
	// ErrClaims lacks a claim, or one is out of bounds.
	ErrClaims = errors.New("a claim of the token is missing or out of bounds")
	// ErrExpired is past its exp.
	ErrExpired = errors.New("the token has expired")
	// ErrNotYetValid is before its nbf or iat.
	ErrNotYetValid = errors.New("the token is not valid yet")
	// ErrNoSigningKey means that there is nothing to sign with.
	ErrNoSigningKey = errors.New("no signing key")
)
