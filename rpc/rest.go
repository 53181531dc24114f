package rpc

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"connectrpc.com/connect"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/kavachd/kavachd/status"
)

// maxRESTBytes is the limit of a REST body.
const maxRESTBytes = MaxRequestBytes

// maxForeignError bounds what is read of an error that the transcoder wrote.
const maxForeignError = 64 << 10

// isREST tells whether r is for the transcoder.
func isREST(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/v1/") }

// reachedKey is under which a REST request's context says whether it got through to a handler.
type reachedKey struct{}

// markReached notes that the request has been decoded: what is answered from here on is ours.
func markReached(ctx context.Context) {
	if reached, ok := ctx.Value(reachedKey{}).(*atomic.Bool); ok {
		reached.Store(true)
	}
}

// restErrors makes every error of the transcoder look like ours: JSON with a code, a message and an ErrorDetail. The
// transcoder answers unknown paths in plain text, unknown parameters with 500, and neither with a reason.
func restErrors(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := &restWriter{ResponseWriter: w, reached: &atomic.Bool{}}
		next.ServeHTTP(out, r.WithContext(context.WithValue(r.Context(), reachedKey{}, out.reached)))
		if out.code != 0 {
			out.rewrite(r)
		}
	})
}

// restWriter holds an error back until it is known who wrote it.
type restWriter struct {
	http.ResponseWriter
	reached *atomic.Bool
	code    int // of a response that is held back; 0: none is
	body    []byte
}

// Unwrap lets an http.ResponseController find the connection.
func (w *restWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *restWriter) WriteHeader(code int) {
	if code == http.StatusUnauthorized { // RFC 9110 11.6.1; gRPC could not carry it
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	if code >= http.StatusBadRequest && !w.reached.Load() {
		w.code = code
		return
	}
	w.ResponseWriter.WriteHeader(code)
}

// Write implements io.Writer.
func (w *restWriter) Write(p []byte) (int, error) {
	if w.code == 0 {
		return w.ResponseWriter.Write(p)
	}
	w.body = append(w.body, p[:min(len(p), maxForeignError-len(w.body))]...)
	return len(p), nil
}

// Flush implements http.Flusher.
func (w *restWriter) Flush() {
	if f, ok := w.ResponseWriter.(http.Flusher); ok && w.code == 0 {
		f.Flush()
	}
}

// rewrite writes the held-back response, ours as it is, the transcoder's in our form.
func (w *restWriter) rewrite(r *http.Request) {
	var found struct {
		Message string            `json:"message"`
		Details []json.RawMessage `json:"details"`
	}
	isJSON := json.Unmarshal(w.body, &found) == nil
	if isJSON && len(found.Details) > 0 {
		w.ResponseWriter.WriteHeader(w.code)
		_, _ = w.ResponseWriter.Write(w.body)
		return
	}
	text := strings.TrimSpace(string(w.body))
	if isJSON {
		text = found.Message
	}
	e, code := foreign(w.code, text, r)
	if e.Reason == status.LimitExceeded { // still sending: let it see the answer
		_, _ = io.CopyN(io.Discard, r.Body, maxBodyBytes)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Del("Content-Length")
	w.Header().Del("Content-Encoding")
	w.ResponseWriter.WriteHeader(code)
	_, _ = w.ResponseWriter.Write(restError(wireError(e)))
}

// foreign reads an error of the transcoder. What it answers before a handler is reached is about the request; none of
// it is a fault of the node.
func foreign(code int, text string, r *http.Request) (*status.Error, int) {
	text = cut(text, 512)
	switch code {
	case http.StatusNotFound:
		return status.New(status.Unimplemented, "no such path: %s", cut(r.URL.Path, 256)), code
	case http.StatusMethodNotAllowed:
		return status.New(status.Unimplemented, "the path does not take the method %s", r.Method), code
	case http.StatusTooManyRequests:
		return status.New(status.LimitExceeded, "the request is larger than the limit of %d bytes", MaxRequestBytes), code
	case http.StatusUnsupportedMediaType:
		return status.New(status.InvalidArgument, "%s: the body must be application/json", text), code
	case http.StatusInternalServerError:
		code = http.StatusBadRequest
	}
	e := status.New(status.InvalidArgument, "%s", text)
	if m := jsonFieldAtFault.FindStringSubmatch(text); m != nil {
		e = e.WithField(m[1]+m[2], "%s", text)
	}
	return e, code
}

// restError is an error as REST answers it: google.rpc.Status as JSON.
func restError(e *connect.Error) []byte {
	st := &spb.Status{Code: int32(e.Code()), Message: e.Message()}
	for _, d := range e.Details() {
		st.Details = append(st.Details, &anypb.Any{TypeUrl: "type.googleapis.com/" + d.Type(), Value: d.Bytes()})
	}
	raw, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(st)
	if err != nil {
		return []byte(`{"code":13,"message":"the error could not be encoded"}`)
	}
	return raw
}
