// Package audit owns the way of an audit entry from a decision to the replicated trail and back: the node's journal, the
// shipper that takes it into blocks, queries over both, and the export.
package audit
