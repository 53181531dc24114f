// Package client is the Go client of a kavachd cluster: one Client for several nodes, which finds one that answers.
//
// It owns the choice of a node, the health of each, deadlines, repeats and the newest revision seen. It must not know how
// a node decides: it imports the API's messages and the stable reasons, and nothing else of the server.
//
// # What is repeated
//
// Decisions and reads are repeated at the next node. Mutations carry an idempotency key, which is made once per call,
// if the caller brings none, and is the same in every attempt: a write is applied once however often it was sent. The few
// calls without such a key (Bootstrap, RemoveMember, TransferLeadership) are repeated only if nothing was done. An error
// that says something about the request or the caller (UNAUTHENTICATED, PERMISSION_DENIED, INVALID_ARGUMENT, what the
// state refuses) is never repeated. A denial is an answer, not an error.
//
// A repeated decision may have more than one audit entry: the answer that got lost was a decision too.
//
// # Time
//
// Every call ends with its context, or after Config.Timeout if that has no deadline. One attempt gets a share of it, at
// most Config.AttemptTimeout at first, so that a node that hangs does not use it up. The next node is asked at once; when
// all have been asked, the client waits, longer each round, with jitter, and at least as long as the nodes ask for.
//
// # Health
//
// A node that can't be reached is left out until GET /readyz answers again; one that refuses, or took too long, is asked
// after the others. A node that is asked for its health gets no API key.
//
// # Concurrency
//
// A Client is safe for concurrent use. It owns one goroutine for each node that is not well, until it is; Close ends
// them, and the calls that are under way.
//
// # What a crash leaves
//
// Nothing is kept on disk. A program that dies during a write and must know what became of it brings its own idempotency
// key and repeats the call.
package client
