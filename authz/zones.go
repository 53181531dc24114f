package authz

import (
	"archive/zip"
	"bytes"
	_ "embed"
	"io"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// zoneinfo is the time zone database that Go 1.26 ships (lib/time/zoneinfo.zip, public domain).
//
// Not time.LoadLocation: that asks the machine's own files first, so that two nodes could disagree on whether a zone
// exists, which is a rule of the state machine, or on when its summer begins.
//
//go:embed zoneinfo.zip
var zoneinfo []byte

// zone is one IANA time zone.
type zone struct {
	name string
	load func() *time.Location
	// now caches the offset of the period asked for last. Races are harmless: each value is right for its own bounds.
	now atomic.Pointer[period]
}

// period is a stretch of Unix seconds [from, until) with one offset.
type period struct {
	from, until int64
	offset      int64 // seconds east of UTC
}

// zones lists all zones by name. A record names a zone by its place here; records never leave the process.
var zones = sync.OnceValue(func() []*zone {
	archive, err := zip.NewReader(bytes.NewReader(zoneinfo), int64(len(zoneinfo)))
	if err != nil {
		panic("authz: the embedded zoneinfo.zip is damaged: " + err.Error())
	}
	var all []*zone
	for _, f := range archive.File {
		if strings.HasSuffix(f.Name, "/") {
			continue
		}
		all = append(all, &zone{name: f.Name, load: sync.OnceValue(func() *time.Location { return loadZone(f) })})
	}
	sort.Slice(all, func(i, j int) bool { return all[i].name < all[j].name })
	return all
})

func loadZone(f *zip.File) *time.Location {
	r, err := f.Open()
	if err != nil {
		panic("authz: embedded zone " + f.Name + ": " + err.Error())
	}
	defer func() { _ = r.Close() }() // reading from memory: nothing to lose
	data, err := io.ReadAll(r)
	if err != nil {
		panic("authz: embedded zone " + f.Name + ": " + err.Error())
	}
	location, err := time.LoadLocationFromTZData(f.Name, data)
	if err != nil {
		panic("authz: embedded zone " + f.Name + ": " + err.Error())
	}
	return location
}

// findZone returns a zone's place in zones.
func findZone(name string) (int, bool) {
	all := zones()
	i := sort.Search(len(all), func(i int) bool { return all[i].name >= name })
	return i, i < len(all) && all[i].name == name
}

// minute is the minute of the local day, 0 to 1439.
func (z *zone) minute(at time.Time) int {
	unix := at.Unix()
	p := z.now.Load()
	if p == nil || unix < p.from || unix >= p.until {
		p = z.period(at)
		z.now.Store(p)
	}
	return minuteOfDay(unix + p.offset)
}

func (z *zone) period(at time.Time) *period {
	local := at.In(z.load())
	_, offset := local.Zone()
	start, end := local.ZoneBounds()
	p := &period{from: -1 << 62, until: 1 << 62, offset: int64(offset)}
	if !start.IsZero() {
		p.from = start.Unix()
	}
	if !end.IsZero() {
		p.until = end.Unix()
	}
	return p
}

// minuteOfDay of Unix seconds, those before 1970 too.
func minuteOfDay(seconds int64) int {
	s := seconds % 86_400
	if s < 0 {
		s += 86_400
	}
	return int(s / 60)
}
