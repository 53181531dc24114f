// Package cli owns the command line: the tree of commands, what they print, and the exit codes.
//
// Every command but server, dev, config, version and completion goes over the public API, with the generated Connect
// clients: the command line can do nothing that a program could not. It knows nothing of how a node works inside.
//
// Main is called once in a process; tests call it many times, one after the other or at once, since all its state is
// in the Env it is given. It keeps nothing on disk but the files a user names. A crash in the middle of a mutation leaves an
// unknown outcome: the same command with the same --idempotency-key tells which it was.
package cli
