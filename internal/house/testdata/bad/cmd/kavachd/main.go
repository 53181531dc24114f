package main

import (
	"time"

	_ "github.com/kavachd/kavachd/authz"
)

func main() {
	time.Sleep(time.Second) // want:sleep "product code does not sleep"
	_ = time.Now()
}

func init() {} // want:init "no init"
