package block

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// Limits.
const (
	// MaxEntry is the largest entry, in encoded bytes: 64 KiB of arguments and everything else that SPEC 9 allows.
	MaxEntry = 96 << 10
	// TargetBody is where a node cuts a block. Only a block of one frame that holds one entry may be larger.
	TargetBody = 64 << 10
	// MaxShipped is the largest body that a node may propose: one entry of MaxEntry that no compressor helps.
	MaxShipped = MaxEntry + 1<<10
	// MaxBody is the largest body that is decoded: what apply itself makes is not cut, and stays far below.
	MaxBody = 16 << 20
	// MaxSpan is how far apart the oldest and the newest entry of a block may be, in nanoseconds. The index of blocks
	// by their newest entry serves both orders and every time range because of it.
	MaxSpan = 2_000_000_000
)

// ErrCorrupt is returned for bytes that are no block body or no entry.
var ErrCorrupt = errors.New("corrupt audit block")

// ErrTooLarge is returned for an entry above MaxEntry or a body above MaxBody.
var ErrTooLarge = errors.New("audit entry or block too large")

// Block is an encoded body and what its header and the sparse index say of it.
type Block struct {
	Body             []byte
	Count            uint32
	MinTime, MaxTime int64 // Unix nanoseconds of the oldest and the newest entry
	Hash             [sha256.Size]byte
	// What the index says: sorted, distinct, empty values left out.
	Agents, Owners, Tenants []string
	Results                 []uint32
}

// Encode makes a compressed block of entries, whatever its size up to MaxBody. Entries are not changed or kept.
func Encode(entries []*raftv1.AuditEntry) (*Block, error) { return encode(entries, true) }

// EncodeUncompressed makes a block whose bytes depend on the entries alone, for the entries that apply makes.
func EncodeUncompressed(entries []*raftv1.AuditEntry) (*Block, error) { return encode(entries, false) }

func encode(entries []*raftv1.AuditEntry, compress bool) (*Block, error) {
	b := NewBuilder(compress, MaxBody)
	var raw []byte
	for i, e := range entries {
		raw = AppendEntry(raw[:0], e)
		took, err := b.Add(raw, e)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", i, err)
		}
		if !took {
			break
		}
	}
	blk, n := b.Finish()
	if n != len(entries) {
		return nil, fmt.Errorf("%d of %d entries fit into %d bytes and %d ns: %w", n, len(entries), MaxBody, MaxSpan, ErrTooLarge)
	}
	return blk, nil
}

// Header returns the block's header; block_seq and index are apply's to fill in.
func (b *Block) Header(journal [16]byte, firstSeq uint64, nodeID string) *raftv1.AuditBlock {
	return &raftv1.AuditBlock{
		JournalId: journal[:],
		FirstSeq:  firstSeq,
		Count:     b.Count,
		MinTime:   b.MinTime,
		MaxTime:   b.MaxTime,
		BodyHash:  b.Hash[:],
		BodySize:  uint32(len(b.Body)),
		NodeId:    nodeID,
	}
}

// Command returns the command that takes the block, whose first entry has the number firstSeq, into the trail.
func (b *Block) Command(journal [16]byte, firstSeq uint64, nodeID string) *raftv1.AppendAuditBlock {
	return &raftv1.AppendAuditBlock{
		Header:  b.Header(journal, firstSeq, nodeID),
		Body:    b.Body,
		Agents:  b.Agents,
		Owners:  b.Owners,
		Tenants: b.Tenants,
		Results: b.Results,
	}
}

// Check tells whether a command holds a block that may be taken: identity, sizes, hash, checksums, counts and times of
// all frames, span, order of the terms. It decompresses nothing. A refusal wraps ErrCorrupt or ErrTooLarge and is the
// same on every node.
func Check(cmd *raftv1.AppendAuditBlock) error {
	h := cmd.GetHeader()
	switch {
	case len(h.GetJournalId()) != 16 || [16]byte(h.GetJournalId()) == [16]byte{}:
		return fmt.Errorf("journal id of %d bytes, or zero: %w", len(h.GetJournalId()), ErrCorrupt)
	case h.GetFirstSeq() == 0 || h.GetFirstSeq() > math.MaxUint64-uint64(h.GetCount()):
		return fmt.Errorf("first number %d: %w", h.GetFirstSeq(), ErrCorrupt)
	case len(cmd.GetBody()) > MaxShipped:
		return fmt.Errorf("body of %d bytes, more than %d: %w", len(cmd.GetBody()), MaxShipped, ErrTooLarge)
	case int(h.GetBodySize()) != len(cmd.GetBody()):
		return fmt.Errorf("body of %d bytes, said to be %d: %w", len(cmd.GetBody()), h.GetBodySize(), ErrCorrupt)
	case len(h.GetBodyHash()) != sha256.Size || sha256.Sum256(cmd.GetBody()) != [sha256.Size]byte(h.GetBodyHash()):
		return fmt.Errorf("body does not have its hash: %w", ErrCorrupt)
	case h.GetMinTime() > h.GetMaxTime() || uint64(h.GetMaxTime()-h.GetMinTime()) > MaxSpan:
		return fmt.Errorf("times %d to %d: %w", h.GetMinTime(), h.GetMaxTime(), ErrCorrupt)
	}
	for _, terms := range [][]string{cmd.GetAgents(), cmd.GetOwners(), cmd.GetTenants()} {
		if !ascending(terms) || (len(terms) > 0 && terms[0] == "") || len(terms) > int(h.GetCount()) {
			return fmt.Errorf("terms are not sorted and distinct: %w", ErrCorrupt)
		}
	}
	if !ascending(cmd.GetResults()) || len(cmd.GetResults()) > int(h.GetCount()) {
		return fmt.Errorf("results are not sorted and distinct: %w", ErrCorrupt)
	}
	return checkFrames(cmd.GetBody(), h)
}

func checkFrames(body []byte, h *raftv1.AuditBlock) error {
	var count uint64
	oldest, newest := int64(math.MaxInt64), int64(math.MinInt64)
	for f, err := range frames(body) {
		if err != nil {
			return err
		}
		count += uint64(f.count)
		oldest, newest = min(oldest, f.oldest), max(newest, f.newest)
	}
	if count == 0 || count != uint64(h.GetCount()) || oldest != h.GetMinTime() || newest != h.GetMaxTime() {
		return fmt.Errorf("frames hold %d entries of %d to %d, the header says %d of %d to %d: %w",
			count, oldest, newest, h.GetCount(), h.GetMinTime(), h.GetMaxTime(), ErrCorrupt)
	}
	return nil
}

// ascending tells whether each term is larger than the one before it.
func ascending[T string | uint32](terms []T) bool {
	for i := 1; i < len(terms); i++ {
		if terms[i-1] >= terms[i] {
			return false
		}
	}
	return true
}
