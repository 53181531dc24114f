package fsm

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/kavachd/kavachd/status"
	"github.com/kavachd/kavachd/storage"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// same fails unless the outcome is the first one, but for token_replaced.
func same(t *testing.T, first, got Outcome, replaced bool) {
	t.Helper()
	if got.Refused != nil {
		t.Fatal(got.Refused)
	}
	if a := got.Result.GetAgent(); a != nil {
		if a.GetTokenReplaced() != replaced {
			t.Errorf("token_replaced is %v", a.GetTokenReplaced())
		}
		a.TokenReplaced = false
	}
	if d := cmp.Diff(first, got, protocmp.Transform()); d != "" {
		t.Error("a repeat answers otherwise:", d)
	}
}

func withToken(secret string) func(*raftv1.CreateAgent) {
	return func(c *raftv1.CreateAgent) { c.TokenHash = testHash(secret) }
}

func TestRepeatedCreate(t *testing.T) {
	b := newBench(t)
	first := b.do(keyed("k", "q", create(10, withToken("first"))))
	stored := b.agent(10)
	b.wall += hour
	// Another attempt has another id and token; the answer to the first one was lost, and its token with it.
	same(t, first, b.do(keyed("k", "q", create(11, withToken("second")))), true)
	if b.byToken("first") != 0 || b.byToken("second") != 10 || b.agent(11) != nil {
		t.Error("the new token must replace the first one, and no second agent be made")
	}
	same(t, first, b.do(keyed("k", "q", create(12, withToken("third")))), true)
	if b.byToken("second") != 0 || b.byToken("third") != 10 {
		t.Error("a second repeat replaces the first repeat's token")
	}
	same(t, first, b.do(keyed("k", "q", create(12, withToken("third")))), false) // the very same command again
	stored.TokenHash = testHash("third")
	if d := cmp.Diff(stored, b.agent(10), protocmp.Transform()); d != "" {
		t.Error("a repeat changes more than the token:", d)
	}
	b.check()
}

func TestRepeatAfterAnotherRotate(t *testing.T) {
	b := newBench(t)
	b.do(keyed("k", "q", create(10, withToken("first"))))
	b.ok(rotate(10, "other", 0))
	b.refused(status.TokenSuperseded, keyed("k", "q", create(11, withToken("second"))))
	if b.byToken("other") != 10 || b.byToken("second") != 0 {
		t.Error("a late repeat took the token of a later Rotate away")
	}
	b.ok(revoke(10))
	b.refused(status.AgentRevoked, keyed("k", "q", create(11, withToken("second"))))
	b.check()
}

// TestRepeatedRotate: the new token works, the lost one is dead, and the grace is that of the first attempt.
func TestRepeatedRotate(t *testing.T) {
	b := newBench(t)
	b.ok(create(10, nil))
	first := b.do(keyed("k", "q", rotate(10, "lost", hour)))
	until := b.agent(10).GetPrevTokenUntil()
	b.wall += second
	same(t, first, b.do(keyed("k", "q", rotate(10, "new", hour))), true)
	a := b.agent(10)
	if b.byToken("lost") != 0 || b.byToken("new") != 10 || b.byToken("t10") != 10 {
		t.Error("of lost, new and previous token only the lost one must be dead")
	}
	if a.GetPrevTokenUntil() != until || !bytes.Equal(a.GetPrevTokenHash(), testHash("t10")) || a.GetRevision() != first.Revision {
		t.Errorf("%v", a)
	}
	// The previous token is in use: it can't be the new one's.
	b.refused(status.AlreadyExists, keyed("k", "q", rotate(10, "t10", hour)))
	b.check()
}

func TestRepeatedKey(t *testing.T) {
	b := newBench(t)
	first := b.do(keyed("k", "q", createKey(20, nil)))
	again := func(n int) *raftv1.Command { return keyed("k", "q", createKey(n, nil)) }
	same(t, first, b.do(again(21)), false)
	b.ok(by(20, "", create(10, nil))) // the id is that of the first attempt
	b.read(func(r *Reader) {
		if k, err := r.KeyByHash([32]byte(testHash("k21"))); err != nil || k == nil || !bytes.Equal(k.GetId(), testID(20)) {
			t.Error("the new secret does not open the key:", k, err)
		}
		if k, err := r.KeyByHash([32]byte(testHash("k20"))); err != nil || k != nil {
			t.Error("the lost secret still does:", k, err)
		}
	})
	b.ok(revokeKey(20))
	b.refused(status.TokenSuperseded, again(22))
	b.check()
}

func TestRepeatOfWhatGivesNoSecret(t *testing.T) {
	b := newBench(t)
	family(b, "a *", "")
	name := "x"
	for i, c := range []*raftv1.Command{
		update(10, func(c *raftv1.UpdateAgent) { c.Name = &name }),
		delegate(50, 10, 11, nil, "a read"),
		revokeDelegation(50),
		settings(&raftv1.Settings{TokenExpiry: hour}),
		createKey(20, nil),
		revokeKey(20),
		revoke(10),
	} {
		c = keyed("k", "q"+string(rune('0'+i)), c)
		first := b.do(clone(c))
		before := b.digests()
		b.wall += second
		same(t, first, b.do(clone(c)), false)
		for letter, sum := range b.digests() {
			if letter != storage.TableCluster && sum != before[letter] {
				t.Errorf("a repeat of %T changed the table %q", c.GetCommand(), letter)
			}
		}
	}
	b.check()
}

func TestIdempotencyKeys(t *testing.T) {
	b := newBench(t)
	b.ok(createKey(20, nil))
	b.ok(keyed("k", "q", create(10, nil)))
	e := b.refused(status.IdempotencyKeyReused, keyed("k", "other", create(11, nil)))
	if len(e.Fields) == 0 || e.Fields[0].Path != "idempotency.key" {
		t.Errorf("%v", e)
	}
	b.ok(by(20, "", keyed("k", "other", create(12, nil)))) // another caller's
	b.ok(keyed("k", "other", rotate(10, "r", 0)))          // another method's
	b.ok(by(2, "default", keyed("k", "other", create(13, nil))))
	b.refused(status.InvalidArgument, keyed("", "q", create(14, nil)))
	bad := keyed("k2", "q", create(14, nil))
	bad.Idempotency.RequestHash = nil
	b.refused(status.InvalidArgument, bad)

	// A refusal is not remembered: the same request may succeed later.
	b.ok(settings(&raftv1.Settings{MaxAgentsPerOwner: 1}))
	b.refused(status.AgentLimitExceeded, keyed("k3", "q", create(14, nil)))
	b.ok(settings(&raftv1.Settings{MaxAgentsPerOwner: 100}))
	b.ok(keyed("k3", "q", create(14, nil)))

	b.wall += day - 1
	b.refused(status.IdempotencyKeyReused, keyed("k3", "other", create(15, nil)))
	b.wall++ // 24 h: forgotten, though not yet purged
	b.ok(keyed("k3", "other", create(15, nil)))
	b.refused(status.IdempotencyKeyReused, keyed("k3", "q", create(16, nil)))
	b.check()
}

// TestRepeatNeedsTheCaller: a repeat is no way around the check of the caller.
func TestRepeatNeedsTheCaller(t *testing.T) {
	b := newBench(t)
	b.ok(createKey(20, nil))
	b.ok(by(20, "", keyed("k", "q", create(10, nil))))
	b.ok(revokeKey(20))
	b.refused(status.Unauthenticated, by(20, "", keyed("k", "q", create(11, nil))))
	if b.byToken("t10") != 10 {
		t.Error("a refused repeat replaced the token")
	}
}
