// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/approvalpage"
)

// pageDecider posts decisions to this very server, as its loopback client may in
// anybody's name.
type pageDecider struct {
	loopback   *rest.Config
	parameters runtime.ParameterCodec
}

var _ approvalpage.Decider = pageDecider{}

func newPageDecider(loopback *rest.Config, scheme *runtime.Scheme) pageDecider {
	config := rest.CopyConfig(loopback)
	config.APIPath, config.GroupVersion = genericapiserver.APIGroupPrefix, &v1alpha1.SchemeGroupVersion
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	config.ContentType, config.QPS = runtime.ContentTypeJSON, -1
	return pageDecider{loopback: config, parameters: runtime.NewParameterCodec(scheme)}
}

// Decide implements approvalpage.Decider.
func (d pageDecider) Decide(ctx context.Context, owner user.Info, namespace, name string, decision v1alpha1.ProposalApprovalSpec, dryRun bool) (*v1alpha1.ProposalApproval, error) {
	config := rest.CopyConfig(d.loopback)
	config.Impersonate = rest.ImpersonationConfig{UserName: owner.GetName(), Groups: owner.GetGroups(), Extra: owner.GetExtra()}
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("making a client of this server: %w", err)
	}
	options := &metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict}
	if dryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	answer := &v1alpha1.ProposalApproval{}
	return answer, client.Post().Namespace(namespace).Resource("proposals").Name(name).SubResource("approve").
		VersionedParams(options, d.parameters).Body(&v1alpha1.ProposalApproval{Spec: decision}).Do(ctx).Into(answer)
}

// servePage serves the approval page until ctx ends.
func (s *Server) servePage(ctx context.Context) error {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if files := s.extra.CertificateFiles; files != nil {
		watcher, err := certwatcher.New(files.CertFile, files.KeyFile)
		if err != nil {
			return fmt.Errorf("reading the serving certificate: %w", err)
		}
		go func() {
			if err := watcher.Start(ctx); err != nil && ctx.Err() == nil {
				klog.FromContext(ctx).Error(err, "The serving certificate of the approval page is not watched, so another one is served after a restart only")
			}
		}()
		config.GetCertificate = watcher.GetCertificate
	} else {
		config.GetCertificate = s.extra.served.GetCertificate
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(s.extra.PageBindAddress, strconv.Itoa(s.extra.PageBindPort)))
	if err != nil {
		return fmt.Errorf("listening for the approval page: %w", err)
	}
	server := &http.Server{
		Handler: s.page, TLSConfig: config, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		stopped <- server.Shutdown(ending)
	}()
	if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the approval page: %w", err)
	}
	return <-stopped
}
