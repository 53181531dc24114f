package fsm

import (
	"maps"
	"math/rand/v2" // want:clock "randomness comes in" want:deterministic "math/rand/v2 can make nodes differ"
	"os"           // want:deterministic "os can make nodes differ"
	"slices"
	tm "time"

	_ "github.com/kavachd/kavachd/authz"
	_ "github.com/kavachd/kavachd/cluster" // want:imports "fsm never imports cluster" want:imports "fsm must not import cluster"
	"github.com/kavachd/kavachd/storage"
)

type table map[string]int

func apply(t table, other func() int) (sum int) {
	for _, v := range t { // want:deterministic "the order of a map"
		sum += v
	}
	for _, k := range slices.Sorted(maps.Keys(t)) {
		sum += t[k]
	}
	for k := range maps.Keys(t) { // want:deterministic "the order of maps.Keys"
		sum += t[k]
	}
	now := tm.Now         // want:clock "the time comes in" want:deterministic "time.Now differs"
	tm.AfterFunc(0, nil)  // want:clock "this package waits for nothing" want:deterministic "time.AfterFunc differs"
	_ = tm.Local          // want:deterministic "time.Local differs"
	_ = tm.Time{}.Local() // want:deterministic "time.Time.Local differs"
	go other()            // want:deterministic "apply is one goroutine"
	_ = os.Getenv("ROUNDING")
	half := 0.5 * float64(sum) // want:deterministic "floating point"
	if half > 1 {              // want:deterministic "floating point"
		sum++
	}
	select { // want:deterministic "select chooses"
	default:
	}
	return sum + rand.Int() + now().Second()
}

func each[M map[string]int](m M) {
	for range m { // want:deterministic "the order of a map"
	}
}

func write(tx *storage.Tx, id string) {
	tx.Set([]byte("agent"+"s"), nil)                       // want:keys "a key spelled where it is used"
	tx.Set(append([]byte{storage.TableAgent}, id...), nil) // want:keys "bytes that begin with the letter" want:keys "a key spelled where"
	key := append([]byte(nil), storage.TableAgent)         // want:keys "the letter of a table put into bytes"
	tx.Set(key, []byte("value"))
	tx.Set(storage.AgentKey(id), nil)
	for _, table := range []byte{storage.TableAgent, storage.TableToken} {
		_ = table
	}
}
