package cluster

import (
	"context"
	"log/slog"
	"time"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// purgeLimit is how many records one PurgeExpired lets go, so that no entry takes long to apply.
const purgeLimit = 1000

// purge lets expired records go, now and then, for as long as the reign lasts.
func purge(r *reign, submit func(context.Context, *raftv1.Command) (*raftv1.Result, uint64, error), self string,
	every time.Duration, log *slog.Logger,
) {
	if every < 0 {
		return
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-r.ctx.Done():
			return
		}
		_, _, err := submit(r.ctx, &raftv1.Command{
			Caller:  &raftv1.Caller{NodeId: self},
			Command: &raftv1.Command_PurgeExpired{PurgeExpired: &raftv1.PurgeExpired{Limit: purgeLimit}},
		})
		if err != nil && r.ctx.Err() == nil {
			log.Warn("expired records were not purged", "error", err)
		}
	}
}
