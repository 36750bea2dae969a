// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package tiers holds what a model is asked about a finding, and what may be made of
// its answers.
//
//   - Tier 0, Narrate: a few sentences for people, with objects to look at.
//   - Tier 1, Choose: the name of one fixer out of a list, or none.
//   - Tier 3, Draft: a runbook for people, of commands of a list and without any value.
//
// A prompt consists of facts, whose words come from the code of srenix and from
// pseudonyms, and of data, which somebody in the cluster wrote: messages, logs, events.
// Everything in data is tainted. It is redacted, fenced and stripped of the names that
// can be chosen, and still nobody can be sure that a model does not obey it. So answers
// are not believed:
//
//   - A narrative has a form, and neither links nor commands, nor hosts that the facts
//     do not name. It decides nothing.
//   - A choice is a name of the list, or none. Whatever else is answered is no choice.
//   - A draft is screened word by word, and thrown away as a whole if one is neither
//     ordinary, nor a name that the model was told, nor a placeholder. Nothing runs it.
//   - The model is asked for a choice twice: with the data, and with data of the same
//     shape whose letters are drawn anew. A choice that the data decides is quarantined:
//     nothing is proposed because of it, and a person can see what was tried.
//
// The package knows nothing of clients and of what fixers do. Its callers fall back to
// what they do without a model on every error and on every quarantine.
package tiers
