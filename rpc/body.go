package rpc

import (
	"io"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/kavachd/kavachd/ids"
)

const (
	// bodyTime is how long a caller may take to send a body. A server's ReadTimeout would end streams too.
	bodyTime = 30 * time.Second
	// strangerBodyTime is bodyTime for callers that show no well-formed API key. net/http waits for the rest of a body
	// before it sends even a refusal.
	strangerBodyTime = 3 * time.Second
	// maxBodyBytes bounds what is read of a request at all, framing included. What lies between the limit of a message and
	// this is read and dropped, so that the caller, still sending, gets to see the refusal.
	maxBodyBytes = 16 << 20
)

// guardBody bounds the bodies of requests in size and time.
func guardBody(next http.Handler, refuse *connect.ErrorWriter) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body == nil || r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		wait := strangerBodyTime
		if looksKnown(r.Header) {
			wait = bodyTime
		}
		if r.ContentLength > MaxRequestBytes && !isREST(r) && wait == bodyTime {
			_, _ = io.CopyN(io.Discard, timed(w, r, wait), maxBodyBytes)
			_ = refuse.Write(w, r, wireError(errBodyTooLarge(r.ContentLength)))
			return
		}
		r.Body = timed(w, r, wait)
		next.ServeHTTP(w, r)
	})
}

// looksKnown tells whether a caller shows what could be an API key. The gate looks closer.
func looksKnown(header http.Header) bool {
	values := header["Authorization"]
	return len(values) == 1 && len(values[0]) > len("Bearer ") && strings.HasPrefix(values[0][len("Bearer "):], ids.KeyPrefix)
}

// timed returns the body of r, which fails behind maxBodyBytes and when wait has passed.
func timed(w http.ResponseWriter, r *http.Request, wait time.Duration) *timedBody {
	b := &timedBody{ReadCloser: http.MaxBytesReader(w, r.Body, maxBodyBytes), conn: http.NewResponseController(w)}
	// Not every ResponseWriter knows deadlines (tests); the bound in size holds for all.
	b.timed = b.conn.SetReadDeadline(time.Now().Add(wait)) == nil
	return b
}

// timedBody lifts the deadline once the body has ended: the connection is watched on for the caller's leaving, and a
// deadline in force would look like that.
type timedBody struct {
	io.ReadCloser
	conn  *http.ResponseController
	timed bool
}

// Read implements io.Reader.
func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && b.timed {
		b.timed = false
		_ = b.conn.SetReadDeadline(time.Time{})
	}
	return n, err
}
