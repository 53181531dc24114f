// Package authz decides: patterns, constraints, compiled permission lists, delegation chains, explanations.
//
// It owns SPEC 2, 3 and 5: what a permission list may say (Validate, Warnings), what it covers (Match, Covers), the one
// decision path (Decide, Explain), and what an agent holds (Effective, CoveredBy). It must not know where records are
// stored, how they are replicated or who asks: it imports ids alone, reads no clock (Request.At comes in) and no
// randomness, starts no goroutine and does no I/O. The time zones are its own copy, so that every node judges alike.
//
// Concurrency: compiled records are immutable; everything here may be called at once from anywhere. The one shared
// thing is the cache of compiled expressions, bounded and lock-free for readers.
//
// A crash leaves nothing: no state lives here. Compiled records are made anew from the stored ones and their layout is
// never written to disk.
//
// A compiled record holds nothing of an ancestor. A giver is asked anew in each decision, in the same version of the
// state; a cache of effective rights by agent and revision would honor a revoked ancestor
// (testdata/mutants/authz/effective_cache.yaml).
package authz
