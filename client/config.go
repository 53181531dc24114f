package client

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/kavachd/kavachd/ids"
)

// Defaults of a Config.
const (
	DefaultTimeout        = 10 * time.Second
	DefaultAttemptTimeout = 2 * time.Second
)

// maxEndpoints bounds the nodes of one Client, those that it discovers among them.
const maxEndpoints = 32

// maxKeyFile bounds what is read of a key file, in bytes.
const maxKeyFile = 4096

// maxAnswer bounds one message from a node, in bytes: the largest page is far below it.
const maxAnswer = 64 << 20

// Config describes a Client. Only Endpoints is required.
//
// It prints without the key, whatever the verb.
type Config struct {
	// Endpoints are the API addresses of nodes: host:port, or http:// or https:// with host and port. host:port is
	// https if TLS is set, else http. At most 32.
	Endpoints []string
	// Key is the API key, kvk_…. Empty: KeyFile; if that is empty too, calls carry no key, which is enough for Bootstrap.
	Key string `json:"-"`
	// KeyFile holds the API key. It is read by New, and again after a node didn't know the key, so that a key can be
	// replaced without a restart.
	KeyFile string
	// TLS is used for https endpoints. Not together with HTTPClient.
	TLS *tls.Config
	// HTTPClient sends the requests; nil: one of the Client's own. Its redirects are not followed.
	HTTPClient *http.Client
	// Timeout bounds a call whose context has no deadline; 0: DefaultTimeout. A stream is bounded by it until its first
	// piece is there.
	Timeout time.Duration
	// AttemptTimeout bounds the first attempt at one node; 0: DefaultAttemptTimeout. It doubles with every round over all
	// nodes, so that a cluster that is slow, but not dead, is waited for.
	AttemptTimeout time.Duration
	// ReadYourWrites makes every read and decision that names no consistency ask for the newest revision that this Client
	// has seen (see Client.Revision).
	ReadYourWrites bool
	// Discover lets nodes name others that are not among Endpoints; the API key is sent to those too. Off: a hint is
	// followed only to one of Endpoints.
	Discover bool
	// Log is told when a node's health changes; nil: nobody is. No key is ever logged.
	Log *slog.Logger
}

// Format implements fmt.Formatter: a Config is printed without its key.
func (c Config) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// String describes the Config without the key.
func (c Config) String() string {
	key := "none"
	switch {
	case c.Key != "":
		key = "[set]"
	case c.KeyFile != "":
		key = "in " + c.KeyFile
	}
	return fmt.Sprintf("endpoints %s, key %s", strings.Join(c.Endpoints, ","), key)
}

// LogValue implements slog.LogValuer.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Validate returns all problems of the Config, without the key's text.
func (c Config) Validate() error {
	var problems []error
	if len(c.Endpoints) == 0 {
		problems = append(problems, errors.New("endpoints: at least one is needed"))
	}
	if n := len(c.Endpoints); n > maxEndpoints {
		problems = append(problems, fmt.Errorf("endpoints: at most %d, not %d", maxEndpoints, n))
	}
	for i, text := range c.Endpoints {
		if _, err := parseEndpoint(text, c.TLS != nil); err != nil {
			problems = append(problems, fmt.Errorf("endpoints[%d]: %w", i, err))
		}
	}
	if c.Key != "" && c.KeyFile != "" {
		problems = append(problems, errors.New("key, key_file: one of them, not both"))
	}
	if _, ok := ids.HashKey(c.Key); c.Key != "" && !ok {
		problems = append(problems, errors.New("key: not an API key (kvk_…)"))
	}
	if c.TLS != nil && c.HTTPClient != nil {
		problems = append(problems, errors.New("tls, http_client: one of them, not both"))
	}
	if c.Timeout < 0 {
		problems = append(problems, fmt.Errorf("timeout: %v is negative", c.Timeout))
	}
	if c.AttemptTimeout < 0 {
		problems = append(problems, fmt.Errorf("attempt_timeout: %v is negative", c.AttemptTimeout))
	}
	return errors.Join(problems...)
}

// address is where a node serves the API.
type address struct{ scheme, host string }

func (a address) String() string { return a.scheme + "://" + a.host }

// parseEndpoint reads one of Config.Endpoints. Its errors don't repeat the text, in which a password might stand.
func parseEndpoint(text string, secure bool) (address, error) {
	if !strings.Contains(text, "://") {
		scheme := "http"
		if secure {
			scheme = "https"
		}
		text = scheme + "://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return address{}, errors.New("not a URL and not host:port")
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return address{}, fmt.Errorf("the scheme must be http or https, not %q", u.Scheme)
	case u.User != nil:
		return address{}, errors.New("a name or a password has no place in it: set Key")
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return address{}, errors.New("must have no path, query or fragment")
	case u.Hostname() == "":
		return address{}, errors.New("no host")
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return address{scheme: u.Scheme, host: net.JoinHostPort(strings.ToLower(u.Hostname()), port)}, nil
}

// httpClient returns what sends the requests.
func (c Config) httpClient() *http.Client {
	var own http.Client
	if c.HTTPClient != nil {
		own = *c.HTTPClient
	} else {
		own.Transport = &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: 2 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
			TLSClientConfig:     c.TLS.Clone(),
			TLSHandshakeTimeout: 5 * time.Second,
			ForceAttemptHTTP2:   true,
			MaxIdleConnsPerHost: 64,
			IdleConnTimeout:     90 * time.Second,
			// A connection over which nothing comes any more is found by a ping, not by the next call.
			HTTP2: &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 5 * time.Second},
		}
	}
	// A redirect would carry the key elsewhere. No node sends one.
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &own
}

// credential is the API key. It holds it in a function, so that no printing of a Client shows it.
type credential struct {
	file string

	mu  sync.Mutex
	key func() string
}

func newCredential(c Config) (*credential, error) {
	given := c.Key
	k := &credential{file: c.KeyFile, key: func() string { return given }}
	if c.KeyFile == "" {
		return k, nil
	}
	return k, k.reload()
}

// get returns the key; empty: none.
func (k *credential) get() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.key()
}

// reload reads the key file, if there is one. On an error the old key stays.
func (k *credential) reload() error {
	if k.file == "" {
		return nil
	}
	f, err := os.Open(k.file)
	if err != nil {
		return fmt.Errorf("read the API key: %w", err)
	}
	defer func() { _ = f.Close() }() // read only
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return fmt.Errorf("read the API key: %w", err)
	}
	key := strings.TrimSpace(string(text))
	if _, ok := ids.HashKey(key); !ok {
		return fmt.Errorf("%s holds no API key (kvk_…)", k.file)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.key = func() string { return key }
	return nil
}
