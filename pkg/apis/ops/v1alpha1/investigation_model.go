// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// OutcomeInterrupted is that of a call whose program ended first. What it used is not
// known, so that the most that it may have used counts.
const OutcomeInterrupted = "Interrupted"

// ModelCall is one call of a model. Neither the prompt nor the answer is kept.
type ModelCall struct {
	// id is a UUID, by which the audit event of the call is found.
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`
	ID string `json:"id"`
	// by is on whose behalf: who asked for the investigation, or system:srenix.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	By string `json:"by"`
	// at is when it began.
	At metav1.Time `json:"at"`
	// model as the endpoint was asked for it.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Model string `json:"model"`
	// prompt is the version of the prompt, as "narrate/1".
	// +kubebuilder:validation:Pattern=`^[a-z]+/[0-9]+$`
	// +kubebuilder:validation:MaxLength=63
	Prompt string `json:"prompt"`
	// about is the SHA-256, in hexadecimal, of what was known of the finding. Calls about
	// the same are one investigation by a model, of which there is a budget.
	// +optional
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{64}$`
	About string `json:"about,omitempty"`
	// promptHash is "sha256:" and the SHA-256 of what the model was told, in hexadecimal.
	// +optional
	// +kubebuilder:validation:Pattern=`^sha256:[0-9a-f]{64}$`
	PromptHash string `json:"promptHash,omitempty"`
	// answerHash is that of what it answered; empty if that was nothing.
	// +optional
	// +kubebuilder:validation:Pattern=`^sha256:[0-9a-f]{64}$`
	AnswerHash string `json:"answerHash,omitempty"`
	// promptTokens are what the prompt used, in all attempts. While the call is under
	// way, promptTokens and answerTokens are the most that it may use.
	// +kubebuilder:validation:Minimum=0
	PromptTokens int64 `json:"promptTokens"`
	// answerTokens are what the answers used.
	// +kubebuilder:validation:Minimum=0
	AnswerTokens int64 `json:"answerTokens"`
	// estimated tells that the endpoint did not say so of each attempt.
	// +optional
	Estimated bool `json:"estimated,omitempty"`
	// attempts are the requests that were sent; 0 of a call that was not made, as because
	// the budget was used up.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Attempts int32 `json:"attempts,omitempty"`
	// outcome is OK, or a CamelCase word for why there was no answer that is of use;
	// empty while the call is under way.
	// +optional
	// +kubebuilder:validation:Pattern=`^[A-Z][A-Za-z0-9]{0,63}$`
	Outcome string `json:"outcome,omitempty"`
}

// ChosenFix is which fixer a model would have mend a finding.
type ChosenFix struct {
	// fixer is its name; empty if the model chose none, or is not believed.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z][a-z0-9-]*$`
	Fixer string `json:"fixer,omitempty"`
	// quarantined tells that the model chose something else when the texts from the
	// cluster were scrambled. Nothing is proposed because of either.
	// +optional
	Quarantined bool `json:"quarantined,omitempty"`
	// answered and control are what it chose in quarantine, with the texts and with
	// them scrambled: the name of a fixer, "none", or nothing for what was no choice.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z][a-z0-9-]*$`
	Answered string `json:"answered,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z][a-z0-9-]*$`
	Control string `json:"control,omitempty"`
	// hash is the SHA-256, in hexadecimal, of what the model was asked. The same is not
	// asked again.
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{64}$`
	Hash string `json:"hash"`
}

// ModelInvestigation is what came of letting a model look into a finding itself.
type ModelInvestigation struct {
	// rootCause says in a line what the model takes for the cause, or that the data are
	// insufficient. It is empty if its answers were of no use.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	RootCause string `json:"rootCause,omitempty"`
	// evidence is what it had read, in that order.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=6
	Evidence []Evidence `json:"evidence,omitempty"`
	// hash is the SHA-256, in hexadecimal, of what it began with. It does not look into
	// the same again.
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{64}$`
	Hash string `json:"hash"`
}

// ChosenStep is one step of a plan: which fixer a model would have mend which finding.
type ChosenStep struct {
	// finding is one in the namespace of the investigation.
	Finding InvestigatedFinding `json:"finding"`
	// fixer is the name of the fixer.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z][a-z0-9-]*$`
	Fixer string `json:"fixer"`
}

// ChosenPlan is in which order a model would have findings mended that belong together.
type ChosenPlan struct {
	// steps in their order; none if the model made no plan, or is not believed.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=5
	Steps []ChosenStep `json:"steps,omitempty"`
	// quarantined tells that the model chose something else when the texts from the
	// cluster were scrambled. Nothing is proposed because of either.
	// +optional
	Quarantined bool `json:"quarantined,omitempty"`
	// hash is the SHA-256, in hexadecimal, of what the model was asked. The same is not
	// asked again.
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{64}$`
	Hash string `json:"hash"`
}
