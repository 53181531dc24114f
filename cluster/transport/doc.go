// Package transport carries Raft between nodes: TCP connections whose both ends have proved that they know the join
// secret, belong to the same cluster and are the nodes they are taken for.
//
// # What it owns
//
// A Layer is the Raft library's StreamLayer. Addresses have the form id@host:port (see Address), because the library dials
// addresses and never says whom it expects: a node that lost its disk and came back under a new id would be asked for
// votes in the name of the old one, and grant them with an empty log. Here it refuses the connection.
//
// The handshake proves who is there; it doesn't protect what follows against somebody who can change packets. TLS
// comes with certificates; until then nodes speak on loopback only.
//
// # The handshake
//
//	dialer    magic(4) cluster(16) nonce(16) target id(1+n) own id(1+n)
//	acceptor  verdict(1) nonce(16) own id(1+n) mac(32)    mac = HMAC(key, "acceptor", all before)
//	dialer    mac(32)                                     mac = HMAC(key, "dialer", all before)
//	acceptor  1
//
// Every length is bounded before anything is read, the whole has one deadline, and at most MaxHandshakes run at once;
// further connections are closed unheard.
//
// # Concurrency
//
// A Layer is safe for concurrent use. It owns one goroutine that accepts and one for each handshake; Close ends them,
// closes every accepted connection, and waits. It keeps nothing on disk.
package transport
