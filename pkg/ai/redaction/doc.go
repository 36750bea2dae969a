// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package redaction makes what a model may see out of what a cluster says, and puts
// names back into what the model answers.
//
// Three things happen to a text, in this order:
//
//  1. Masking. Credentials, keys, hashes, addresses and whatever looks random become
//     words in brackets, such as [secret] or [address]. This cannot be undone.
//  2. Pseudonyms. Names that the caller knows become words such as pod-3f9a61c02b7d,
//     which the key of the cluster decides. They are the same in each prompt, and only
//     the Redactor that made them puts the names back.
//  3. Fencing. Text that somebody in the cluster wrote is marked as data, line by line,
//     and passages that read like instructions are cut out of it.
//
// Redacting a redacted text changes nothing, so nobody has to know whether a text has
// been through it.
//
// What it cannot do: a password made of ordinary words is only known for one by what
// stands around it, as in password=..., and a name that the caller does not give is
// left as it stands. Callers give every name that they have read.
//
// The package knows nothing of prompts, of models or of the Kubernetes API.
package redaction
