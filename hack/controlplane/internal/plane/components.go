// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"embed"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

const loopback = "127.0.0.1"

// stages tell kwok how nodes and pods behave; see the files.
//
//go:embed stages/*.yaml
var stages embed.FS

// component is one process of a plane.
type component struct {
	name string
	// port is what health is asked on; 0 for a component without one.
	port int
	// scheme and path of the health endpoint.
	scheme, healthPath string
	arguments          []string
}

// ports are those of a plane, all on loopback.
type ports struct {
	EtcdClient, EtcdPeer, APIServer, ControllerManager, Scheduler, Kwok int
}

// freePorts asks the kernel for unused ports, all held until every one is known
// so that no two are the same.
func freePorts() (ports, error) {
	var p ports
	for _, port := range []*int{&p.EtcdClient, &p.EtcdPeer, &p.APIServer, &p.ControllerManager, &p.Scheduler, &p.Kwok} {
		listener, err := net.Listen("tcp", net.JoinHostPort(loopback, "0"))
		if err != nil {
			return ports{}, fmt.Errorf("looking for a free port: %w", err)
		}
		defer listener.Close()
		*port = listener.Addr().(*net.TCPAddr).Port
	}
	return p, nil
}

func url(scheme string, port int) string {
	return scheme + "://" + net.JoinHostPort(loopback, strconv.Itoa(port))
}

// components returns the processes of a plane, in the order in which they start.
func components(l layout, p ports) ([]component, error) {
	servingCert, servingKey := l.pair("serving")
	caCert, caKey := l.pair("ca")
	frontProxyCA, _ := l.pair("front-proxy-ca")
	frontProxyCert, frontProxyKey := l.pair("front-proxy")
	_, accountKey := l.pair("service-account")
	kwokStages, err := writeStages(l)
	if err != nil {
		return nil, err
	}
	etcdClient, etcdPeer := url("http", p.EtcdClient), url("http", p.EtcdPeer)
	kwokArguments := []string{
		"--kubeconfig=" + l.componentKubeconfig("kwok"),
		"--manage-all-nodes=true",
		"--server-address=" + net.JoinHostPort(loopback, strconv.Itoa(p.Kwok)),
		"--node-lease-duration-seconds=40",
	}
	for _, stage := range kwokStages {
		kwokArguments = append(kwokArguments, "--config="+stage)
	}
	return []component{
		{name: "etcd", port: p.EtcdClient, scheme: "http", healthPath: "/health", arguments: []string{
			"--name=plane", "--data-dir=" + filepath.Join(l.dir, "etcd"),
			"--listen-client-urls=" + etcdClient, "--advertise-client-urls=" + etcdClient,
			"--listen-peer-urls=" + etcdPeer, "--initial-advertise-peer-urls=" + etcdPeer,
			"--initial-cluster=plane=" + etcdPeer,
			// Planes are thrown away: durability is not worth the disk's time.
			"--unsafe-no-fsync", "--log-level=warn",
		}},
		{name: "kube-apiserver", port: p.APIServer, scheme: "https", healthPath: "/readyz", arguments: []string{
			"--etcd-servers=" + etcdClient,
			"--bind-address=" + loopback, "--advertise-address=" + loopback, "--secure-port=" + strconv.Itoa(p.APIServer),
			"--tls-cert-file=" + servingCert, "--tls-private-key-file=" + servingKey, "--client-ca-file=" + caCert,
			"--authorization-mode=RBAC", "--allow-privileged=true",
			"--service-cluster-ip-range=10.0.0.0/16",
			"--service-account-issuer=https://kubernetes.default.svc", "--service-account-signing-key-file=" + accountKey, "--service-account-key-file=" + accountKey,
			"--requestheader-client-ca-file=" + frontProxyCA, "--requestheader-allowed-names=front-proxy-client",
			"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
			"--proxy-client-cert-file=" + frontProxyCert, "--proxy-client-key-file=" + frontProxyKey,
			// Fewer background writes: planes are small and short-lived.
			"--endpoint-reconciler-type=none",
			// A quick end: without the retry-after mode it waits a minute for open watches.
			"--shutdown-delay-duration=0s", "--shutdown-send-retry-after=true",
			"--profiling=false",
		}},
		{name: "kube-controller-manager", port: p.ControllerManager, scheme: "https", healthPath: "/healthz", arguments: []string{
			"--kubeconfig=" + l.componentKubeconfig("kube-controller-manager"),
			"--authentication-kubeconfig=" + l.componentKubeconfig("kube-controller-manager"),
			"--authorization-kubeconfig=" + l.componentKubeconfig("kube-controller-manager"),
			"--bind-address=" + loopback, "--secure-port=" + strconv.Itoa(p.ControllerManager),
			"--tls-cert-file=" + servingCert, "--tls-private-key-file=" + servingKey,
			"--use-service-account-credentials", "--leader-elect=false",
			// The default of 20 a second delays its controllers' start by 5 seconds.
			"--kube-api-qps=500", "--kube-api-burst=1000",
			// Nodes are not lost with the API server, however long a test keeps it away.
			"--node-monitor-grace-period=10m",
			"--root-ca-file=" + caCert, "--service-account-private-key-file=" + accountKey,
			"--cluster-signing-cert-file=" + caCert, "--cluster-signing-key-file=" + caKey,
			"--profiling=false",
		}},
		{name: "kube-scheduler", port: p.Scheduler, scheme: "https", healthPath: "/healthz", arguments: []string{
			"--kubeconfig=" + l.componentKubeconfig("kube-scheduler"),
			"--authentication-kubeconfig=" + l.componentKubeconfig("kube-scheduler"),
			"--authorization-kubeconfig=" + l.componentKubeconfig("kube-scheduler"),
			"--bind-address=" + loopback, "--secure-port=" + strconv.Itoa(p.Scheduler),
			"--tls-cert-file=" + servingCert, "--tls-private-key-file=" + servingKey,
			"--leader-elect=false", "--profiling=false",
		}},
		{name: "kwok", port: p.Kwok, scheme: "http", healthPath: "/healthz", arguments: kwokArguments},
	}, nil
}

// users are the identities under which components reach kube-apiserver.
var users = map[string]struct {
	name   string
	groups []string
}{
	"kube-controller-manager": {"system:kube-controller-manager", nil},
	"kube-scheduler":          {"system:kube-scheduler", nil},
	"kwok":                    {"kwok", []string{"system:masters"}},
}

// writeStages writes the embedded stages where kwok can read them, and returns
// their paths relative to the plane's directory, where components run: kwok
// splits the value of --config at commas, which a directory's name may hold.
func writeStages(l layout) ([]string, error) {
	files, err := fs.Glob(stages, "stages/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("listing the stages: %w", err)
	}
	var paths []string
	for _, file := range files {
		content, err := stages.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading stage %s: %w", file, err)
		}
		path := filepath.Join(l.pki(), filepath.Base(file))
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return nil, fmt.Errorf("writing stage %s: %w", file, err)
		}
		paths = append(paths, filepath.Join(filepath.Base(l.pki()), filepath.Base(file)))
	}
	return paths, nil
}
