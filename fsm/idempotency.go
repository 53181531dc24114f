package fsm

import (
	"bytes"
	"crypto/sha256"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/status"
	"github.com/kavachd/kavachd/storage"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// idempotencyTTL is how long a request is remembered (SPEC 1).
const idempotencyTTL = 24 * time.Hour

// remembered looks up the request that c repeats. q is nil if c is not to be remembered, first if it is the first.
// Refusals are not remembered: a repeat of a refused request is judged anew.
func (x *command) remembered(c *raftv1.Command) (q *storage.IdempotencyID, first *raftv1.IdempotencyRecord, err error) {
	k := c.GetIdempotency()
	if k == nil {
		return nil, nil, nil
	}
	var p problems
	p.text("idempotency.key", k.GetKey(), 1, maxText)
	p.text("idempotency.method", k.GetMethod(), 1, maxText)
	p.size("idempotency.request_hash", k.GetRequestHash(), sha256.Size)
	p.text("caller.tenant", c.GetCaller().GetTenant(), 0, maxText)
	if err := p.err(); err != nil {
		return nil, nil, err
	}
	q = &storage.IdempotencyID{Tenant: c.GetCaller().GetTenant(), Method: k.GetMethod(), Key: k.GetKey()}
	if id := c.GetCaller().GetKeyId(); len(id) > 0 { // its length was checked with the caller
		q.Caller = ids.ID(id)
	}
	first, err = record(x.Reader, storage.IdempotencyKey(*q), &raftv1.IdempotencyRecord{})
	if err != nil || first == nil {
		return q, nil, err
	}
	if first.GetExpiresAt() <= x.wall { // to be forgotten, though not yet purged
		x.forgotten = first
		return q, nil, nil
	}
	if !bytes.Equal(first.GetRequestHash(), k.GetRequestHash()) {
		return nil, nil, status.New(status.IdempotencyKeyReused, "the idempotency key has been used for another request").
			WithField("idempotency.key", "used for another request of %s", k.GetMethod())
	}
	return q, first, nil
}

// remember keeps the outcome of c for its repeats.
func (x *command) remember(c *raftv1.Command, q storage.IdempotencyID, o Outcome) error {
	is := &raftv1.IdempotencyRecord{
		RequestHash: c.GetIdempotency().GetRequestHash(),
		Result:      o.Result,
		ExpiresAt:   x.wall + int64(idempotencyTTL),
		TokenHash:   secretHash(c),
		Revision:    o.Revision,
	}
	if err := x.reindex(idempotencyIndex(q, x.forgotten), idempotencyIndex(q, is)); err != nil {
		return err
	}
	return x.setRecord(storage.IdempotencyKey(q), is)
}

func idempotencyIndex(q storage.IdempotencyID, rec *raftv1.IdempotencyRecord) []pair {
	if rec == nil {
		return nil
	}
	return []pair{{storage.IdempotencyExpiryKey(rec.GetExpiresAt(), q), nil}}
}

// repeat answers what the first attempt did. A repeat that brings a new secret, because nobody can know the first one
// any more, replaces it if nothing has changed it since.
func (x *command) repeat(c *raftv1.Command, q *storage.IdempotencyID, first *raftv1.IdempotencyRecord) (Outcome, error) {
	x.about = aboutResult(first.GetResult())
	o := Outcome{Revision: first.GetRevision(), Result: first.GetResult()}
	h := secretHash(c)
	if h == nil || bytes.Equal(h, first.GetTokenHash()) {
		return o, nil
	}
	var err error
	if k := first.GetResult().GetKey(); k != nil {
		err = x.replaceSecret(k, first.GetTokenHash(), h)
	} else {
		err = x.replaceToken(first.GetResult().GetAgent().GetAgent(), first.GetTokenHash(), h)
	}
	if err != nil {
		return Outcome{}, err
	}
	next := proto.CloneOf(first)
	next.TokenHash = h
	if a := o.Result.GetAgent(); a != nil {
		a.TokenReplaced = true
	}
	return o, x.setRecord(storage.IdempotencyKey(*q), next)
}

// secretHash is the hash of the secret that c gives its caller; nil if it gives none.
func secretHash(c *raftv1.Command) []byte {
	switch c := c.GetCommand().(type) {
	case *raftv1.Command_CreateAgent:
		return c.CreateAgent.GetTokenHash()
	case *raftv1.Command_RotateToken:
		return c.RotateToken.GetTokenHash()
	case *raftv1.Command_CreateKey:
		return c.CreateKey.GetHash()
	case *raftv1.Command_BootstrapKey:
		return c.BootstrapKey.GetHash()
	default:
		return nil
	}
}

// replaceToken puts the token of a repeat in the place of the one that the first attempt, or the repeat before, left.
// The repeat is the same act: the agent keeps its revision and times, and a previous token its grace.
func (x *command) replaceToken(a *raftv1.Agent, left, h []byte) error {
	was, err := x.agentIn(x.scope, "agent_id", a.GetId())
	if err != nil {
		return err
	}
	if was.GetRevokedAt() != 0 {
		return status.New(status.AgentRevoked, "agent %s has been revoked since the first attempt", agentText(was.GetId()))
	}
	if !bytes.Equal(was.GetTokenHash(), left) {
		return status.New(status.TokenSuperseded, "the token of agent %s has been changed since the first attempt", agentText(was.GetId()))
	}
	if err := x.checkNewToken(h); err != nil {
		return err
	}
	is := proto.CloneOf(was)
	is.TokenHash = h
	return x.putAgent(was, is)
}

// replaceSecret is replaceToken for an API key.
func (x *command) replaceSecret(k *raftv1.ApiKey, left, h []byte) error {
	was, err := x.keyIn(x.scope, "key_id", k.GetId())
	if err != nil {
		return err
	}
	if was.GetRevokedAt() != 0 || !bytes.Equal(was.GetHash(), left) {
		return status.New(status.TokenSuperseded, "the API key %s has been changed since the first attempt", keyText(was.GetId()))
	}
	if err := x.checkNewSecret(h); err != nil {
		return err
	}
	is := proto.CloneOf(was)
	is.Hash = h
	return x.putKey(was, is)
}
