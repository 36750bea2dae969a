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

	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/approvalpage"
)

// pageManager is the field manager of Approvals that were made on the approval
// page, so that one can tell them from others.
const pageManager = client.FieldOwner("srenix-approval-page")

// pageRecorder stores what is decided on the approval page.
type pageRecorder struct{ recorder }

var _ approvalpage.Recorder = pageRecorder{}

// Store implements approvalpage.Recorder.
func (r pageRecorder) Store(ctx context.Context, approval *opsv1alpha1.Approval, dryRun bool) (*opsv1alpha1.Approval, error) {
	return r.store(ctx, approval.DeepCopy(), dryRun, pageManager)
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
