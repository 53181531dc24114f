package rpc

import (
	"context"
	"io"
	"net/http"
	"slices"
	"time"

	"connectrpc.com/grpchealth"

	"github.com/kavachd/kavachd/cluster"
)

// readyWait bounds the proof that a node may decide.
const readyWait = 2 * time.Second

// health serves what anybody may ask: is the process there, and may it decide. It says no more to callers without a key.
func health(mux *http.ServeMux, node Node) {
	c := checker{node}
	mux.Handle(grpchealth.NewHandler(c))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { plain(w, true) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { plain(w, c.ready(r.Context())) })
}

func plain(w http.ResponseWriter, ok bool) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	text := "ok\n"
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
		text = "not ready\n"
	}
	_, _ = io.WriteString(w, text) // it fails when the client is gone
}

// checker answers grpc.health.v1: serving means that this node may decide now.
type checker struct{ node Node }

// ready proves it by a confirmed read, as a decision would; those that ask at once share one.
func (c checker) ready(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	st, err := c.node.Status()
	if err != nil || !st.Ready {
		return false
	}
	_, err = c.node.Read(ctx, cluster.Level{}, func(*cluster.View) error { return nil })
	return err == nil
}

// Check implements grpchealth.Checker.
func (c checker) Check(ctx context.Context, req *grpchealth.CheckRequest) (*grpchealth.CheckResponse, error) {
	if req.Service != "" && !slices.Contains(serviceNames, req.Service) {
		return nil, errNoSuchService()
	}
	if !c.ready(ctx) {
		return &grpchealth.CheckResponse{Status: grpchealth.StatusNotServing}, nil
	}
	return &grpchealth.CheckResponse{Status: grpchealth.StatusServing}, nil
}
