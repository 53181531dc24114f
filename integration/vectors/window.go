package vectors

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kavachd/kavachd/authz"
)

// exactWindow counts the allowed calls of (t - 60 min, t] one by one. The cluster's own quotas are another matter
// (PROTOCOLS B): this is what the recorded cases without a mark are to be compared with.
type exactWindow struct{ calls map[string][]time.Time }

func newExactWindow() *exactWindow { return &exactWindow{calls: map[string][]time.Time{}} }

// at returns the counters as they are at a moment.
func (w *exactWindow) at(now time.Time) authz.Quotas { return moment{w, now} }

type moment struct {
	w   *exactWindow
	now time.Time
}

func counter(d authz.Draw) string {
	who := fmt.Sprintf("%s %s %q", d.Holder.Text("h"), d.Receiver.Text("r"), d.PermissionID)
	if d.PermissionID == "" {
		who += fmt.Sprintf(" %q %q", d.Pattern, strings.Join(d.Actions, "\n"))
	}
	if d.Scope == authz.ScopeResource {
		who += fmt.Sprintf(" %q", d.Resource)
	}
	return who
}

// Peek implements authz.Quotas.
func (m moment) Peek(draws []authz.Draw) (authz.Standing, authz.Refusal, bool, error) {
	standing := authz.Standing{}
	for i, d := range draws {
		key := counter(d)
		m.w.calls[key] = slices.DeleteFunc(m.w.calls[key], func(t time.Time) bool { return !t.After(m.now.Add(-time.Hour)) })
		live := m.w.calls[key]
		if used := int64(len(live)); used >= d.Limit {
			return standing, authz.Refusal{Draw: i, Used: used, RetryAfter: live[0].Add(time.Hour).Sub(m.now)}, false, nil
		}
		if left := d.Limit - int64(len(live)) - 1; standing.Limit == 0 || left < standing.Remaining {
			standing = authz.Standing{Limit: d.Limit, Remaining: left, Reset: time.Hour}
		}
	}
	return standing, authz.Refusal{}, true, nil
}

// Take implements authz.Quotas.
func (m moment) Take(draws []authz.Draw) (authz.Standing, authz.Refusal, bool, error) {
	standing, refusal, ok, err := m.Peek(draws)
	if ok {
		for _, d := range draws {
			m.w.calls[counter(d)] = append(m.w.calls[counter(d)], m.now)
		}
	}
	return standing, refusal, ok, err
}
