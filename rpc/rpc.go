package rpc

import (
	"compress/gzip"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"
	"connectrpc.com/vanguard"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/kavachd/kavachd/gen/kavach/v1/kavachv1connect"
	"github.com/kavachd/kavachd/status"
)

// DefaultCallTimeout is the deadline of a unary call that brings none.
const DefaultCallTimeout = 10 * time.Second

// MaxRequestBytes bounds one request message (SPEC 9). A larger one is RESOURCE_EXHAUSTED.
const MaxRequestBytes = 4 << 20

// compressMinBytes is the size from which on answers are compressed: for small ones gzip costs more than it saves.
const compressMinBytes = 1024

// Config is what a Handler needs. Node and Log are required; the rest has defaults.
type Config struct {
	// Node answers. *cluster.Node satisfies it.
	Node Node
	// Log takes incidents and refused callers; never a secret.
	Log *slog.Logger
	// JoinSecret opens Bootstrap to callers that are not on loopback; empty: loopback only.
	JoinSecret []byte
	// CallTimeout is the deadline of a call that brings none; 0: DefaultCallTimeout.
	CallTimeout time.Duration
	// Now is the wall clock; nil: time.Now.
	Now func() time.Time
	// Random is where tokens, keys and ids come from; nil: crypto/rand.
	Random io.Reader
}

// Handler serves the API. It is safe for concurrent use.
type Handler struct {
	root http.Handler
	stop context.CancelFunc
	done chan struct{}
}

// New builds the API over a node. The caller must Close it.
func New(cfg Config) (*Handler, error) {
	if cfg.Node == nil || cfg.Log == nil {
		return nil, errors.New("rpc: Config needs a Node and a Log")
	}
	if cfg.CallTimeout <= 0 {
		cfg.CallTimeout = DefaultCallTimeout
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	notes := &notary{node: cfg.Node, now: cfg.Now, random: cfg.Random}
	failures := newTally(cfg.Log, cfg.Now, notes.note)
	root, err := routes(cfg, notes, failures)
	if err != nil {
		return nil, fmt.Errorf("rpc: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	h := &Handler{root: root, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(h.done)
		failures.run(ctx)
	}()
	return h, nil
}

// ServeHTTP serves one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.root.ServeHTTP(w, r) }

// Close writes what is still counted of failed authentications and ends the handler's goroutine. Requests must have
// ended before, and the node must still run.
func (h *Handler) Close() {
	h.stop()
	<-h.done
}

// serviceNames are the services of the API.
var serviceNames = []string{
	kavachv1connect.AgentServiceName, kavachv1connect.AuthorizationServiceName, kavachv1connect.DelegationServiceName,
	kavachv1connect.AuditServiceName, kavachv1connect.AccessServiceName, kavachv1connect.ClusterServiceName,
}

// routes builds everything that the port serves.
func routes(cfg Config, notes *notary, failures *tally) (http.Handler, error) {
	pages, err := newPageTokens(cfg.Node.DeriveKey("page-token"), cfg.Now)
	if err != nil {
		return nil, err
	}
	shared := &api{notary: notes, pages: pages, secret: cfg.JoinSecret}
	options, err := handlerOptions(cfg, failures)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	var rest []*vanguard.Service
	for _, mount := range []func() (string, http.Handler){
		func() (string, http.Handler) {
			return kavachv1connect.NewAgentServiceHandler(agents{shared}, options)
		},
		func() (string, http.Handler) {
			return kavachv1connect.NewAuthorizationServiceHandler(authorization{shared}, options)
		},
		func() (string, http.Handler) {
			return kavachv1connect.NewDelegationServiceHandler(delegations{shared}, options)
		},
		func() (string, http.Handler) { return kavachv1connect.NewAuditServiceHandler(trail{shared}, options) },
		func() (string, http.Handler) { return kavachv1connect.NewAccessServiceHandler(access{shared}, options) },
		func() (string, http.Handler) {
			return kavachv1connect.NewClusterServiceHandler(operations{shared}, options)
		},
	} {
		path, handler := mount()
		mux.Handle(path, handler)
		rest = append(rest, vanguard.NewService(path, handler))
	}
	transcoder, err := vanguard.NewTranscoder(rest,
		vanguard.WithCodec(newRESTCodec),
		vanguard.WithDefaultServiceOptions(vanguard.WithNoTargetCompression(), vanguard.WithMaxMessageBufferBytes(maxRESTBytes)))
	if err != nil {
		return nil, fmt.Errorf("map REST: %w", err)
	}
	mux.Handle("/v1/", restErrors(transcoder))
	health(mux, cfg.Node)
	reflector := grpcreflect.NewStaticReflector(append([]string{grpchealth.HealthV1ServiceName}, serviceNames...)...)
	mux.Handle(grpcreflect.NewHandlerV1(reflector, options))
	mux.Handle(grpcreflect.NewHandlerV1Alpha(reflector, options))
	return guardBody(mux, connect.NewErrorWriter()), nil
}

func handlerOptions(cfg Config, failures *tally) (connect.HandlerOption, error) {
	validator, err := protovalidate.New(protovalidate.WithMessages(requests()...))
	if err != nil {
		return nil, fmt.Errorf("compile the rules of the schema: %w", err)
	}
	g := &guard{log: cfg.Log, random: cfg.Random, timeout: cfg.CallTimeout, validator: validator, failed: failures.add}
	first := &gate{node: cfg.Node, failed: failures.add, mask: g.mask}
	return connect.WithHandlerOptions(
		connect.WithRequestGate(first.allow),
		connect.WithInterceptors(g),
		connect.WithCodec(codec{}),
		connect.WithCodec(codec{json: true}),
		connect.WithReadMaxBytes(MaxRequestBytes),
		connect.WithCompressMinBytes(compressMinBytes),
		connect.WithCompression("gzip",
			func() connect.Decompressor { return &limitedGzip{Decompressor: &gzip.Reader{}} },
			func() connect.Compressor { return gzip.NewWriter(io.Discard) }),
	), nil
}

// requests returns an empty message of every request of the API, whose rules are compiled once.
func requests() (out []proto.Message) {
	for _, name := range serviceNames {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
		service, ok := d.(protoreflect.ServiceDescriptor)
		if err != nil || !ok {
			continue // compiled on first use then
		}
		for i := range service.Methods().Len() {
			t, err := protoregistry.GlobalTypes.FindMessageByName(service.Methods().Get(i).Input().FullName())
			if err == nil {
				out = append(out, t.New().Interface())
			}
		}
	}
	return out
}

// errBodyTooLarge is what a body that is known to be too large is refused with.
func errBodyTooLarge(size int64) *status.Error {
	return status.New(status.LimitExceeded, "the request has %d bytes, the limit is %d", size, MaxRequestBytes)
}
