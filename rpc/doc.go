// Package rpc owns the public API: the services of kavach.v1 over Connect, gRPC, gRPC-Web, JSON and REST on one port,
// authentication of callers, the mapping between the API's messages and the node's types, page tokens, and the one place
// where a status.Reason becomes a wire code.
//
// It must not know how or where anything is stored: it reaches state through cluster's views and readers, and never
// imports storage. It decides nothing itself: a decision is cluster's Decide, a change is a command that the state
// machine checks again.
//
// # The way of a request
//
// Outermost first: the HTTP handler refuses a request without a well-formed API key before a byte of its body is read;
// then recover and mask (what is not a deliberate error becomes INTERNAL with an incident id), the default deadline,
// validation by the rules of the schema, the handler. The caller's key is judged by the version of the state that
// answers: by Decide for decisions, inside the read for reads, and for writes before proposing and once more at apply.
//
// # Concurrency
//
// A Handler serves any number of requests at once. It owns one goroutine, which writes the counted entries of failed
// authentications; Close ends it.
//
// # What a crash leaves
//
// The package keeps nothing on disk. The counts of failed authentications of the running minute are lost with the
// process. Page tokens survive a restart, because their key derives from the cluster's secret.
package rpc
