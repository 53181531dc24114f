// Package house holds the rules of the house as programs, and its tests hold the house to them.
//
// It owns the import graph (which package may import which), the ban on clocks, randomness, map order and floats where
// every node must come to the same state, the one place where a key of the store is spelled, and the habits that every
// package has: a doc.go, a watch over leaked goroutines, files of readable size. docs/architecture.md gives the reasons.
//
// It reads the source by go/parser and go/types and asks the go command for the packages; it imports nothing of ours
// and is imported by nothing. Each rule has broken source below testdata/bad, where lines that it must find say so: a
// rule that finds nothing there is red. An exception stands in exceptions.go with its reason, and an exception that
// nothing needs any more is red too.
package house
