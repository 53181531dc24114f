package rpc

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"
)

// DefaultCallTimeout is the deadline of a unary call that brings none.
const DefaultCallTimeout = 10 * time.Second

// MaxRequestBytes bounds one request message. A larger one is RESOURCE_EXHAUSTED.
const MaxRequestBytes = 4 << 20

// Config is what a Handler needs. Node and Log are required; the rest has defaults.
type Config struct {
	// Node answers. *cluster.Node satisfies it.
	Node Node
	// Log takes incidents and refused callers; never a secret.
	Log *slog.Logger
	// JoinSecret opens Bootstrap to callers that are not on loopback; empty: loopback only.
	JoinSecret []byte
	// Version is the program's version, for the cluster's status.
	Version string
	// CallTimeout is the deadline of a call that brings none; 0: DefaultCallTimeout.
	CallTimeout time.Duration
	// Now is the wall clock; nil: time.Now.
	Now func() time.Time
	// Random is where tokens, keys and ids come from; nil: crypto/rand.
	Random io.Reader
}

// Handler serves the API. It is safe for concurrent use.
type Handler struct {
	mux  *http.ServeMux
	stop context.CancelFunc
}

// New builds the API over a node. The caller must Close it.
func New(cfg Config) (*Handler, error) {
	if cfg.Node == nil || cfg.Log == nil {
		return nil, errors.New("rpc: Config needs a Node and a Log")
	}
	_, stop := context.WithCancel(context.Background())
	return &Handler{mux: http.NewServeMux(), stop: stop}, nil
}

// ServeHTTP serves one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

// Close writes what is still counted and ends the handler's goroutine. Requests must have ended before.
func (h *Handler) Close() { h.stop() }
