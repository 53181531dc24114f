package rpc

import (
	"connectrpc.com/connect"

	_ "github.com/kavachd/kavachd/storage" // want:imports "rpc never imports storage" want:imports "rpc must not import storage"
)

func code() connect.Code { return connect.CodeNotFound } // want:codes "codes of the wire"
