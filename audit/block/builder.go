package block

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// Builder makes one block of entries given one by one. It is for one goroutine.
//
// Whether a frame fits is known only when it is compressed. So a block may end before the last entry that Add took:
// Finish tells how many are in it, and the rest begin the next one.
type Builder struct {
	compress bool
	target   int

	body  []byte
	raw   []byte // the frame being filled, before compression
	fill  frame  // its count and times
	items []item // its terms
	spare []byte // room for compressing
	full  bool   // a frame did not fit: nothing more is taken

	// Of the frames in body.
	count                   uint32
	oldest, newest          int64
	agents, owners, tenants map[string]struct{}
	results                 map[uint32]struct{}
	termBytes               int
	// Of all entries taken, those in raw included: the span.
	spanOldest, spanNewest int64
}

// item is what the index wants of an entry.
type item struct {
	agent, owner, tenant string
	result               uint32
}

// NewBuilder makes a Builder that cuts at target bytes of body, and at as many bytes of terms.
func NewBuilder(compress bool, target int) *Builder {
	b := &Builder{compress: compress, target: min(target, MaxBody)}
	b.Reset()
	return b
}

// Reset makes the Builder ready for another block. Blocks it made before stay as they are.
func (b *Builder) Reset() {
	*b = Builder{
		compress: b.compress, target: b.target, raw: b.raw[:0], items: b.items[:0], spare: b.spare,
		body:   []byte{version},
		oldest: math.MaxInt64, newest: math.MinInt64, spanOldest: math.MaxInt64, spanNewest: math.MinInt64,
		agents: map[string]struct{}{}, owners: map[string]struct{}{}, tenants: map[string]struct{}{}, results: map[uint32]struct{}{},
	}
}

// Add takes an entry, given as its encoding and its content; neither is kept but for the strings. It returns false if
// the entry must begin another block: this one is full, or would span more than MaxSpan. It returns ErrTooLarge for an
// entry above MaxEntry.
func (b *Builder) Add(raw []byte, e *raftv1.AuditEntry) (took bool, err error) {
	if len(raw) > MaxEntry {
		return false, fmt.Errorf("entry of %d bytes, more than %d: %w", len(raw), MaxEntry, ErrTooLarge)
	}
	oldest, newest := min(b.spanOldest, e.GetTime()), max(b.spanNewest, e.GetTime())
	if b.full || uint64(newest)-uint64(oldest) > MaxSpan {
		return false, nil
	}
	if b.fill.count > 0 && (len(b.raw)+binary.MaxVarintLen32+len(raw) > frameRaw || b.fill.count == math.MaxUint16) {
		if b.flush(); b.full {
			return false, nil
		}
	}
	b.spanOldest, b.spanNewest = oldest, newest
	if b.fill.count == 0 {
		b.fill.oldest, b.fill.newest = math.MaxInt64, math.MinInt64
	}
	b.fill.count++
	b.fill.oldest, b.fill.newest = min(b.fill.oldest, e.GetTime()), max(b.fill.newest, e.GetTime())
	b.raw = binary.AppendUvarint(b.raw, uint64(len(raw)))
	b.raw = append(b.raw, raw...)
	b.items = append(b.items, item{valid(e.GetAgentId()), valid(e.GetOwner()), valid(e.GetTenant()), e.GetResult()})
	return true, nil
}

// flush ends the frame being filled and appends it, unless it does not fit.
func (b *Builder) flush() {
	f := b.fill
	f.raw, f.stored = uint32(len(b.raw)), b.raw
	if b.compress {
		b.spare = compressor.EncodeAll(b.raw, b.spare[:0])
		if len(b.spare) < len(b.raw) {
			f.codec, f.stored = codecZstd, b.spare
		}
	}
	termBytes := b.termBytes + b.newTermBytes()
	if b.count > 0 && (len(b.body)+headerSize+len(f.stored) > b.target || termBytes > b.target) {
		b.full = true
		return
	}
	b.body = appendFrame(b.body, f)
	b.count += uint32(f.count)
	b.oldest, b.newest = min(b.oldest, f.oldest), max(b.newest, f.newest)
	b.termBytes = termBytes
	for _, it := range b.items {
		b.agents[it.agent], b.owners[it.owner], b.tenants[it.tenant] = struct{}{}, struct{}{}, struct{}{}
		b.results[it.result] = struct{}{}
	}
	b.raw, b.items, b.fill = b.raw[:0], b.items[:0], frame{}
}

// newTermBytes is at most how many bytes of terms the frame being filled adds; a term it holds twice in a row counts
// once.
func (b *Builder) newTermBytes() (n int) {
	var last item
	for _, it := range b.items {
		for _, t := range []struct {
			term, last string
			known      map[string]struct{}
		}{{it.agent, last.agent, b.agents}, {it.owner, last.owner, b.owners}, {it.tenant, last.tenant, b.tenants}} {
			if _, ok := t.known[t.term]; !ok && t.term != t.last {
				n += len(t.term)
			}
		}
		last = it
	}
	return n
}

// Finish returns the block and how many of the entries taken, from the first, are in it. It returns nil and 0 if none
// was taken. The Builder needs Reset before it is used again.
func (b *Builder) Finish() (*Block, int) {
	if b.fill.count > 0 && !b.full {
		b.flush()
	}
	if b.count == 0 {
		return nil, 0
	}
	return &Block{
		Body: b.body, Count: b.count, MinTime: b.oldest, MaxTime: b.newest, Hash: sha256.Sum256(b.body),
		Agents: sortedTerms(b.agents), Owners: sortedTerms(b.owners), Tenants: sortedTerms(b.tenants),
		Results: slices.Sorted(maps.Keys(b.results)),
	}, int(b.count)
}

// sortedTerms leaves the empty term out: nobody can ask for it.
func sortedTerms(set map[string]struct{}) []string {
	delete(set, "")
	return slices.Sorted(maps.Keys(set))
}
