// Package clustertest runs clusters of real nodes in one process, for tests: real TCP on loopback, real files in temporary
// directories, a network that can be cut.
//
// It owns the life of its nodes: listeners, servers, restarts on the same directory, wiping. It must not know what is
// tested. It sleeps nowhere: Await polls a condition and fails the test when its time is up.
//
// A Cluster belongs to one test and its methods are for the test's goroutine, but for Propose, Read and what the embedded
// cluster.Node offers, which are safe for concurrent use. A crash leaves temporary directories only.
package clustertest
