// Package vectors runs what was recorded from the real KavachOS (testdata/vectors) against the state machine, the
// decision engine and the audit trail as they are built into a node, with a clock that only a case moves.
//
// It owns the reading of the cases, the marks on them, and a world of one replica: every management call is a command
// applied by fsm over Pebble in memory, every decision is authz over the decision state that fsm keeps, every entry
// goes through a block of the trail and is read back by audit. It knows neither Raft nor the wire. What a mark says
// is explained in testdata/vectors/README.md; docs/kavachos-compatibility.md is generated from the same run.
package vectors
