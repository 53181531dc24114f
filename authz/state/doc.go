// Package state holds the decision state: what decisions are read from, in memory, on every node (DESIGN 3).
package state
