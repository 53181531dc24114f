//go:build !unix

package main

import "syscall"

// ownGroup is nothing that this system has.
func ownGroup() *syscall.SysProcAttr { return nil }
