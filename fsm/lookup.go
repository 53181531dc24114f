package fsm

import (
	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/status"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// agentIn returns the agent that a request names at path. One of another tenant than the caller's is not found: that it
// exists is none of the caller's business.
func (r *Reader) agentIn(scope, path string, id []byte) (*raftv1.Agent, error) {
	var a *raftv1.Agent
	if len(id) == len(ids.ID{}) {
		var err error
		if a, err = r.Agent(ids.ID(id)); err != nil {
			return nil, err
		}
	}
	if a == nil || scope != "" && a.GetTenant() != scope {
		return nil, status.New(status.AgentNotFound, "agent %s not found", agentText(id)).WithField(path, "not found")
	}
	return a, nil
}

func (r *Reader) delegationIn(scope string, id []byte) (*raftv1.Delegation, error) {
	var d *raftv1.Delegation
	if len(id) == len(ids.ID{}) {
		var err error
		if d, err = r.Delegation(ids.ID(id)); err != nil {
			return nil, err
		}
	}
	if d == nil || scope != "" && d.GetTenant() != scope {
		return nil, status.New(status.DelegationNotFound, "delegation %s not found", delegationText(id)).
			WithField("delegation_id", "not found")
	}
	return d, nil
}

func (r *Reader) keyIn(scope, path string, id []byte) (*raftv1.ApiKey, error) {
	var k *raftv1.ApiKey
	if len(id) == len(ids.ID{}) {
		var err error
		if k, err = r.Key(ids.ID(id)); err != nil {
			return nil, err
		}
	}
	if k == nil || scope != "" && k.GetTenant() != scope {
		return nil, status.New(status.KeyNotFound, "API key %s not found", keyText(id)).WithField(path, "not found")
	}
	return k, nil
}

// checkRevision is the optional guard of a change: 0 is none.
func checkRevision(expected, found uint64) error {
	if expected != 0 && expected != found {
		return status.New(status.RevisionMismatch, "the revision is %d, expected was %d", found, expected).
			WithField("expected_revision", "the revision is %d", found)
	}
	return nil
}

// checkNewToken refuses a token hash that some agent has. Tokens are 256 random bits: only a defect or malice brings one.
func (r *Reader) checkNewToken(h []byte) error {
	var p problems
	p.hash("token_hash", h)
	if err := p.err(); err != nil {
		return err
	}
	a, err := r.AgentByToken(ids.Hash(h))
	if err == nil && a != nil {
		err = status.New(status.AlreadyExists, "the token is in use")
	}
	return err
}

// checkNewSecret is checkNewToken for API keys.
func (r *Reader) checkNewSecret(h []byte) error {
	var p problems
	p.hash("hash", h)
	if err := p.err(); err != nil {
		return err
	}
	k, err := r.KeyByHash(ids.Hash(h))
	if err == nil && k != nil {
		err = status.New(status.AlreadyExists, "the secret is in use")
	}
	return err
}
