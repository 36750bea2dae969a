// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

func (s *Srenix) installUpstream() error {
	admin, err := s.Plane.Config()
	if err != nil {
		return err
	}
	server, err := url.Parse(admin.Host)
	if err != nil {
		return fmt.Errorf("finding kube-apiserver: %w", err)
	}
	always := func(context.Context, string) bool { return true }
	if s.Upstream, err = NewBalancer([]string{server.Host}, always); err != nil {
		return err
	}
	s.balancers = append(s.balancers, s.Upstream)
	return nil
}

// ServiceAccountKubeconfig writes a kubeconfig that authenticates as one of
// srenix's service accounts, and returns its path.
func (s *Srenix) ServiceAccountKubeconfig(ctx context.Context, account string) (string, error) {
	token, _, err := s.Plane.Kubectl(ctx, "create", "token", account, "-n", Namespace, "--duration=24h")
	if err != nil {
		return "", fmt.Errorf("getting a token of %s: %w", account, err)
	}
	admin, err := s.Plane.Config()
	if err != nil {
		return "", err
	}
	server := admin.Host
	if s.Upstream != nil {
		server = "https://" + loopback(s.Upstream.Port())
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["plane"] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: admin.CAData}
	config.AuthInfos[account] = &clientcmdapi.AuthInfo{Token: strings.TrimSpace(token)}
	config.Contexts["plane"] = &clientcmdapi.Context{Cluster: "plane", AuthInfo: account}
	config.CurrentContext = "plane"
	path := filepath.Join(s.Plane.Dir(), account+".kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return "", fmt.Errorf("writing the kubeconfig of %s: %w", account, err)
	}
	return path, nil
}
