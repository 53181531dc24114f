package authz

import (
	"testing"

	_ "github.com/kavachd/kavachd/rpc" // want:imports "authz never imports rpc"
)

func TestSometimes(t *testing.T) {
	t.Skip("not today") // want:skips "a test that is skipped"
}
