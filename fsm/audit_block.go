package fsm

import (
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/kavachd/kavachd/audit/block"
	"github.com/kavachd/kavachd/status"
	"github.com/kavachd/kavachd/storage"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// maxTerm bounds a term of the sparse index, in bytes. A key takes 4 KiB.
const maxTerm = 1024

// CheckAppendAuditBlock tells whether the block may be taken, and the next number that the cluster takes of its
// journal. take is false for a block that has been taken already, whole or in part: a repeat, which is no refusal.
func CheckAppendAuditBlock(r *Reader, c *raftv1.AppendAuditBlock) (next uint64, take bool, err error) {
	var p problems
	if err := block.Check(c); err != nil {
		p.add("block", "%v", err)
	}
	p.text("header.node_id", c.GetHeader().GetNodeId(), 0, maxText)
	for _, terms := range [][]string{c.GetAgents(), c.GetOwners(), c.GetTenants()} {
		for _, t := range terms {
			p.text("terms", t, 1, maxTerm)
		}
	}
	if err := p.err(); err != nil {
		return 0, false, err
	}
	next, err = r.JournalNext(storage.JournalID(c.GetHeader().GetJournalId()))
	if err != nil {
		return 0, false, err
	}
	first := c.GetHeader().GetFirstSeq()
	if first > next {
		return next, false, status.New(status.InvalidArgument, "the block begins at %d, the next number of its journal is %d", first, next).
			WithField("header.first_seq", "the next is %d", next)
	}
	return next, first == next, nil
}

func (x *command) appendAuditBlock(c *raftv1.AppendAuditBlock) (*raftv1.Result, error) {
	next, take, err := CheckAppendAuditBlock(x.Reader, c)
	if err != nil {
		return nil, err
	}
	if take {
		next += uint64(c.GetHeader().GetCount())
		if err := x.takeBlock(x.Reader, c); err != nil {
			return nil, err
		}
	}
	return &raftv1.Result{Result: &raftv1.Result_AuditBlock{AuditBlock: &raftv1.AuditBlockResult{NextSeq: next}}}, nil
}

// takeBlock gives the block its place in the cluster's order and writes header, body, sparse index and the journal's
// next number.
func (w *writer) takeBlock(r *Reader, c *raftv1.AppendAuditBlock) error {
	cluster, err := r.Cluster()
	if err != nil {
		return err
	}
	cluster.AuditBlocks++
	h := proto.CloneOf(c.GetHeader())
	h.BlockSeq, h.Index = cluster.GetAuditBlocks(), w.index
	if err := w.setRecord(storage.ClusterKey(), cluster); err != nil {
		return err
	}
	if err := w.setRecord(storage.AuditBlockKey(h.GetBlockSeq()), h); err != nil {
		return err
	}
	if err := w.set(storage.AuditBodyKey(h.GetBlockSeq()), c.GetBody()); err != nil {
		return err
	}
	for _, p := range termIndex(h, c.GetAgents(), c.GetOwners(), c.GetTenants(), c.GetResults()) {
		if err := w.set(p.key, p.value); err != nil {
			return err
		}
	}
	w.touched.AuditBlocks = true
	journal := storage.JournalID(h.GetJournalId())
	return w.set(storage.JournalKey(journal), storage.UintValue(h.GetFirstSeq()+uint64(h.GetCount())))
}

// termIndex is the definition of a block's keys in the sparse index.
func termIndex(h *raftv1.AuditBlock, agents, owners, tenants []string, results []uint32) []pair {
	value := storage.TimeValue(h.GetMinTime())
	list := make([]pair, 0, 1+len(agents)+len(owners)+len(tenants)+len(results))
	add := func(kind storage.TermKind, text string) {
		list = append(list, pair{storage.AuditTermKey(kind, text, h.GetMaxTime(), h.GetBlockSeq()), value})
	}
	add(storage.TermTime, "")
	for _, v := range agents {
		add(storage.TermAgent, v)
	}
	for _, v := range owners {
		add(storage.TermOwner, v)
	}
	for _, v := range tenants {
		add(storage.TermTenant, v)
	}
	for _, v := range results {
		add(storage.TermResult, ResultTerm(v))
	}
	return list
}

// ResultTerm is a kavach.v1.AuditResult as the sparse index spells it.
func ResultTerm(result uint32) string { return strconv.FormatUint(uint64(result), 10) }
