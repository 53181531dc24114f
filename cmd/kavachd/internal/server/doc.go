// Package server owns a running node: it opens the listeners, starts cluster and rpc, serves one HTTP server for clients
// and nodes and one for the operator's machine, and stops all of it in order.
//
// It knows nothing of the command line. Run is called once for a node and owns every goroutine it starts: all have ended when
// it returns. Several nodes in one process share the sink of the libraries' metrics, which is global.
//
// It keeps nothing on disk but the data directory's mode; what a crash leaves is told by cluster, storage and audit.
package server
