package rpc

import "connectrpc.com/connect"

func codeOf() connect.Code { return connect.CodeNotFound }
