// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package fixers names what can be chosen to mend a finding by those who do not act:
// a model reads the descriptions, and answers with a name. What a name stands for, and
// whether it can be offered for a finding, is for pkg/proposals to say.
package fixers

// Names of fixers.
const (
	ReplaceOutdatedPod       = "replace-outdated-pod"
	ReplaceCrashingPod       = "replace-crashing-pod"
	RestartDeployment        = "restart-deployment"
	RestartStuckRollout      = "restart-stuck-rollout"
	RemoveFailedPod          = "remove-failed-pod"
	RemoveFailedPodOfJob     = "remove-failed-pod-of-job"
	RenewCertificateRequest  = "renew-certificate-request"
	ServeCoveringCertificate = "serve-covering-certificate"
)

// Fixer is what can be chosen.
type Fixer struct {
	// Name in lower case with dashes.
	Name string
	// Description tells in a sentence what it does and when it helps.
	Description string
}

// All returns all fixers, in the order in which they are offered. Each is only
// proposed where it fits the state of the cluster.
func All() []Fixer {
	return []Fixer{
		{ReplaceOutdatedPod, "deletes a pod of a StatefulSet that is of an earlier revision, so that the next one is made from the present template; for trouble that was mended in the template already"},
		{ReplaceCrashingPod, "deletes a pod that waits between two crashes, so that a fresh one starts at once; for crashes over a ConfigMap or Secret that was changed since"},
		{RestartDeployment, "restarts the pods of a Deployment one after the other; for pods that run with a ConfigMap or Secret as it was before it changed"},
		{RestartStuckRollout, "begins the rollout of a Deployment anew; for new pods that run, do not crash and do not become ready, over a ConfigMap or Secret that was made or changed since they started"},
		{RemoveFailedPod, "deletes what is left of a failed pod that nobody controls; only clears up"},
		{RemoveFailedPodOfJob, "deletes the last failed pod of a Job that has given up; only clears up"},
		{RenewCertificateRequest, "deletes a CertificateRequest that failed, so that cert-manager makes another; for failures that are over"},
		{ServeCoveringCertificate, "points an Ingress at the Secret of a valid certificate that covers the same hosts; for one that serves an old certificate"},
	}
}
