// Package fsm says too little.
package fsm
