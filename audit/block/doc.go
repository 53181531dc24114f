// Package block owns the bytes of audit entries: one entry's encoding, and the body of a block of entries.
//
// A body is a row of small frames, each of which can be read alone:
//
//	body    version(1) frame…
//	frame   codec(1) reserved(1) count(2) raw(4) stored(4) oldest(8) newest(8) crc32c(4) stored bytes
//	raw     uvarint(length) entry, count times
//
// Numbers are little-endian. The checksum (Castagnoli) covers the frame's header before it and the stored bytes. An
// entry is the deterministic protobuf encoding of kavach.raft.v1.AuditEntry, made by AppendEntry.
//
// The package is a leaf: it imports generated code and the compressor only, reads no clock, no randomness and no
// configuration, starts no goroutine and touches no disk. Everything here is safe for concurrent use except a Builder.
// The same entries give the same uncompressed body on every node, which apply needs; compressed bodies travel in the
// command that carries them, so that nobody has to make them twice.
//
// Decoders take any bytes: every length is checked against a limit and against what is left before memory is reserved
// for it.
package block
