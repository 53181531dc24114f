package cli

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/kavachd/kavachd/gen/kavach/v1/kavachv1connect"
	"github.com/kavachd/kavachd/status"
)

const (
	defaultAddr    = "127.0.0.1:7400"
	defaultTimeout = 10 * time.Second
	// dialTimeout bounds one connection, so that an address that swallows packets leaves time for the next.
	dialTimeout = 3 * time.Second
	// maxAnswer bounds one answer: a page of 1,000 agents with long lists, and some.
	maxAnswer = 256 << 20
	// Between two rounds over all addresses.
	minPause, maxPause = 50 * time.Millisecond, time.Second
)

// api is where to ask, as whom, and how to print: what all commands over the API share.
type api struct {
	output
	addr      string
	tokenFile string
	timeout   time.Duration
	anonymous bool // no API key is needed

	http      *http.Client
	endpoints []*endpoint
}

// endpoint is one node's API.
type endpoint struct {
	addr    string // as the user gave it
	base    string // URL without a path
	agents  kavachv1connect.AgentServiceClient
	decide  kavachv1connect.AuthorizationServiceClient
	delegs  kavachv1connect.DelegationServiceClient
	audit   kavachv1connect.AuditServiceClient
	cluster kavachv1connect.ClusterServiceClient
	access  kavachv1connect.AccessServiceClient
}

// newAPI adds the common flags to cmd and all below it.
func newAPI(env Env, cmd *cobra.Command) *api {
	a := &api{output: output{env: env}}
	a.flag(cmd)
	f := cmd.PersistentFlags()
	f.StringVar(&a.addr, "addr", "", "addresses of nodes, separated by commas (default KAVACH_ADDR, else "+defaultAddr+")")
	f.StringVar(&a.tokenFile, "token-file", "", "file that holds the API key, - for standard input (default KAVACH_TOKEN, else KAVACH_TOKEN_FILE)")
	f.DurationVar(&a.timeout, "timeout", 0, "bound of the whole command, repeats included (default KAVACH_TIMEOUT, else "+defaultTimeout.String()+")")
	return a
}

// open checks the common flags and makes the clients. Nothing is sent.
func (a *api) open() error {
	if err := a.check(); err != nil {
		return err
	}
	if err := a.bound(); err != nil {
		return err
	}
	token, err := a.token()
	if err != nil {
		return err
	}
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		MaxIdleConnsPerHost: 4,
		IdleConnTimeout:     time.Minute,
	}
	a.http = &http.Client{Transport: transport}
	options := []connect.ClientOption{connect.WithReadMaxBytes(maxAnswer), connect.WithInterceptors(bearer(token, a.env.Version))}
	for _, addr := range a.addresses() {
		base, err := baseURL(addr)
		if err != nil {
			return err
		}
		a.endpoints = append(a.endpoints, &endpoint{
			addr: addr, base: base,
			agents:  kavachv1connect.NewAgentServiceClient(a.http, base, options...),
			decide:  kavachv1connect.NewAuthorizationServiceClient(a.http, base, options...),
			delegs:  kavachv1connect.NewDelegationServiceClient(a.http, base, options...),
			audit:   kavachv1connect.NewAuditServiceClient(a.http, base, options...),
			cluster: kavachv1connect.NewClusterServiceClient(a.http, base, options...),
			access:  kavachv1connect.NewAccessServiceClient(a.http, base, options...),
		})
	}
	return nil
}

// close drops idle connections.
func (a *api) close() {
	if a.http != nil {
		a.http.CloseIdleConnections()
	}
}

// run wraps a command over the API: the clients are there while it runs.
func (a *api) run(do func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := a.open(); err != nil {
			return err
		}
		defer a.close()
		return do(cmd, args)
	}
}

func (a *api) bound() error {
	if a.timeout == 0 {
		a.timeout = defaultTimeout
		if text := a.env.lookup("KAVACH_TIMEOUT"); text != "" {
			d, err := time.ParseDuration(text)
			if err != nil {
				return usagef("KAVACH_TIMEOUT is %q, not a duration such as 30s", text)
			}
			a.timeout = d
		}
	}
	if a.timeout <= 0 {
		return usagef("the timeout is %s; it must be above 0", a.timeout)
	}
	return nil
}

func (a *api) addresses() []string {
	text := a.addr
	if text == "" {
		text = a.env.lookup("KAVACH_ADDR")
	}
	var list []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	if len(list) == 0 {
		return []string{defaultAddr}
	}
	return list
}

// baseURL accepts host:port and http(s)://host:port.
func baseURL(addr string) (string, error) {
	if strings.HasPrefix(addr, "http://") || strings.HasPrefix(addr, "https://") {
		return strings.TrimSuffix(addr, "/"), nil
	}
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return "", usagef("address %q: give host:port, as %s", addr, defaultAddr)
	}
	return "http://" + addr, nil
}

// token returns the API key. It never goes through a flag: a command line can be read by others.
func (a *api) token() (string, error) {
	if a.anonymous {
		return "", nil
	}
	file := a.tokenFile
	if file == "" {
		if token := strings.TrimSpace(a.env.lookup("KAVACH_TOKEN")); token != "" {
			return token, nil
		}
		file = a.env.lookup("KAVACH_TOKEN_FILE")
	}
	if file == "" {
		return "", nil // the node says what is missing
	}
	text, err := readText(a.env, file)
	if err != nil {
		return "", usagef("API key: %w", err)
	}
	if text == "" {
		return "", usagef("API key: %s is empty", file)
	}
	return text, nil
}

// maxSecretFile bounds what is read of a file that should hold one line.
const maxSecretFile = 64 << 10

// readText reads a small file, or standard input for "-", and cuts white space around it.
func readText(env Env, file string) (string, error) {
	data, err := readFile(env, file, maxSecretFile)
	return strings.TrimSpace(string(data)), err
}

// bearer adds the key and the program's name to every call, streams included.
func bearer(token, version string) connect.Interceptor {
	return headers(func(h http.Header) {
		if token != "" {
			h.Set("Authorization", "Bearer "+token)
		}
		h.Set("User-Agent", "kavachd-cli/"+version)
	})
}

type headers func(http.Header)

func (set headers) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		set(req.Header())
		return next(ctx, req)
	}
}

func (set headers) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		set(conn.RequestHeader())
		return conn
	}
}

func (set headers) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// mutation makes a command repeatable.
type mutation struct{ key string }

func (m *mutation) flag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&m.key, "idempotency-key", "", "names this change, so that repeating it changes nothing more (default: a new one; remembered for 24 hours)")
}

// id returns the key that the user gave, else a new one that all repeats of this command use.
func (m *mutation) id() string {
	if m.key == "" {
		var random [16]byte
		_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the process instead
		m.key = "cli-" + hex.EncodeToString(random[:])
	}
	return m.key
}

// outcomeError is a failure after which the change may have happened or not.
type outcomeError struct {
	err error
	key string
}

func (e *outcomeError) Error() string { return e.err.Error() }
func (e *outcomeError) Unwrap() error { return e.err }

// read asks the nodes in turn until one answers.
func read[Res any](cmd *cobra.Command, a *api, do func(context.Context, *endpoint) (*Res, error)) (*Res, error) {
	return call(cmd, a, "", true, do)
}

// write has one of the nodes make a change. With an idempotency key it may be sent again; without, only if it is certain
// that it was not begun.
func write[Res any](cmd *cobra.Command, a *api, key string, do func(context.Context, *endpoint) (*Res, error)) (*Res, error) {
	return call(cmd, a, key, key != "", do)
}

// call goes round the nodes until one answers, all are unreachable, or the timeout is over.
func call[Res any](cmd *cobra.Command, a *api, key string, repeatable bool, do func(context.Context, *endpoint) (*Res, error)) (*Res, error) {
	ctx, cancel := context.WithTimeout(cmd.Context(), a.timeout)
	defer cancel()
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		res, final, err := round(ctx, a, repeatable, do)
		if err == nil || final {
			return res, err
		}
		select {
		case <-ctx.Done():
			if key != "" && !notSent(err) {
				return nil, &outcomeError{err, key}
			}
			return nil, err
		case <-time.After(max(pause, retryAfter(err))):
		}
	}
}

// round asks each node once. It is final if another round would help nobody: an answer, an error that will stay, or no
// node to be reached at all.
func round[Res any](ctx context.Context, a *api, repeatable bool, do func(context.Context, *endpoint) (*Res, error)) (res *Res, final bool, err error) {
	var errs []error
	unreachable := 0
	for i, e := range a.endpoints {
		res, err := attempt(ctx, len(a.endpoints)-i, e, do)
		if err == nil || ctx.Err() == nil && !again(err, repeatable) {
			return res, true, err
		}
		if notSent(err) {
			unreachable++
		}
		errs = append(errs, err)
	}
	return nil, unreachable == len(errs), worst(a, errs)
}

// attempt gives one node its share of the time that is left.
func attempt[Res any](ctx context.Context, shares int, e *endpoint, do func(context.Context, *endpoint) (*Res, error)) (*Res, error) {
	if deadline, ok := ctx.Deadline(); ok && shares > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(shares))
		defer cancel()
	}
	return do(ctx, e)
}

// again tells whether another node, or the same one later, may do what this one did not.
func again(err error, repeatable bool) bool {
	if notSent(err) {
		return true
	}
	var ce *connect.Error
	if !errors.As(err, &ce) {
		return false
	}
	if detail := detailOf(ce); detail != nil {
		unknown := detail.GetReason() == string(status.OutcomeUnknown) || ce.Code() == connect.CodeDeadlineExceeded
		return detail.GetRetryable() && (!unknown || repeatable) || unknown && repeatable
	}
	// Not from a node's API: the connection broke, or the node did not answer in its share of the time.
	return repeatable && (ce.Code() == connect.CodeUnavailable || ce.Code() == connect.CodeDeadlineExceeded)
}

// notSent tells whether err says that there was no connection, so that nothing was asked.
func notSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// retryAfter is how long the node asked to wait.
func retryAfter(err error) time.Duration {
	var ce *connect.Error
	if !errors.As(err, &ce) {
		return 0
	}
	return detailOf(ce).GetRetryAfter().AsDuration()
}

// worst returns what tells most: an answer of a node over a failed connection; and all addresses if none was reached.
func worst(a *api, errs []error) error {
	for _, err := range errs {
		if !notSent(err) {
			return err
		}
	}
	lines := make([]string, len(errs))
	for i, err := range errs {
		lines[i] = fmt.Sprintf("%s: %s", a.endpoints[i].addr, message(err))
	}
	return &unreachableError{lines: lines, err: errs[0]}
}

// unreachableError says that no address could be connected to.
type unreachableError struct {
	lines []string
	err   error
}

func (e *unreachableError) Error() string {
	return "no node could be reached at " + strings.Join(e.lines, "; ")
}
func (e *unreachableError) Unwrap() error { return e.err }

func message(err error) string {
	if ce, ok := errors.AsType[*connect.Error](err); ok {
		return ce.Message()
	}
	return err.Error()
}
