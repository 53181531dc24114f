package client

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/kavachd/kavachd/gen/kavach/v1/kavachv1connect"
)

// Client calls a cluster. Its fields are the services of the API; every call of theirs goes through the choice of a node,
// the repeats and the deadlines that the package describes. Safe for concurrent use.
type Client struct {
	Agents        kavachv1connect.AgentServiceClient
	Authorization kavachv1connect.AuthorizationServiceClient
	Delegations   kavachv1connect.DelegationServiceClient
	Audit         kavachv1connect.AuditServiceClient
	Access        kavachv1connect.AccessServiceClient
	Cluster       kavachv1connect.ClusterServiceClient

	core *core
}

// core is what all services share. It implements connect.Interceptor.
type core struct {
	methods        map[string]*method
	pool           *pool
	key            *credential
	seen           tracker
	backoff        backoff // between rounds over all nodes
	timeout        time.Duration
	attemptTimeout time.Duration
	readYourWrites bool
	discover       bool
	log            *slog.Logger
	idle           func() // closes connections that nobody uses

	ctx   context.Context // ends the calls
	stop  context.CancelCauseFunc
	calls struct {
		sync.Mutex
		sync.WaitGroup
		closed bool
	}
}

// base stands in the requests until the transport puts a node there.
const base = "http://kavachd.invalid"

// New checks the configuration and makes a Client. It sends nothing: a cluster that isn't there yet is the first call's
// problem. The caller must Close it.
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	key, err := newCredential(cfg)
	if err != nil {
		return nil, err
	}
	c := &core{
		methods: methods(), key: key, timeout: cfg.Timeout, attemptTimeout: cfg.AttemptTimeout,
		readYourWrites: cfg.ReadYourWrites, discover: cfg.Discover, log: cfg.Log,
		backoff: backoff{base: 50 * time.Millisecond, limit: 2 * time.Second, chance: rand.Float64},
	}
	if c.timeout == 0 {
		c.timeout = DefaultTimeout
	}
	if c.attemptTimeout == 0 {
		c.attemptTimeout = DefaultAttemptTimeout
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	var addrs []address
	for _, text := range cfg.Endpoints {
		a, err := parseEndpoint(text, cfg.TLS != nil)
		if err != nil {
			return nil, err // Validate has seen it
		}
		addrs = append(addrs, a)
	}
	hc := cfg.httpClient()
	if cfg.HTTPClient == nil {
		c.idle = hc.CloseIdleConnections
	}
	probes := backoff{base: 100 * time.Millisecond, limit: 3 * time.Second, chance: rand.Float64}
	c.pool = newPool(addrs, c.log, probes, readiness(hc, c.attemptTimeout))
	c.ctx, c.stop = context.WithCancelCause(context.Background())
	return c.services(&transport{http: hc, key: key}), nil
}

func (c *core) services(t *transport) *Client {
	options := connect.WithClientOptions(connect.WithInterceptors(c), connect.WithReadMaxBytes(maxAnswer))
	return &Client{
		Agents:        kavachv1connect.NewAgentServiceClient(t, base, options),
		Authorization: kavachv1connect.NewAuthorizationServiceClient(t, base, options),
		Delegations:   kavachv1connect.NewDelegationServiceClient(t, base, options),
		Audit:         kavachv1connect.NewAuditServiceClient(t, base, options),
		Access:        kavachv1connect.NewAccessServiceClient(t, base, options),
		Cluster:       kavachv1connect.NewClusterServiceClient(t, base, options),
		core:          c,
	}
}

// Endpoints returns what the Client knows of each node.
func (c *Client) Endpoints() []EndpointStatus { return c.core.pool.status() }

// Close ends the calls that are under way, which fail with ErrClosed, waits for them and for the Client's goroutines, and
// closes its idle connections. Calls after it fail with ErrClosed. Repeatable.
func (c *Client) Close() { c.core.close() }

func (c *core) close() {
	c.calls.Lock()
	c.calls.closed = true
	c.calls.Unlock()
	c.stop(ErrClosed)
	c.calls.Wait()
	c.pool.close()
	if c.idle != nil {
		c.idle()
	}
}

// enter begins a call, which Close ends. end must be called once.
func (c *core) enter(ctx context.Context) (call context.Context, end func(), err error) {
	c.calls.Lock()
	defer c.calls.Unlock()
	if c.calls.closed {
		return nil, nil, ErrClosed
	}
	c.calls.Add(1)
	call, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.ctx, func() { cancel(ErrClosed) })
	return call, func() {
		stop()
		cancel(nil)
		c.calls.Done()
	}, nil
}
