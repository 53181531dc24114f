package fsm

import (
	"google.golang.org/protobuf/proto"

	"github.com/kavachd/kavachd/authz"
	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/storage"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// CheckRevokeDelegation tells whether the delegation may be revoked: one that is already, always. See CheckCreateAgent.
func CheckRevokeDelegation(r *Reader, scope string, c *raftv1.RevokeDelegation) (*raftv1.Delegation, error) {
	d, err := r.delegationIn(scope, c.GetId())
	if err != nil || d.GetRevokedAt() != 0 {
		return d, err
	}
	return d, checkRevision(c.GetExpectedRevision(), d.GetRevision())
}

func (x *command) revokeDelegation(c *raftv1.RevokeDelegation) (*raftv1.Result, error) {
	x.about = subject{resource: "delegation:" + delegationText(c.GetId())}
	d, err := CheckRevokeDelegation(x.Reader, x.scope, c)
	if err != nil {
		return nil, err
	}
	x.about = aboutDelegation(d)
	n := 0
	if d.GetRevokedAt() == 0 {
		if d, err = x.endDelegation(d); err != nil {
			return nil, err
		}
		if n, err = x.cascade(d.GetTenant(), d.GetTo()); err != nil {
			return nil, err
		}
	}
	return &raftv1.Result{Result: &raftv1.Result_Revoke{Revoke: &raftv1.RevokeResult{
		Delegation: d, DelegationsRevoked: uint32(n),
	}}}, nil
}

func (x *command) endDelegation(was *raftv1.Delegation) (*raftv1.Delegation, error) {
	is := proto.CloneOf(was)
	is.RevokedAt, is.Revision = x.wall, x.index
	return is, x.putDelegation(was, is)
}

// cascade revokes every live delegation below the agent top of which no permission is covered any more by what its
// giver then holds (SPEC 5), and returns how many. Where some are, the delegation stays, and so does what hangs on
// those; the way down goes on below it, because what hangs on the others may be lost.
//
// The order does not matter: what CoveredBy finds rests on what is covered all the way up, so a delegation that is about
// to be revoked already covers nothing. An expired agent still counts as a giver: it may be revived, and what is
// revoked here is revoked for good.
func (x *command) cascade(tenant string, top []byte) (revoked int, err error) {
	src := newSource(x.Reader, x.wall, true)
	queue := []ids.ID{ids.ID(top)}
	seen := map[ids.ID]struct{}{queue[0]: {}}
	for len(queue) > 0 {
		giver := queue[0]
		queue = queue[1:]
		edges, err := x.liveEdges(storage.LiveGivenFrom(tenant, giver, x.wall+1), storage.LiveGivenPrefix(tenant, giver))
		if err != nil {
			return revoked, err
		}
		for _, e := range edges {
			d, err := must(x.Reader, storage.DelegationKey(tenant, e.id), &raftv1.Delegation{})
			if err != nil {
				return revoked, err
			}
			held, err := holdsAny(src, d)
			if err != nil {
				return revoked, err
			}
			to := ids.ID(d.GetTo())
			if !held {
				if _, err := x.endDelegation(d); err != nil {
					return revoked, err
				}
				src.forget(to)
				revoked++
			}
			if _, ok := seen[to]; !ok {
				seen[to] = struct{}{}
				queue = append(queue, to)
			}
		}
	}
	return revoked, nil
}

// holdsAny tells whether the giver of d still holds something that covers one of its permissions, not too deep.
func holdsAny(src *source, d *raftv1.Delegation) (bool, error) {
	for _, p := range d.GetPermissions() {
		c := authz.CoveredBy(src, ids.ID(d.GetFrom()), permission(p), src.at)
		if src.err != nil {
			return false, src.err
		}
		if c.Covered && c.Depth <= min(c.MaxDepth, d.GetMaxDepth(), authz.MaxPath) {
			return true, nil
		}
	}
	return false, nil
}
