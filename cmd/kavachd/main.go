package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // time windows name zones, and a container may have no zone files

	"github.com/kavachd/kavachd/cmd/kavachd/internal/cli"
)

// version is set by the linker: -X main.version=v1.2.3.
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks for a graceful end. After it signals have their usual meaning again, so the second one ends
	// the process at once.
	context.AfterFunc(ctx, stop)
	code := cli.Main(ctx, os.Args[1:], cli.System(version))
	stop()
	os.Exit(code)
}
