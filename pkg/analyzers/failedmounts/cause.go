// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package failedmounts

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
)

// cause is why a pod does not start.
type cause struct {
	// reason is empty if nobody says why a volume is not there.
	reason, volume, text string
	// rank is lower of what tells more.
	rank int
}

// Parts of what the kubelet, its volume plugins and the attach-detach controller say
// (k8s.io/kubernetes, pkg/volume and pkg/controller/volume/attachdetach).
var (
	missing = regexp.MustCompile(`(?i)((secrets?|configmaps?|persistentvolumeclaims?|serviceaccounts?) "[^"]+" not found|references non-existent (secret|config) key)`)
	inUse   = regexp.MustCompile(`(?i)(multi-attach error|already used by|already exclusively attached|already attached to (another|a different)|volume is in use|still in use)`)
	volume  = regexp.MustCompile(`for volume "([^"]+)"\s*:?\s*`)
	unmount = regexp.MustCompile(`unmounted volumes=\[([^\]]*)\]`)
)

// What the kubelet and container runtimes put around the words that stay the same from
// one try to make a sandbox to the next (k8s.io/client-go, tools/record, for the first).
var (
	around    = regexp.MustCompile(`\(combined from similar events\): |Failed to create pod sandbox: |rpc error: code = \w+ desc = `)
	sandboxID = regexp.MustCompile(` ?"?[0-9a-f]{32,}"?`)
)

// causeOf reads what an event about a pod's sandbox or one of its volumes says. Of the
// kubelet's own sum of what it waits for, only the names of the volumes say anything.
func causeOf(event *corev1.Event) cause {
	if event.Reason == noSandbox {
		return cause{reason: SandboxFailed, text: inputs.Sentence(sandboxID.ReplaceAllString(around.ReplaceAllString(event.Message, ""), ""))}
	}
	c := cause{reason: VolumeMountFailed, text: event.Message, rank: 3}
	if at := volume.FindStringSubmatchIndex(event.Message); at != nil {
		c.volume, c.text = event.Message[at[2]:at[3]], event.Message[at[1]:]
	} else if names := unmount.FindStringSubmatch(event.Message); names != nil {
		fields := strings.FieldsFunc(names[1], func(r rune) bool { return r == ' ' || r == ',' })
		slices.Sort(fields)
		c = cause{volume: strings.Join(fields, ", "), text: "they are not there in time", rank: 4}
		if len(fields) == 1 {
			c.text = "it is not there in time"
		}
	}
	switch {
	case missing.MatchString(event.Message):
		c.reason, c.rank = VolumeContentMissing, 0
	case inUse.MatchString(event.Message):
		c.reason, c.rank = VolumeInUse, 1
	case event.Reason == "FailedAttachVolume":
		c.reason, c.rank = VolumeAttachFailed, 2
	}
	c.text = inputs.Sentence(c.text)
	return c
}

// first returns the cause that tells most. Which of the events is the newest changes
// all the time, so it does not matter.
func first(causes []cause) cause { return slices.MinFunc(causes, compare) }

func compare(x, y cause) int {
	return cmp.Or(cmp.Compare(x.rank, y.rank), cmp.Compare(x.volume, y.volume), cmp.Compare(x.text, y.text))
}
