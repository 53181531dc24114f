package client_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
)

// outside is a testing.TB for an example, which has none: what would fail a test panics.
type outside struct {
	testing.TB // nil: what is not below is not used

	ctx      context.Context
	stop     context.CancelFunc
	cleanups []func()
}

func (o *outside) Helper()                   {}
func (o *outside) Context() context.Context  { return o.ctx }
func (o *outside) Cleanup(f func())          { o.cleanups = append(o.cleanups, f) }
func (o *outside) Error(args ...any)         { panic(fmt.Sprint(args...)) }
func (o *outside) Errorf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }
func (o *outside) Fatal(args ...any)         { panic(fmt.Sprint(args...)) }
func (o *outside) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }

func (o *outside) TempDir() string {
	dir, err := os.MkdirTemp("", "kavachd-example")
	if err != nil {
		panic(err)
	}
	o.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// end does what the end of a test does.
func (o *outside) end() {
	o.stop()
	for _, f := range slices.Backward(o.cleanups) {
		f()
	}
}

// running is a cluster of three nodes for an example.
type running struct {
	endpoints []string
	key       string
}

func exampleCluster() (c running, stop func()) {
	o := &outside{}
	o.ctx, o.stop = context.WithCancel(context.Background())
	w := start(o)
	c.key = w.admin
	for _, n := range w.Nodes {
		c.endpoints = append(c.endpoints, n.Config.Address.API)
	}
	return c, o.end
}
