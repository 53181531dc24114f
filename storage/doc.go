// Package storage keeps the state of a node in Pebble.
package storage
