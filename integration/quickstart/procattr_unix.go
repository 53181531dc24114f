//go:build unix

package main

import "syscall"

// ownGroup keeps a terminal's Ctrl-C from the nodes: this program stops them in order.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
