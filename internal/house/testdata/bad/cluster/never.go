//go:build never

package cluster

import (
	_ "github.com/armon/go-metrics" // want:modules "github.com/armon/go-metrics must not be used"
	_ "github.com/cockroachdb/pebble/v2"
	_ "github.com/kavachd/kavachd/cmd/kavachd" // want:imports "cluster never imports cmd/kavachd" want:imports "cluster must not import cmd/kavachd"
)
