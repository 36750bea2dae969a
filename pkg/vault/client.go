// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
	"golang.org/x/time/rate"
	"k8s.io/utils/clock"
)

// Options say which Vault is asked, and as whom.
type Options struct {
	// Address is the URL of Vault.
	Address string
	// TokenFile holds a token, and is read anew for each round; or else
	// KubernetesRole is what is logged in as, at KubernetesMount, with the token in
	// ServiceAccountTokenFile.
	TokenFile                                                string
	KubernetesRole, KubernetesMount, ServiceAccountTokenFile string
	// CAFile holds the authorities that Vault's certificate is from; those of the
	// system if empty.
	CAFile string
	// Timeout of each request.
	Timeout time.Duration
	// RequestsPerSecond are the most that are sent; 0 means 10.
	RequestsPerSecond float64
	// Clock tells when tokens have run out and versions are deleted; the real one if nil.
	Clock clock.PassiveClock
}

const (
	standardRate = 10
	// retries of a request that Vault answers with a 5xx or 429, or not at all.
	retries      = 2
	firstRetry   = 200 * time.Millisecond
	longestRetry = time.Second
)

// Client asks a Vault for the names of what it has.
type Client struct {
	options Options
	http    *http.Client
	limiter *rate.Limiter
}

// New makes a client. It sends nothing yet.
func New(options Options) (*Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if options.CAFile != "" {
		bundle, err := os.ReadFile(options.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading the authorities of Vault: %w", err)
		}
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(bundle) {
			return nil, fmt.Errorf("reading the authorities of Vault: %s holds no certificate", options.CAFile)
		}
	}
	if options.Clock == nil {
		options.Clock = clock.RealClock{}
	}
	if options.RequestsPerSecond == 0 {
		options.RequestsPerSecond = standardRate
	}
	c := &Client{options: options, http: &http.Client{Transport: transport}, limiter: rate.NewLimiter(rate.Limit(options.RequestsPerSecond), standardRate)}
	_, err := c.connect()
	return c, err
}

// connect makes a client that has no token yet. It goes by options alone: the variables
// that the vault command reads, one of which switches the check of certificates off, do
// not count.
func (c *Client) connect() (*api.Client, error) {
	client, err := api.NewClient(&api.Config{
		Address: c.options.Address, HttpClient: c.http, Timeout: c.options.Timeout, Limiter: c.limiter,
		MaxRetries: retries, MinRetryWait: firstRetry, MaxRetryWait: longestRetry, DisableRedirects: true,
	})
	if err != nil {
		return nil, fmt.Errorf("making a client of Vault: %w", err)
	}
	client.ClearToken()
	client.ClearNamespace()
	return client, nil
}

// round is one pass over paths: who asks, and what is known of mounts, is the same in it.
type round struct {
	client *api.Client
	mounts map[Path]mount
	now    time.Time
}

// mount is a KV engine, if Vault tells of one that is mounted just there.
type mount struct {
	known   bool
	version string
}

// mostFailing is at how many paths Vault may fail in a round until that is an outage.
// Each is tried several times, with pauses.
const mostFailing = 10

// Look asks for each of some paths. An error says that Vault does not answer as it
// should; that something is missing, or not to be seen, is none, nor that it fails at
// some of many paths.
func (c *Client) Look(ctx context.Context, paths []Path) (map[Path]Seen, error) {
	seen := make(map[Path]Seen, len(paths))
	if len(paths) == 0 {
		return seen, nil
	}
	session, err := c.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer session.leave()
	r := &round{client: session.client, mounts: map[Path]mount{}, now: c.options.Clock.Now()}
	failures, hidden := 0, false
	for _, path := range paths {
		now, err := r.look(ctx, path)
		if errors.Is(err, errInternal) {
			if failures++; failures < min(mostFailing, len(paths)) {
				seen[path] = Seen{State: failing}
				continue
			}
		}
		if err != nil {
			return nil, fmt.Errorf("asking Vault for %s: %w", path, err)
		}
		seen[path] = now
		hidden = hidden || now.State == Hidden
	}
	if hidden {
		// A token that has run out meanwhile may see nothing.
		if err := session.check(ctx); err != nil {
			return nil, err
		}
	}
	return seen, nil
}

// session is a client with a token.
type session struct {
	client *api.Client
	// check tells whether the token is still good.
	check func(context.Context) error
	// leave gives back a token that was made for the session.
	leave func()
}

// enter begins a session.
func (c *Client) enter(ctx context.Context) (*session, error) {
	client, err := c.connect()
	if err != nil {
		return nil, err
	}
	if c.options.TokenFile != "" {
		return c.show(ctx, client)
	}
	return c.login(ctx, client)
}

// show begins a session with the token of the file.
func (c *Client) show(ctx context.Context, client *api.Client) (*session, error) {
	token, err := os.ReadFile(c.options.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("reading the token for Vault: %w", err)
	}
	client.SetToken(strings.TrimSpace(string(token)))
	s := &session{client: client, leave: func() {}, check: func(ctx context.Context) error {
		if _, err := client.Auth().Token().LookupSelfWithContext(ctx); err != nil {
			return fmt.Errorf("showing Vault the token: %w", withoutBody(err))
		}
		return nil
	}}
	// Else a token that has run out would look like paths that may not be seen.
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// login begins a session with a token of the role. Such a token need not have the
// right to look itself up: it is good for as long as it was given for.
func (c *Client) login(ctx context.Context, client *api.Client) (*session, error) {
	token, err := os.ReadFile(c.options.ServiceAccountTokenFile)
	if err != nil {
		return nil, fmt.Errorf("reading the token of the service account: %w", err)
	}
	began := c.options.Clock.Now()
	login, err := client.Logical().WriteWithContext(ctx, "auth/"+c.options.KubernetesMount+"/login", map[string]any{
		"role": c.options.KubernetesRole, "jwt": strings.TrimSpace(string(token)),
	})
	if err != nil {
		return nil, fmt.Errorf("logging in to Vault as role %s: %w", c.options.KubernetesRole, withoutBody(err))
	}
	if login == nil || login.Auth == nil || login.Auth.ClientToken == "" {
		return nil, fmt.Errorf("logging in to Vault as role %s: it gave no token", c.options.KubernetesRole)
	}
	client.SetToken(login.Auth.ClientToken)
	return &session{
		client: client,
		check: func(context.Context) error {
			if given := time.Duration(login.Auth.LeaseDuration) * time.Second; given > 0 && c.options.Clock.Since(began) >= given {
				return fmt.Errorf("the token of role %s, which is good for %s, ran out before all was asked for: give the role a longer token_ttl", c.options.KubernetesRole, given)
			}
			return nil
		},
		leave: func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.options.Timeout)
			defer cancel()
			_ = client.Auth().Token().RevokeSelfWithContext(ctx, "") // else it runs out by itself
		},
	}, nil
}

// look asks for one path.
func (r *round) look(ctx context.Context, path Path) (Seen, error) {
	if !path.Plain() {
		return Seen{State: Hidden}, nil
	}
	m, err := r.mount(ctx, path)
	switch {
	case err != nil:
		return Seen{}, err
	case !m.known:
		return Seen{State: Hidden}, nil
	case m.version == "2":
		return r.version2(ctx, path)
	}
	return r.version1(ctx, path)
}

// mount asks what is mounted at a path's mount. Without that, whoever names secret/data
// as a mount could have values read as if they were names.
func (r *round) mount(ctx context.Context, path Path) (mount, error) {
	at := Path{Namespace: path.Namespace, Mount: path.Mount}
	if m, asked := r.mounts[at]; asked {
		return m, nil
	}
	answer, state, err := read(ctx, r.at(path), "sys/internal/ui/mounts/"+path.Mount)
	if err != nil {
		return mount{}, err
	}
	var m mount
	if state == Exists {
		kind, _ := answer["type"].(string)
		where, _ := answer["path"].(string)
		settings, _ := answer["options"].(map[string]any)
		m.version, _ = settings["version"].(string)
		m.known = kind == "kv" && strings.Trim(where, "/") == path.Mount
	}
	r.mounts[at] = m
	return m, nil
}

func (r *round) at(path Path) *api.Client {
	if path.Namespace == "" {
		return r.client
	}
	return r.client.WithNamespace(path.Namespace)
}

// version2 asks for the keys of a secret, and, if there are none to be had, for its
// versions: an old Vault without subkeys answers as if there were no secret.
func (r *round) version2(ctx context.Context, path Path) (Seen, error) {
	answer, state, err := read(ctx, r.at(path), path.Mount+"/subkeys/"+path.Path)
	if err != nil {
		return Seen{}, err
	}
	if keys, tells := answer["subkeys"].(map[string]any); state == Exists && tells {
		return Seen{State: Exists, Keys: keys}, nil
	}
	answer, state, err = read(ctx, r.at(path), path.Mount+"/metadata/"+path.Path)
	if err != nil || state != Exists {
		return Seen{State: state}, err
	}
	return Seen{State: newest(answer, r.now)}, nil
}

// newest tells what the newest version of a secret is now, from its metadata.
func newest(metadata map[string]any, now time.Time) State {
	number, _ := metadata["current_version"].(json.Number)
	versions, _ := metadata["versions"].(map[string]any)
	version, exists := versions[number.String()].(map[string]any)
	if !exists {
		return Missing
	}
	destroyed, _ := version["destroyed"].(bool)
	at, _ := version["deletion_time"].(string)
	deletion, err := time.Parse(time.RFC3339, at)
	if destroyed || err == nil && !deletion.After(now) {
		return Deleted
	}
	return Exists
}

// version1 looks for a secret in its folder: to ask for it would give its values.
func (r *round) version1(ctx context.Context, path Path) (Seen, error) {
	folder, name := path.Mount, path.Path
	if i := strings.LastIndex(path.Path, "/"); i >= 0 {
		folder, name = path.Mount+"/"+path.Path[:i], path.Path[i+1:]
	}
	answer, err := r.at(path).Logical().ListWithContext(ctx, folder)
	if state, err := stateOf(err); err != nil || state != Exists {
		return Seen{State: state}, err
	}
	if answer == nil {
		return Seen{State: Missing}, nil
	}
	names, _ := answer.Data["keys"].([]any)
	if !slices.Contains(names, any(name)) {
		return Seen{State: Missing}, nil
	}
	return Seen{State: Exists}, nil
}

// read asks for something that holds no values. The state is Exists, Missing or Hidden.
func read(ctx context.Context, client *api.Client, path string) (map[string]any, State, error) {
	answer, err := client.Logical().ReadWithContext(ctx, path)
	state, err := stateOf(err)
	switch {
	case err != nil || state != Exists:
		return nil, state, err
	case answer == nil:
		return nil, Missing, nil
	}
	return answer.Data, Exists, nil
}

// stateOf tells what an error of Vault says of what was asked for: that it is not to
// be seen, or, if that is not it, nothing.
func stateOf(err error) (State, error) {
	var refused *api.ResponseError
	switch {
	case err == nil:
		return Exists, nil
	case !errors.As(err, &refused):
		return "", withoutURL(err)
	case refused.StatusCode == http.StatusNotFound:
		return Missing, nil
	case slices.Contains([]int{http.StatusBadRequest, http.StatusForbidden, http.StatusMethodNotAllowed}, refused.StatusCode):
		return Hidden, nil
	}
	return "", withoutBody(err)
}
