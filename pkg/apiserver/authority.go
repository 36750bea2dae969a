// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"
	"k8s.io/klog/v2"
	aggregator "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset/typed/apiregistration/v1"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/webhook"
)

// apiServiceName is the APIService of artifacts/.
var apiServiceName = v1alpha1.SchemeGroupVersion.Version + "." + v1alpha1.GroupName

const (
	// webhookConfiguration is the ValidatingWebhookConfiguration of artifacts/.
	webhookConfiguration = "srenix"
	// publishEvery is how often it is looked whether what was published still stands:
	// installing again with "replace" takes it away.
	publishEvery = time.Minute
)

// publication tells kube-apiserver how it recognizes this server, and where the
// webhooks are that nobody else is told of. It renews the serving certificate.
type publication struct {
	kube      kubernetes.Interface
	services  aggregator.APIServicesGetter
	namespace string
	hosts     []string
	clock     clock.PassiveClock
	served    *served
	// published is the certificate whose authority was published the last time.
	published *servingCertificate
}

// run publishes until ctx ends. Only the first time must succeed.
func (p *publication) run(ctx context.Context) error {
	if err := p.publish(ctx); err != nil {
		return err
	}
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		if err := p.publish(ctx); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "What kube-apiserver needs in order to call could not be published", "again", publishEvery)
		}
	}, publishEvery)
	return nil
}

// publish publishes what the Secret has now, which it renews when that is due, or
// another replica has. What is not installed is skipped: without it nobody calls.
// Another certificate is served the time after, when kube-apiserver has had its
// authority for a while.
func (p *publication) publish(ctx context.Context) error {
	now := p.clock.Now()
	certificate, err := ensureCertificate(ctx, p.kube, p.namespace, p.hosts, now, now.Add(renewBefore), p.served.certificate())
	if err != nil {
		return err
	}
	if err := errors.Join(p.publishService(ctx, certificate.ca), p.publishWebhooks(ctx, certificate)); err != nil {
		return err
	}
	before := p.published
	p.published = certificate
	if before == nil || !bytes.Equal(before.cert, certificate.cert) {
		return nil
	}
	return p.served.exchange(certificate)
}

func (p *publication) publishService(ctx context.Context, ca []byte) error {
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		service, err := p.services.APIServices().Get(ctx, apiServiceName, metav1.GetOptions{})
		if err != nil || bytes.Equal(service.Spec.CABundle, ca) {
			return err
		}
		service.Spec.CABundle = ca
		_, err = p.services.APIServices().Update(ctx, service, metav1.UpdateOptions{})
		return err
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("publishing the authority in APIService %s: %w", apiServiceName, err)
	}
	return nil
}

func (p *publication) publishWebhooks(ctx context.Context, certificate *servingCertificate) error {
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		configurations := p.kube.AdmissionregistrationV1().ValidatingWebhookConfigurations()
		configuration, err := configurations.Get(ctx, webhookConfiguration, metav1.GetOptions{})
		if err != nil {
			return err
		}
		changed := false
		for i := range configuration.Webhooks {
			one := &configuration.Webhooks[i]
			moved, err := setPath(&one.ClientConfig, certificate.path, webhook.Paths()[one.Name])
			if err != nil {
				return fmt.Errorf("webhook %s: %w", one.Name, err)
			}
			if moved || !bytes.Equal(one.ClientConfig.CABundle, certificate.ca) {
				one.ClientConfig.CABundle, changed = certificate.ca, true
			}
		}
		if !changed {
			return nil
		}
		_, err = configurations.Update(ctx, configuration, metav1.UpdateOptions{})
		return err
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("publishing the authority and the paths in ValidatingWebhookConfiguration %s: %w", webhookConfiguration, err)
	}
	return nil
}

// setPath points a webhook at its path behind the secret, and tells whether it
// was another one. One that is not srenix's stays as it is.
func setPath(config *admissionregistrationv1.WebhookClientConfig, secret, path string) (changed bool, err error) {
	if path == "" {
		return false, nil
	}
	want := webhook.SecretPath(secret, path)
	switch {
	case config.Service != nil:
		changed = ptr.Deref(config.Service.Path, "") != want
		config.Service.Path = &want
	case config.URL != nil:
		at, err := url.Parse(*config.URL)
		if err != nil {
			return false, errors.New("its URL cannot be read")
		}
		changed = at.Path != want
		at.Path = want
		config.URL = ptr.To(at.String())
	}
	return changed, nil
}
