package raftstore_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kavachd/kavachd/cluster/raftstore/raftstoretest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A follower that was down past the trailing entries comes back by one install and then follows by appends.
func TestCatchUpByInstall(t *testing.T) {
	t.Parallel()
	sp := raftstoretest.Spec{Trailing: 64, Threshold: 32, Interval: 50 * time.Millisecond}
	_, ns := raftstoretest.NewCluster(t, sp, "n1", "n2", "n3")
	l, f := ns[0], ns[2]
	for range 20 {
		l.Write(5)
		l.Barriers(1)
	}
	raftstoretest.Agree(t, ns...)
	at := f.Applied()
	f.Stop()
	for range 60 {
		l.Write(5)
		l.Barriers(2)
	}
	raftstoretest.Await(t, "the leader to compact", func() bool { return l.First() > at+1 })
	f.MustStart(sp)
	raftstoretest.Await(t, "the install", func() bool { return f.Store.Installs() > 0 })
	raftstoretest.Agree(t, l, f)
	for range 40 {
		l.Write(5)
		l.Barriers(1)
	}
	raftstoretest.Agree(t, ns...)
	if n := f.Store.Installs(); n != 1 {
		t.Errorf("%d installs", n)
	}
}
