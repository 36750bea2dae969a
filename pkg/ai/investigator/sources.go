// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package investigator

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

const (
	// tailLines and tailBytes bound what is asked of a log.
	tailLines = 60
	tailBytes = 64 << 10
	// hostTimeout is how long one look at a host takes at most.
	hostTimeout = 3 * time.Second
)

// KubernetesLogs reads logs through kube-apiserver.
type KubernetesLogs struct{ Client kubernetes.Interface }

// Tail implements Logs. It returns at most 64 KiB.
func (l KubernetesLogs) Tail(ctx context.Context, namespace, pod, container string, previous bool) (text string, err error) {
	stream, err := l.Client.CoreV1().Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{
		Container: container, Previous: previous, TailLines: ptr.To[int64](tailLines), LimitBytes: ptr.To[int64](tailBytes),
	}).Stream(ctx)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, stream.Close()) }()
	content, err := io.ReadAll(io.LimitReader(stream, tailBytes))
	if err != nil {
		return "", fmt.Errorf("reading the log of container %s of pod %s/%s: %w", container, namespace, pod, err)
	}
	return string(content), nil
}

// NetworkHosts looks at hosts over the network that this program is in. It connects
// to public addresses only: what a finding names must not make it a scanner of the
// cluster's own network.
type NetworkHosts struct {
	Resolver *net.Resolver
	Dialer   *net.Dialer
}

// Addresses implements Hosts.
func (h NetworkHosts) Addresses(ctx context.Context, host string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, hostTimeout)
	defer cancel()
	return h.Resolver.LookupHost(ctx, host)
}

// Certificate implements Hosts.
func (h NetworkHosts) Certificate(ctx context.Context, host string) (problem string, err error) {
	ctx, cancel := context.WithTimeout(ctx, hostTimeout)
	defer cancel()
	addresses, err := h.Resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return "", err
	}
	for _, address := range addresses {
		if !public(address.Unmap()) {
			return "", errors.New("its address is not public, so it is not connected to")
		}
	}
	dialer := tls.Dialer{NetDialer: h.Dialer, Config: &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}}
	connection, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(addresses[0].Unmap().String(), "443"))
	if err == nil {
		return "", connection.Close()
	}
	var invalid *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	if errors.As(err, &invalid) || errors.As(err, &unknown) || errors.As(err, &name) {
		return err.Error(), nil
	}
	return "", err
}

// public tells whether an address is one of the internet.
func public(address netip.Addr) bool {
	return address.IsGlobalUnicast() && !address.IsPrivate() && !shared.Contains(address)
}

// shared is the address space of carriers, which clusters use too (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")
