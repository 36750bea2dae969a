// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// LatestAuditCheckpoint is the name of the one AuditCheckpoint of a cluster.
const LatestAuditCheckpoint = "latest"

// AuditPruned is what is left of the events that were deleted at the beginning of
// the chain: enough to verify the rest, and nothing of what they said.
//
// +kubebuilder:validation:XValidation:rule="int(self.beforeName) == self.before",message="beforeName must be before, zero-padded to 20 digits"
type AuditPruned struct {
	// before is the index of the first event that may still exist. Every event
	// before it is deleted, or is about to be.
	// +kubebuilder:validation:Minimum=1
	Before int64 `json:"before"`
	// beforeName is the name of that event: before, zero-padded to 20 digits. An
	// admission policy compares names of events with it.
	// +kubebuilder:validation:Pattern=`^[0-9]{20}$`
	BeforeName string `json:"beforeName"`
	// lastHash is the hash of the last event that was pruned ("sha256:" and hex),
	// which event number before names as its prevHash.
	// +kubebuilder:validation:Pattern=`^sha256:[0-9a-f]{64}$`
	LastHash string `json:"lastHash"`
	// frontier are the hashes (hex, RFC 6962) of the perfect subtrees that cover
	// the events pruned, largest first: the compact range [0, before).
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=63
	// +kubebuilder:validation:items:Pattern=`^[0-9a-f]{64}$`
	// +listType=atomic
	Frontier []string `json:"frontier"`
}

// AuditCheckpointSpec is what was signed, and what the next checkpoint goes on from.
//
// +kubebuilder:validation:XValidation:rule="self.size >= oldSelf.size",message="a checkpoint never covers fewer events than the one before"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.pruned) || (has(self.pruned) && self.pruned.before >= oldSelf.pruned.before)",message="what was pruned stays pruned"
// +kubebuilder:validation:XValidation:rule="!has(self.pruned) || self.pruned.before <= self.size",message="only what a checkpoint covers can be pruned"
type AuditCheckpointSpec struct {
	// note is the signed checkpoint (C2SP tlog-checkpoint, Ed25519): the origin
	// srenix.io/audit/ and the cluster's ID, the size, and the root of the Merkle
	// tree (RFC 6962) whose leaf number i is the 32 bytes of event i's hash.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Note string `json:"note"`
	// time at which the note was signed.
	Time metav1.MicroTime `json:"time"`
	// size is how many events the note covers: those with an index below it.
	// +kubebuilder:validation:Minimum=1
	Size int64 `json:"size"`
	// lastHash is the hash of event size-1 ("sha256:" and hex).
	// +kubebuilder:validation:Pattern=`^sha256:[0-9a-f]{64}$`
	LastHash string `json:"lastHash"`
	// frontier are the hashes (hex, RFC 6962) of the perfect subtrees that cover
	// the events, largest first: the compact range [0, size). The next checkpoint
	// adds to them, and need not read the events again.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=63
	// +kubebuilder:validation:items:Pattern=`^[0-9a-f]{64}$`
	// +listType=atomic
	Frontier []string `json:"frontier"`
	// pruned tells which events were deleted at the beginning of the chain.
	// +optional
	Pruned *AuditPruned `json:"pruned,omitempty"`
}

// AuditCheckpoint is the newest signed checkpoint of the cluster's audit chain.
// The only object is named "latest".
//
// +genclient
// +genclient:nonNamespaced
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,categories=srenix,shortName=acp
// +kubebuilder:printcolumn:name="Size",type=integer,JSONPath=`.spec.size`
// +kubebuilder:printcolumn:name="Signed",type=date,JSONPath=`.spec.time`
// +kubebuilder:printcolumn:name="Pruned-Before",type=integer,JSONPath=`.spec.pruned.before`
// +kubebuilder:validation:XValidation:rule="self.metadata.name == 'latest'",message="the only checkpoint is named latest"
type AuditCheckpoint struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is the checkpoint.
	Spec AuditCheckpointSpec `json:"spec"`
}

// AuditCheckpointList is a list of audit checkpoints.
// +kubebuilder:object:root=true
type AuditCheckpointList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AuditCheckpoint `json:"items"`
}
