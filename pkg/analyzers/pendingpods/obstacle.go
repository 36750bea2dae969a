// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package pendingpods

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/srenix/srenix/pkg/analyzers/workloads"
)

// obstacle is what keeps a pod from some node, or from every one: a reason, and what
// the scheduler calls it.
type obstacle struct {
	reason string
	// what are resources, taints or rules by name, where the scheduler names them.
	what []string
	// rank is lower of what tells more.
	rank int
}

// signs are parts of what the scheduler's filters say, from the filter that comes
// last (k8s.io/kubernetes, pkg/scheduler/apis/config/v1 and framework/plugins). A
// node names the first filter that it fails, so of nodes that name a later one less
// stands in the way. Before all others goes that a node is too full, though filters come
// after that one: the pod tolerates and selects such a node, and with room there the
// rest may hold, whatever it is of other nodes.
var signs = []struct {
	part, reason, what string
}{
	{"pod anti-affinity rules", AffinityUnsatisfied, "its anti-affinity to other pods"},
	{"existing pods anti-affinity", AffinityUnsatisfied, "the anti-affinity of pods that run"},
	{"pod affinity rules", AffinityUnsatisfied, "its affinity to other pods"},
	{"topology spread constraints", AffinityUnsatisfied, "its topology spread constraints"},
	{"volume", VolumeUnavailable, ""},
	{"pvc", VolumeUnavailable, ""},
	{"no available disk", VolumeUnavailable, ""},
	{"enough free storage", VolumeUnavailable, ""},
	{"insufficient ", InsufficientResources, ""},
	{"too many pods", InsufficientResources, "pods"},
	{"resourceclaim", InsufficientResources, "devices"},
	{"cannot allocate all claims", InsufficientResources, "devices"},
	{"free ports", PortsTaken, ""},
	{"node affinity", AffinityUnsatisfied, "its node selector or affinity"},
	{"node selector", AffinityUnsatisfied, "its node selector or affinity"},
	{"requested node name", AffinityUnsatisfied, "the node name that it asks for"},
	{"required features", AffinityUnsatisfied, "the features that it needs"},
	{"taint", UntoleratedTaints, ""},
	{"were unschedulable", UntoleratedTaints, cordoned},
}

// cordoned is what the scheduler calls unschedulable.
const cordoned = "cordoned"

var (
	insufficient = regexp.MustCompile(`Insufficient ([A-Za-z0-9][A-Za-z0-9./_-]*)`)
	taint        = regexp.MustCompile(`taint \{([^{}]*)\}`)
)

// obstaclesOf reads what the scheduler wrote into the condition PodScheduled, what tells
// most first: at least one. How many nodes there are, and what preemption could do, is
// passed over: it changes all the time.
func obstaclesOf(message string) []obstacle {
	message, _, _ = strings.Cut(message, "preemption:")
	var all []obstacle
	for part := range strings.SplitSeq(message, ", ") {
		found, says := obstacleOf(part, message)
		if says && !slices.ContainsFunc(all, func(o obstacle) bool { return o.some() == found.some() }) {
			all = append(all, found)
		}
	}
	if len(all) == 0 {
		return []obstacle{{reason: Unschedulable, rank: 2 * len(signs)}}
	}
	slices.SortFunc(all, func(x, y obstacle) int { return cmp.Compare(x.rank, y.rank) })
	return all
}

// obstacleOf reads what one part of a message says, with the names that the whole has.
func obstacleOf(part, message string) (obstacle, bool) {
	part = strings.ToLower(part)
	for i, sign := range signs {
		if !strings.Contains(part, sign.part) {
			continue
		}
		found := obstacle{reason: sign.reason, rank: len(signs) + i}
		if sign.reason == InsufficientResources {
			found.rank = i
		}
		switch {
		case sign.what != "":
			found.what = []string{sign.what}
		case sign.reason == InsufficientResources:
			found.what = named(insufficient, message)
		case sign.reason == UntoleratedTaints:
			found.what = named(taint, message)
		}
		return found, true
	}
	return obstacle{}, false
}

func named(pattern *regexp.Regexp, message string) []string {
	var names []string
	for _, match := range pattern.FindAllStringSubmatch(message, -1) {
		if name := strings.Trim(match[1], " .:"); name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// String says in the rest of a sentence why there is no node.
func (o obstacle) String() string {
	what := workloads.Names(o.what)
	switch o.reason {
	case InsufficientResources:
		return fmt.Sprintf("no node that it may run on has enough %s left", cmp.Or(what, "room"))
	case UntoleratedTaints:
		return tainted("the nodes", "the nodes that are left", what)
	case AffinityUnsatisfied:
		return fmt.Sprintf("no node satisfies %s", what)
	case VolumeUnavailable:
		return "a volume that it needs cannot be had, or not on a node that it may run on"
	case PortsTaken:
		return "the host ports that it asks for are taken on every node that it may run on"
	}
	return "the scheduler has none for it"
}

// tainted says of nodes, or of those that are left, which taints they have.
func tainted(nodes, left, what string) string {
	switch what {
	case "":
		return nodes + " have taints that it does not tolerate"
	case cordoned:
		return left + " are cordoned"
	}
	return fmt.Sprintf("%s have taints that it does not tolerate (%s)", nodes, what)
}

// some says what of the nodes that it keeps a pod from.
func (o obstacle) some() string {
	what := workloads.Names(o.what)
	switch o.reason {
	case InsufficientResources:
		return fmt.Sprintf("some have too little %s left", cmp.Or(what, "room"))
	case UntoleratedTaints:
		return tainted("some", "some", what)
	case AffinityUnsatisfied:
		return "some do not satisfy " + what
	case VolumeUnavailable:
		return "some cannot have a volume that it needs"
	}
	return "some have the host ports taken that it asks for"
}

// told says in the rest of a sentence why there is no node: what tells most, and then
// what else stands in the way.
func told(obstacles []obstacle) string {
	text := obstacles[0].String()
	for i, o := range obstacles[1:] {
		separator := ", "
		if i == 0 {
			separator = "; "
		}
		text += separator + o.some()
	}
	return text
}
