// Package promises holds what kavachd promises as a cluster, seen from outside: three real nodes in one process over real
// TCP, each with the whole API, and callers that use nothing else.
//
// It owns no mechanism, and must not know how a promise is kept: nodes come from cluster/clustertest, calls go through the
// generated clients. Every test owns its cluster and its goroutines. A crash of a test leaves temporary directories only.
package promises
