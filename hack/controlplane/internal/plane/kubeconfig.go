// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"crypto/x509/pkix"
	"fmt"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// writeKubeconfig writes a kubeconfig of a user in groups, who authenticates
// with a client certificate of the plane's authority.
func (l layout) writeKubeconfig(file, server, user string, groups []string) error {
	ca, err := loadAuthority(l.pki(), "ca")
	if err != nil {
		return err
	}
	certificate, key, err := ca.leaf(pkix.Name{CommonName: user, Organization: groups})
	if err != nil {
		return err
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["controlplane"] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: encodeCertificate(ca.certificate)}
	config.AuthInfos[user] = &clientcmdapi.AuthInfo{ClientCertificateData: certificate, ClientKeyData: key}
	config.Contexts["controlplane"] = &clientcmdapi.Context{Cluster: "controlplane", AuthInfo: user}
	config.CurrentContext = "controlplane"
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		return fmt.Errorf("writing the kubeconfig of %s: %w", user, err)
	}
	return nil
}

// layout names the files of a plane under its directory.
type layout struct{ dir string }

func (l layout) pki() string { return filepath.Join(l.dir, "pki") }
func (l layout) pair(name string) (c, k string) {
	return filepath.Join(l.pki(), name+".crt"), filepath.Join(l.pki(), name+".key")
}
func (l layout) kubeconfig() string          { return filepath.Join(l.dir, "kubeconfig") }
func (l layout) state() string               { return filepath.Join(l.dir, "state.json") }
func (l layout) log(component string) string { return filepath.Join(l.dir, "logs", component+".log") }
func (l layout) componentKubeconfig(component string) string {
	return filepath.Join(l.pki(), component+".kubeconfig")
}
