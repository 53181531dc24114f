package cluster

import (
	"crypto/rand"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	"github.com/kavachd/kavachd/ids"
)

// TestMaskEntry: neither a token nor a key stays in an entry, in whatever field it was put.
func TestMaskEntry(t *testing.T) {
	token, err := ids.NewToken(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ids.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{token, key} {
		e := &raftv1.AuditEntry{
			AgentId: secret, Action: "a" + secret, Resource: "x:" + secret + ":y", Reason: `Agent "` + secret + `" not found`,
			ApprovalId: secret, UserAgent: secret, Trace: secret, RequestId: secret, Parameters: []byte(`{"t":"Bearer ` + secret + `"}`),
		}
		maskEntry(e)
		raw, err := proto.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(raw), secret[:len(secret)-8]) {
			t.Errorf("a secret is left: %v", e)
		}
		if want := `Agent "kv_[masked]`; !strings.HasPrefix(e.GetReason(), want) || e.GetResource()[:2] != "x:" {
			t.Errorf("more than the secret is gone: %v", e)
		}
	}
	e := &raftv1.AuditEntry{AgentId: "agt_x", Resource: "kv_store:kvk_1", Parameters: []byte(`{"a":"kv_"}`)}
	was := proto.CloneOf(e)
	maskEntry(e)
	if !proto.Equal(e, was) {
		t.Errorf("%v becomes %v", was, e)
	}
}
