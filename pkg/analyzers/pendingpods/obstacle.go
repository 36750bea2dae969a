// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package pendingpods

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/srenix/srenix/pkg/analyzers/workloads"
)

// obstacle is what keeps a pod from every node: a reason, and what the scheduler
// calls it.
type obstacle struct {
	reason string
	// what are resources, taints or rules by name, where the scheduler names them.
	what []string
	// rank is lower of a filter that comes later, which tells more.
	rank int
}

// signs are parts of what the scheduler's filters say, from the filter that comes
// last (k8s.io/kubernetes, pkg/scheduler/apis/config/v1 and framework/plugins). A
// node names the first filter that it fails, so the last one that is named is that of
// the nodes which come nearest to fitting.
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
	{"were unschedulable", UntoleratedTaints, "cordoned"},
}

var (
	insufficient = regexp.MustCompile(`Insufficient ([A-Za-z0-9][A-Za-z0-9./_-]*)`)
	taint        = regexp.MustCompile(`taint \{([^{}]*)\}`)
)

// obstacleOf reads what the scheduler wrote into the condition PodScheduled. How many
// nodes there are, and what preemption could do, is passed over: it changes all the time.
func obstacleOf(message string) obstacle {
	message, _, _ = strings.Cut(message, "preemption:")
	lower := strings.ToLower(message)
	for rank, sign := range signs {
		if !strings.Contains(lower, sign.part) {
			continue
		}
		found := obstacle{reason: sign.reason, rank: rank}
		switch {
		case sign.what != "":
			found.what = []string{sign.what}
		case sign.reason == InsufficientResources:
			found.what = named(insufficient, message)
		case sign.reason == UntoleratedTaints:
			found.what = named(taint, message)
		}
		return found
	}
	return obstacle{reason: Unschedulable, rank: len(signs)}
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
		if what == "" {
			what = "room"
		}
		return fmt.Sprintf("no node that it may run on has enough %s left", what)
	case UntoleratedTaints:
		switch what {
		case "":
			return "the nodes have taints that it does not tolerate"
		case "cordoned":
			return "the nodes that are left are cordoned"
		}
		return fmt.Sprintf("the nodes have taints that it does not tolerate (%s)", what)
	case AffinityUnsatisfied:
		return fmt.Sprintf("no node satisfies %s", what)
	case VolumeUnavailable:
		return "a volume that it needs cannot be had, or not on a node that it may run on"
	case PortsTaken:
		return "the host ports that it asks for are taken on every node that it may run on"
	}
	return "the scheduler has none for it"
}
