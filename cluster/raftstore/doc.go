// Package raftstore joins the state in storage to the Raft library.
package raftstore
