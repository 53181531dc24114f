module github.com/kavachd/kavachd

go 1.26

require connectrpc.com/connect v0.0.0

replace connectrpc.com/connect => ./connect
