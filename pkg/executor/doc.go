// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package executor carries approvals out: it claims one, looks again at whether
// it still holds, records its intent, acts once, and watches whether the finding
// clears. It holds the only identity of srenix that may change a workload.
//
// It signs nothing, reads no Secret, and knows nothing of models or of how
// findings are computed. Everything that it decides on is read from
// kube-apiserver at that moment; its cache only tells it when to look.
//
// # At most once
//
// An approval acts at most once, whatever crashes and however many executors
// run. Leader election keeps them from working twice; safety does not rest on it:
//
//  1. The claim is a status update with the resourceVersion that was read.
//  2. The intent is an event of the audit chain, which is totally ordered. An
//     approval, or another one of the same digest, that has an earlier intent
//     which did not come to nothing, acts no more.
//  3. The name of the intent goes into the status of the claim that is still
//     held, again by resourceVersion. Only the executor whose update succeeded
//     acts, and only in the call that made it.
//  4. From the intent on, nobody acts for this approval anew. Whoever finds an
//     intent without a result settles by looking: what is there to see counts at
//     once, and that nothing is there to see counts after SettleAfter, when the
//     executor that recorded the intent can no longer be acting.
//
// Until there is an intent nothing was done, and a claim can be taken over.
package executor
