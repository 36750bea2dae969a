// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package live keeps computed collections of objects up to date with a Kubernetes
// cluster: it is to watches what a materialized view is to tables.
//
// # Kinds and rules
//
// A Kind is a collection. Inputs (NewInput) hold what the API server has of one
// resource, trimmed to what matters. Derived kinds (NewDerived) hold what rules
// compute. A Rule is a function from one subject, an object of some kind, to the
// objects it gives rise to. It reads the cluster, its own subject included,
// through the View it is handed, by key, by index, or by namespace and label
// selector, and it must depend on nothing else:
//
//	Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
//		pod, ok := Pods.Get(v, subject)
//		...
//		if _, ok := Nodes.Get(v, live.Key{Name: pod.Spec.NodeName}); !ok {
//			return []live.Output{live.Emit(Problems, problem(pod))}, nil
//		}
//		return nil, nil
//	}
//
// Each read is remembered. When something changes that matches a read, exactly
// the subjects that made it are evaluated again, and what they return replaces
// what they returned before: the rule says what is so, never what to add or
// remove. Objects are compared by value; equal ones make no event. Derived kinds
// can be read, and be subjects, like inputs, but never in a cycle. ExampleEngine
// has all of it in one place.
//
// # Time
//
// There is no polling and no periodic rescan. A rule whose answer changes with
// time says when, with View.RecheckAt, and is evaluated then. View.FirstObserved
// remembers when a condition began that no object dates, View.Began the earliest
// time that an object told, and View.Observed asks for either without keeping it; a
// Memory lets that outlive the engine. When the clock is set back, what asked for the
// time is evaluated again.
//
// # Unknown is not healthy
//
// An input is Syncing, Synced, NotInstalled, Forbidden or Failing, or NotRead of a source
// that holds a part of a cluster. Unless it is
// Synced, or NotInstalled and declared Optional, what it holds says nothing
// about the cluster as it is. An evaluation that reads such an input is
// discarded: what the subject put out before stays, and the subject is evaluated
// again once the input is known. Objects of an input that is lost stay as they
// were. Inputs are retried forever and heal by themselves. An Advisory input is
// the exception: what people have noted down about trouble must not hide it. And
// View.Try lets a rule go on without what only enriches its answer.
//
// What is not found is not installed only if it has no CustomResourceDefinition either.
// A resource that answers 404 although its definition is there is unknown like any other
// that fails: it may be served in other versions only, or something else answers in the
// API server's place. Where definitions were never read, since they are forbidden or
// fail, nothing tells the two apart: an Optional input that answers 404 is Forbidden or
// Failing as they are, and what is missing is the right to read them. Definitions that
// are lost count as they were read last, for what they did not have.
//
// An engine that has just started has no outputs of before to keep. So its first sync
// (WaitForSync) waits for inputs that are Failing as it does for those that are
// Syncing, for as long as Options.SyncTimeout: before it, derived collections say
// nothing of the cluster. Forbidden and NotInstalled are answers, and not waited for.
//
// An input is Failing after a few errors in a row, or after half a minute without
// news, whatever the API server does with the requests: while a list is read, or
// a watch is between its end and its beginning, nothing is heard. Once watching
// was lost for that long, only a list makes the input known again. A request that is
// not answered is given up and made again, after a minute at first and eight at last. An
// input is
// Failing too while it has an object that its Trim or its index functions panic
// for; that object stays as it was before, and all others are kept up to date.
//
// An open watch that brings nothing is believed: nothing may have happened. But once
// the API server has sent a bookmark on it, as kube-apiserver does every minute, three
// minutes without an event or a bookmark are taken for its loss, as behind a proxy that
// lost its own way on: the input is Failing, and listed anew. That goes for watches that
// are opened later, too. An input that never had a bookmark is not judged, for not every
// API server sends any.
//
// What no watch tells is that the API server has lost its storage. While etcd does not
// answer, kube-apiserver keeps watches open, opens new ones from its cache, and goes on
// sending bookmarks, with the version that it heard of last: as if nothing were
// written. Inputs are Synced as of that version then, until kube-apiserver, which is
// not ready all the while, is restarted or taken out by whoever balances its load.
//
// Statuses is the collection that tells which rules are degraded and why: an
// input that is not known, a panic, an error, or a conflict between two writers
// of one object, of which the least by the names of rule and subject wins. It can be read by rules and subscribed
// to like any other. A rule that fails, panics or hangs harms nothing but itself;
// Run ends without evaluations that hang, and says so.
//
// A derived kind becomes known once the rules that write it have worked off the
// first state of all they read; no rule is evaluated before everything it reads
// has had a first state. From then on a derived kind is as good as its writers,
// and their statuses say how good that is.
//
// # Consistency
//
// Each rule has workers of its own, which evaluate one subject at a time. Each sees
// the newest state of what it reads, not one state of everything. What it reads
// while that changes makes it run again, so once nothing is left to do (Settled),
// derived collections equal what a new engine would compute from the same inputs
// at the same time. A test holds the package to that for random histories.
//
// # Cost
//
// A change costs the look-up of those who read it and their evaluations, and one
// match for each distinct selector that was read in its namespace, or in all; how
// many objects there are does not matter. Subjects are coalesced while they wait. Beside
// the objects, memory is proportional to the recorded reads and outputs: a
// subject that reads only itself and puts out nothing takes none.
//
// Objects are shared between the engine, rules and subscribers, and nobody may
// change them.
//
// The package knows Kubernetes objects and client-go, and nothing of what rules
// are about.
package live
