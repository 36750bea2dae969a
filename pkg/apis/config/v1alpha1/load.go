// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"fmt"
	"os"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"

	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// SchemeGroupVersion is the group and version of this package.
var SchemeGroupVersion = schema.GroupVersion{Group: "config.srenix.io", Version: "v1alpha1"}

const (
	// DefaultApprovalsPerHour is the budget of a pair of approver and diagnostic class.
	DefaultApprovalsPerHour = 10
	// DefaultMaxTokenLifetime bounds a token that travels through Git.
	DefaultMaxTokenLifetime = 24 * time.Hour
	// DefaultSettleTime is how long a finding must stay cleared, and
	// MinimumSettleTime the least that makes one look more than a single one.
	DefaultSettleTime = 30 * time.Second
	MinimumSettleTime = time.Second
	// DefaultVerifyDeadline is by when a finding must have cleared and stayed so.
	DefaultVerifyDeadline = 10 * time.Minute
	// DefaultRetention is how long audit events are kept, and MinimumRetention the
	// least that they can be, unless they are kept for ever.
	DefaultRetention = 90 * 24 * time.Hour
	MinimumRetention = 7 * 24 * time.Hour
	// DefaultBreakerThreshold is how many failures in a row open a breaker.
	DefaultBreakerThreshold = 3
)

// Load reads the file at path; an empty path gives the defaults. Unknown and
// duplicate fields are errors that name them. The result is defaulted and validated.
func Load(path string) (*SrenixConfiguration, error) {
	configuration := &SrenixConfiguration{}
	if path != "" {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("reading configuration: %w", err)
		}
		if configuration, err = Decode(data); err != nil {
			return nil, fmt.Errorf("configuration file %s: %w", path, err)
		}
	}
	Default(configuration)
	if errs := Validate(configuration); len(errs) > 0 {
		return nil, fmt.Errorf("configuration file %s: %w", path, errs.ToAggregate())
	}
	return configuration, nil
}

// Decode parses YAML or JSON strictly. A value that is not of its field's type is an
// error that names the field's path.
func Decode(data []byte) (*SrenixConfiguration, error) {
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(SchemeGroupVersion, &SrenixConfiguration{})
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDecoder(SchemeGroupVersion)
	object, err := runtime.Decode(decoder, data)
	if err != nil {
		if errs := Misfits(nil, SrenixConfiguration{}, data); len(errs) > 0 {
			return nil, errs.ToAggregate()
		}
		return nil, err
	}
	configuration, ok := object.(*SrenixConfiguration)
	if !ok {
		return nil, fmt.Errorf("want kind SrenixConfiguration of %s, have %s", SchemeGroupVersion, object.GetObjectKind().GroupVersionKind())
	}
	return configuration, nil
}

// Default fills in what is absent.
func Default(c *SrenixConfiguration) {
	setDuration(&c.Policy.ApprovalInterval, DefaultApprovalInterval)
	setDuration(&c.Policy.MaxTokenLifetime, DefaultMaxTokenLifetime)
	setDuration(&c.Executor.SettleTime, DefaultSettleTime)
	setDuration(&c.Executor.VerifyDeadline, DefaultVerifyDeadline)
	setDuration(&c.Audit.Retention, DefaultRetention)
	setInt32(&c.Policy.ApprovalsPerHour, DefaultApprovalsPerHour)
	setInt32(&c.Executor.BreakerThreshold, DefaultBreakerThreshold)
}

func setDuration(field **metav1.Duration, value time.Duration) {
	if *field == nil {
		*field = &metav1.Duration{Duration: value}
	}
}

func setInt32(field **int32, value int32) {
	if *field == nil {
		*field = &value
	}
}

// BuiltInActionKinds are the action kinds that are compiled in.
func BuiltInActionKinds() []srenix.ActionKind {
	return []srenix.ActionKind{
		srenix.ActionDeletePod, srenix.ActionPatchDeploymentAnnotation, srenix.ActionDeleteJob,
		srenix.ActionDeleteCertificateRequest, srenix.ActionPatchIngressTLS, srenix.ActionRunbook,
	}
}

// MinimumApprovers is the number of distinct approvers that is compiled in for a kind.
func MinimumApprovers(kind srenix.ActionKind) int32 {
	if kind == srenix.ActionRunbook {
		return 2
	}
	return 1
}

// Validate reports every value that would widen what is compiled in, or makes no sense.
func Validate(c *SrenixConfiguration) field.ErrorList {
	var errs field.ErrorList
	policy := field.NewPath("policy")
	known := map[srenix.ActionKind]bool{}
	for _, kind := range BuiltInActionKinds() {
		known[kind] = true
	}
	if only := c.Policy.AllowedActionKinds; only != nil && len(only) == 0 {
		errs = append(errs, field.Invalid(policy.Child("allowedActionKinds"), only,
			"an empty list says neither all nor none: name the action kinds that are allowed, leave the field out to allow all that are compiled in, or set policy.approvalsPerHour to 0 to allow no approvals"))
	}
	for i, kind := range c.Policy.AllowedActionKinds {
		if !known[kind] {
			errs = append(errs, field.NotSupported(policy.Child("allowedActionKinds").Index(i), kind, BuiltInActionKinds()))
		}
	}
	for kind, count := range c.Policy.Approvers {
		path := policy.Child("approvers").Key(string(kind))
		switch {
		case !known[kind]:
			errs = append(errs, field.NotSupported(path, kind, BuiltInActionKinds()))
		case count < MinimumApprovers(kind):
			errs = append(errs, field.Invalid(path, count, fmt.Sprintf("must be at least %d", MinimumApprovers(kind))))
		}
	}
	errs = append(errs, atLeast(policy.Child("approvalInterval"), c.Policy.ApprovalInterval, DefaultApprovalInterval)...)
	errs = append(errs, within(policy.Child("maxTokenLifetime"), c.Policy.MaxTokenLifetime, time.Minute, DefaultMaxTokenLifetime)...)
	errs = append(errs, int32Within(policy.Child("approvalsPerHour"), c.Policy.ApprovalsPerHour, 0, DefaultApprovalsPerHour)...)
	executor := field.NewPath("executor")
	errs = append(errs, atLeast(executor.Child("settleTime"), c.Executor.SettleTime, MinimumSettleTime)...)
	if settle, deadline := c.Executor.SettleTime.Duration, c.Executor.VerifyDeadline.Duration; deadline < settle {
		errs = append(errs, field.Invalid(executor.Child("verifyDeadline"), deadline.String(),
			fmt.Sprintf("must be at least executor.settleTime, which is %s: a finding has to have stayed cleared for that long by then", settle)))
	}
	errs = append(errs, int32Within(executor.Child("breakerThreshold"), c.Executor.BreakerThreshold, 1, DefaultBreakerThreshold)...)
	if retention := c.Audit.Retention; retention.Duration != 0 && retention.Duration < MinimumRetention {
		errs = append(errs, field.Invalid(field.NewPath("audit", "retention"), retention.Duration.String(), "must be at least "+MinimumRetention.String()+", or 0s to keep audit events for ever"))
	}
	for name, analyzer := range c.Analyzers {
		if analyzer.Grace != nil {
			errs = append(errs, atLeast(field.NewPath("analyzers").Key(name).Child("grace"), analyzer.Grace, 0)...)
		}
	}
	return errs
}

func atLeast(path *field.Path, value *metav1.Duration, least time.Duration) field.ErrorList {
	if value.Duration < least {
		return field.ErrorList{field.Invalid(path, value.Duration.String(), "must be at least "+least.String())}
	}
	return nil
}

func within(path *field.Path, value *metav1.Duration, least, most time.Duration) field.ErrorList {
	if value.Duration < least || value.Duration > most {
		return field.ErrorList{field.Invalid(path, value.Duration.String(), fmt.Sprintf("must be between %s and %s", least, most))}
	}
	return nil
}

func int32Within(path *field.Path, value *int32, least, most int32) field.ErrorList {
	if *value < least || *value > most {
		return field.ErrorList{field.Invalid(path, *value, fmt.Sprintf("must be between %d and %d", least, most))}
	}
	return nil
}
