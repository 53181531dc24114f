package cluster

import (
	"errors"
	"fmt"
	"testing"

	"github.com/kavachd/kavachd/authz"
	"github.com/kavachd/kavachd/status"
)

// TestUndecided: what authz can't decide is an error with a reason of its own, never a denial.
func TestUndecided(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want status.Reason
	}{
		{fmt.Errorf("path: %w", authz.ErrQuotaUnavailable), status.QuotaUnavailable},
		{authz.ErrTooComplex, status.LimitExceeded},
		{errors.New("corrupt record"), status.Internal},
	} {
		if got := undecided(tc.err); status.ReasonOf(got) != tc.want || !errors.Is(got, tc.err) {
			t.Errorf("%v becomes %v, want %s", tc.err, got, tc.want)
		}
	}
}
