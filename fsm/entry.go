package fsm

import (
	"google.golang.org/protobuf/proto"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// Format is the version of entries that this package reads and that proposers write.
const Format = 1

// maxCommands bounds the commands of an entry: the position is 16 bits of a delegation's order of creation.
const maxCommands = 1 << 16

// DecodeEntry decodes the payload of a Raft entry and checks what must hold of any entry. Its errors have a cause and
// stop a node.
func DecodeEntry(payload []byte) (*raftv1.Entry, error) {
	e := &raftv1.Entry{}
	if err := proto.Unmarshal(payload, e); err != nil {
		return nil, faultf(CauseMalformed, "decode: %w", err)
	}
	// The format stands before the fields: an entry of a newer one may well have more of them.
	if e.GetFormat() != Format {
		return nil, faultf(CauseFormat, "format %d; this version knows %d", e.GetFormat(), Format)
	}
	if err := checkKnown(e.ProtoReflect()); err != nil {
		return nil, faultf(CauseCommand, "%w", err)
	}
	if n := len(e.GetCommands()); n == 0 || n > maxCommands {
		return nil, faultf(CauseMalformed, "%d commands; 1 to %d are possible", n, maxCommands)
	}
	for i, c := range e.GetCommands() {
		if c.GetCommand() == nil {
			return nil, faultf(CauseCommand, "command %d is of no kind that this version knows", i)
		}
		if c.GetLeaderEpoch() != nil && len(e.GetCommands()) > 1 {
			return nil, faultf(CauseMalformed, "command %d: a LeaderEpoch does not travel alone", i)
		}
	}
	return e, nil
}

// EncodeEntry encodes an entry for proposal.
func EncodeEntry(e *raftv1.Entry) ([]byte, error) { return marshal(e) }
