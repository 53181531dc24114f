package rpc

import (
	"context"
	"net/http"
	"strings"

	"connectrpc.com/connect"

	"github.com/kavachd/kavachd/authz"
	"github.com/kavachd/kavachd/cluster"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	"github.com/kavachd/kavachd/gen/kavach/v1/kavachv1connect"
	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/status"
)

// caller is who makes a request, as the gate knows it.
type caller struct {
	hash ids.Hash
	// key is the key as the gate found it; zero for Bootstrap, which has none. What answers judges it once more.
	key    authz.KeySpec
	peer   string // host:port
	header http.Header
}

type callerKey struct{}

// callerOf returns the caller of a request that has passed the gate.
func callerOf(ctx context.Context) *caller {
	c, ok := ctx.Value(callerKey{}).(*caller)
	if !ok {
		return &caller{} // a handler without a gate: no key, and so no right
	}
	return c
}

// ip is the address the request came from.
func (c *caller) ip() string {
	ip, ok := peerIP(c.peer)
	if !ok {
		return ""
	}
	return ip.String()
}

// trace is the trace id of a W3C traceparent header, or empty.
func (c *caller) trace() string {
	parts := strings.Split(c.header.Get("Traceparent"), "-")
	if len(parts) < 4 || len(parts[1]) != 32 || strings.Trim(parts[1], "0123456789abcdef") != "" {
		return ""
	}
	return parts[1]
}

// userAgent is what the caller says it is, cut to what an audit entry takes.
func (c *caller) userAgent() string { return cut(c.header.Get("User-Agent"), maxUserAgent) }

// maxUserAgent is the schema's limit of CallContext.user_agent.
const maxUserAgent = 1024

// cut shortens s to at most n bytes of valid UTF-8.
func cut(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "")
}

// gate lets a request pass whose API key is well-formed and known, before a byte of its body is read. Its judgement is
// the first, not the last: the version of the state that answers judges again.
type gate struct {
	node   Reader
	failed func(peer string)
	mask   func(ctx context.Context, spec connect.Spec, err error) *connect.Error
}

// allow implements connect.RequestGateFunc.
func (g *gate) allow(ctx context.Context, spec connect.Spec, peer connect.Peer, header http.Header) (context.Context, error) {
	c := &caller{peer: peer.Addr, header: header}
	if spec.Procedure != kavachv1connect.AccessServiceBootstrapProcedure {
		hash, ok := bearer(header)
		if !ok {
			g.failed(peer.Addr)
			return nil, unauthenticated("the call needs an API key, as Authorization: Bearer kvk_…")
		}
		key, err := g.identify(ctx, hash)
		if err != nil {
			if status.ReasonOf(err) == status.Unauthenticated {
				g.failed(peer.Addr)
				return nil, unauthenticated("the API key is unknown, revoked or expired")
			}
			return nil, g.mask(ctx, spec, err)
		}
		c.hash, c.key = hash, key
	}
	return context.WithValue(ctx, callerKey{}, c), nil
}

// identify finds the key in what the node has applied, and, if it is not there, in a confirmed read: another node may
// have made it a moment ago.
func (g *gate) identify(ctx context.Context, hash ids.Hash) (authz.KeySpec, error) {
	local, _, now := g.node.Local()
	if key := local.KeyByHash(hash); key != nil {
		return *key, cluster.Usable(key, now)
	}
	ctx, cancel := context.WithTimeout(ctx, DefaultCallTimeout)
	defer cancel()
	var key authz.KeySpec
	_, err := g.node.Read(ctx, cluster.Level{}, func(v *cluster.View) error {
		found := v.State.KeyByHash(hash)
		if err := cluster.Usable(found, v.Now); err != nil {
			return err
		}
		key = *found
		return nil
	})
	return key, err
}

func unauthenticated(message string) *connect.Error {
	return wireError(status.New(status.Unauthenticated, "%s", message))
}

// bearer returns the hash of the API key that a request carries. ok is false if it carries none that could be one.
func bearer(header http.Header) (hash ids.Hash, ok bool) {
	values := header["Authorization"]
	if len(values) != 1 {
		return ids.Hash{}, false
	}
	scheme, key, found := strings.Cut(values[0], " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		return ids.Hash{}, false
	}
	return ids.HashKey(key)
}

// command begins a command of the caller.
func (a *api) command(ctx context.Context, method string) (*raftv1.Command, error) {
	c := callerOf(ctx)
	id, err := a.newID()
	if err != nil {
		return nil, err
	}
	return &raftv1.Command{
		Caller: &raftv1.Caller{
			KeyId: c.key.ID[:], KeyRevision: c.key.Revision, NodeId: a.node.ID(), Tenant: c.key.Tenant,
		},
		Audit: &raftv1.AuditInfo{
			Id: id[:], Method: method, Ip: c.ip(), UserAgent: c.userAgent(), Trace: c.trace(),
		},
	}, nil
}
