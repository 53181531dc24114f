// Package connect stands for the real one, so that the broken source compiles by itself.
package connect

// Code is a code of the wire.
type Code uint32

// CodeNotFound is one of them.
const CodeNotFound Code = 5
