// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"strings"
	"testing"
	"time"
)

func silence(ns, expires, match string) string {
	return `
apiVersion: ops.srenix.io/v1alpha1
kind: Silence
metadata: {name: known, namespace: ` + ns + `}
spec: {owner: team, reason: "the database moves", expires: "` + expires + `", match: ` + match + `}
`
}

func TestASilencedFindingIsMarkedAndHasNoProposal(t *testing.T) {
	ns := namespace(t)
	proposal := stuckStatefulSet(t, ns, "db")
	marked := func(want string) {
		t.Helper()
		eventually(t, "the finding to be silenced by "+want, func(context.Context) (bool, string) {
			have := kubectl(t, "get", "findings.srenix.io", proposal.Spec.Finding.Name, "-n", ns, "-o", "jsonpath={.status.silencedBy}")
			return have == want, have
		})
	}
	in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }
	apply(t, silence(ns, in(time.Hour), "{reasons: [OrdinalZeroNotReady]}"))
	marked("known")
	eventually(t, "the proposal to be withheld", func(context.Context) (bool, string) {
		have := kubectl(t, "get", "proposals.srenix.io", "-n", ns, "-o", "name")
		return have == "", have
	})
	if wide := kubectl(t, "get", "findings.srenix.io", "-n", ns, "-o", "wide"); !strings.Contains(wide, "SILENCED") || !strings.Contains(wide, "known") {
		t.Errorf("the table does not show it:\n%s", wide)
	}
	if rest := kubectl(t, "get", "findings.srenix.io", "-n", ns, "-l", "!srenix.io/silenced", "-o", "name"); strings.Contains(rest, proposal.Spec.Finding.Name) {
		t.Errorf("it is among those that are not silenced: %s", rest)
	}

	// It ends by itself, and is reported then.
	apply(t, silence(ns, in(2*time.Second), "{reasons: [OrdinalZeroNotReady]}"))
	marked("")
	proposalFor(t, ns, "db-0")
	eventually(t, "the silence to be reported as expired", func(context.Context) (bool, string) {
		have := kubectl(t, "get", "findings.srenix.io", "-n", ns, "-o", "jsonpath={.items[*].spec.reason}")
		return strings.Contains(have, "SilenceExpired"), have
	})

	// Owner, reason and end are required, and there is no room for nonsense.
	for name, manifest := range map[string]string{
		"no end":               strings.Replace(silence(ns, in(time.Hour), "{}"), `expires: "`, `wrong: "`, 1),
		"no owner":             strings.Replace(silence(ns, in(time.Hour), "{}"), "owner: team", `owner: " "`, 1),
		"no reason":            strings.Replace(silence(ns, in(time.Hour), "{}"), `"the database moves"`, `""`, 1),
		"an unknown severity":  silence(ns, in(time.Hour), "{severities: [Bad]}"),
		"a subject of no name": silence(ns, in(time.Hour), "{subjects: [{kind: Pod}]}"),
		"an unknown field":     silence(ns, in(time.Hour), "{regex: .*}"),
	} {
		t.Run(name, func(t *testing.T) { notStored(t, manifest) })
	}
	apply(t, silence(ns, in(time.Hour), "{}"))
	eventually(t, "the silence to be reported as over-broad", func(context.Context) (bool, string) {
		have := kubectl(t, "get", "findings.srenix.io", "-n", ns, "-o", "jsonpath={.items[*].spec.reason}")
		return strings.Contains(have, "SilenceOverBroad"), have
	})
}
