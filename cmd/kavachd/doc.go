// Command kavachd is the whole program: a node of a cluster (server, dev), and the command line over its API.
//
// The package itself only starts things: internal/cli has the commands, internal/config the settings of a node,
// internal/server a running node. Nothing imports them.
package main
