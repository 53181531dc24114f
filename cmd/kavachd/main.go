package main

import (
	"os"
	_ "time/tzdata" // time windows name zones, and a container may have no zone files

	"github.com/kavachd/kavachd/cmd/kavachd/internal/cli"
)

// version is set by the linker: -X main.version=v1.2.3.
var version = "unknown"

func main() { os.Exit(cli.Process(version)) }
