package authz

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

// list is a compiled permission list: one immutable string without pointers, so that a million of them cost the
// garbage collector nothing but a mark each. Its layout, little-endian:
//
//	0       u32  n, the number of permissions
//	4       u32  offset of the index (index.go), 0 if there is none
//	8       u32  n offsets of the entries
//	...          entries
//	...          index
//
// An entry:
//
//	uvarint      length of the resource
//	u8           flags
//	uvarint      number of actions
//	bytes        resource
//	actions      each uvarint length, bytes
//	by flag, in this order:
//	  hasID       uvarint length, bytes
//	  hasStale    uvarint nanoseconds
//	  hasArgs     uvarint count; each u8 glob, uvarint length, argument, uvarint length, pattern
//	  hasWindow   u16 start, u16 end (minutes of the day), u16 zone (1 + place in zones, 0 = UTC)
//	  hasAllowed  uvarint count; each u8 bits (255: one address), u8 4 or 16, address
//	  hasQuota    uvarint calls an hour
//
// It is never stored and never leaves the process, so it has no version.
type list string

const (
	hasID = 1 << iota
	hasStale
	hasArgs
	hasApproval
	hasWindow
	hasAllowed
	hasQuota
	perResource // scope RESOURCE

	// narrowed are the flags of what must be checked after the match.
	narrowed = hasArgs | hasApproval | hasWindow | hasAllowed | hasQuota
)

// indexFrom is the length from which a list gets an index. Shorter ones are scanned, which is faster and smaller.
const indexFrom = 17

// singleAddress marks an allowlist entry that is no prefix.
const singleAddress = 255

func (l list) u32(at int) uint32 {
	s := l[at : at+4]
	return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
}

func (l list) len() int { return int(l.u32(0)) }

// entry opens the i-th permission.
func (l list) entry(i int) entry {
	c := cursor{s: string(l), i: int(l.u32(8 + 4*i))}
	n := c.uvarint()
	flags := c.byte()
	actions := c.uvarint()
	resource := c.take(int(n))
	return entry{resource: resource, flags: flags, actions: int(actions), rest: c}
}

// entry is an opened permission: its head, and a cursor that stands at its actions.
type entry struct {
	resource string
	flags    byte
	actions  int
	rest     cursor
}

// cursor reads an entry. It panics on what encode did not write.
type cursor struct {
	s string
	i int
}

func (c *cursor) byte() byte {
	b := c.s[c.i]
	c.i++
	return b
}

func (c *cursor) uvarint() uint64 {
	var v uint64
	for shift := 0; ; shift += 7 {
		b := c.byte()
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v
		}
	}
}

func (c *cursor) u16() int {
	v := int(c.s[c.i]) | int(c.s[c.i+1])<<8
	c.i += 2
	return v
}

func (c *cursor) take(n int) string {
	s := c.s[c.i : c.i+n]
	c.i += n
	return s
}

func (c *cursor) text() string { return c.take(int(c.uvarint())) }

// grants tells whether one of the entry's actions is the asked one. It leaves the cursor behind the last action only
// if it returns false; use skipActions on a fresh entry to go on.
func (e entry) grants(action string) bool {
	for range e.actions {
		if a := e.rest.text(); a == action || a == wildcard {
			return true
		}
	}
	return false
}

// tail returns a cursor behind the actions.
func (e entry) tail() cursor {
	c := e.rest
	for range e.actions {
		c.i += int(c.uvarint())
	}
	return c
}

// staleness returns max_staleness.
func (e entry) staleness() time.Duration {
	if e.flags&hasStale == 0 {
		return 0
	}
	c := e.tail()
	if e.flags&hasID != 0 {
		c.text()
	}
	return time.Duration(c.uvarint())
}

// first returns the ordinal of the first permission that matches the call, -1 if none does.
func (l list) first(action, resource string) int {
	if at := l.u32(4); at != 0 {
		return l.index(int(at)).first(action, resource)
	}
	for i := range l.len() {
		if e := l.entry(i); Match(e.resource, resource) && e.grants(action) {
			return i
		}
	}
	return -1
}

// permission decodes the i-th permission. Addresses come back in their canonical text, a zone "" as "".
func (l list) permission(i int) Permission {
	e := l.entry(i)
	p := Permission{Resource: e.resource}
	c := e.rest
	for range e.actions {
		p.Actions = append(p.Actions, c.text())
	}
	if e.flags&hasID != 0 {
		p.ID = c.text()
	}
	if e.flags&hasStale != 0 {
		p.MaxStaleness = time.Duration(c.uvarint())
	}
	if e.flags&hasArgs != 0 {
		for range c.uvarint() {
			p.Constraints.ArgPatterns = append(p.Constraints.ArgPatterns, c.argument())
		}
	}
	p.Constraints.RequireApproval = e.flags&hasApproval != 0
	if e.flags&hasWindow != 0 {
		w := TimeWindow{Start: formatClock(c.u16()), End: formatClock(c.u16())}
		if z := c.u16(); z != 0 {
			w.Zone = zones()[z-1].name
		}
		p.Constraints.TimeWindow = &w
	}
	if e.flags&hasAllowed != 0 {
		for range c.uvarint() {
			prefix, single := c.allowed()
			text := prefix.String()
			if single {
				text = prefix.Addr().String()
			}
			p.Constraints.IPAllowlist = append(p.Constraints.IPAllowlist, text)
		}
	}
	if e.flags&hasQuota != 0 {
		p.Constraints.MaxCallsPerHour = int64(c.uvarint())
	}
	if e.flags&perResource != 0 {
		p.Constraints.QuotaScope = ScopeResource
	}
	return p
}

func (c *cursor) argument() ArgPattern {
	glob := c.byte() != 0
	argument := c.text()
	return ArgPattern{Argument: argument, Pattern: c.text(), Glob: glob}
}

func (c *cursor) allowed() (prefix netip.Prefix, single bool) {
	bits, size := int(c.byte()), int(c.byte())
	var addr netip.Addr
	if size == 4 {
		addr = netip.AddrFrom4([4]byte([]byte(c.take(4))))
	} else {
		addr = netip.AddrFrom16([16]byte([]byte(c.take(16))))
	}
	if bits == singleAddress {
		return netip.PrefixFrom(addr, addr.BitLen()), true
	}
	return netip.PrefixFrom(addr, bits), false
}

func (l list) permissions() []Permission {
	out := make([]Permission, l.len())
	for i := range out {
		out[i] = l.permission(i)
	}
	return out
}

// encodeList appends the compiled list to b. It fails only for what Validate refuses.
func encodeList(b []byte, perms []Permission) ([]byte, error) {
	base := len(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(perms)))
	b = append(b, make([]byte, 4+4*len(perms))...)
	var err error
	for i := range perms {
		binary.LittleEndian.PutUint32(b[base+8+4*i:], uint32(len(b)-base))
		if b, err = encodeEntry(b, &perms[i]); err != nil {
			return nil, fmt.Errorf("compile permissions[%d]: %w", i, err)
		}
	}
	if len(perms) >= indexFrom {
		binary.LittleEndian.PutUint32(b[base+4:], uint32(len(b)-base))
		b = appendIndex(b, list(b[base:]))
	}
	return b, nil
}

func flagsOf(p *Permission) (flags byte) {
	c := &p.Constraints
	for _, f := range [...]struct {
		set  bool
		flag byte
	}{
		{p.ID != "", hasID},
		{p.MaxStaleness != 0, hasStale},
		{len(c.ArgPatterns) > 0, hasArgs},
		{c.RequireApproval, hasApproval},
		{c.TimeWindow != nil, hasWindow},
		{len(c.IPAllowlist) > 0, hasAllowed},
		{c.MaxCallsPerHour != 0, hasQuota},
		{c.QuotaScope == ScopeResource, perResource},
	} {
		if f.set {
			flags |= f.flag
		}
	}
	return flags
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func encodeEntry(b []byte, p *Permission) ([]byte, error) {
	c := &p.Constraints
	b = binary.AppendUvarint(b, uint64(len(p.Resource)))
	b = append(b, flagsOf(p))
	b = binary.AppendUvarint(b, uint64(len(p.Actions)))
	b = append(b, p.Resource...)
	for _, action := range p.Actions {
		b = appendText(b, action)
	}
	if p.ID != "" {
		b = appendText(b, p.ID)
	}
	if p.MaxStaleness != 0 {
		b = binary.AppendUvarint(b, uint64(p.MaxStaleness))
	}
	b, err := encodeArguments(b, c.ArgPatterns)
	if err != nil {
		return nil, err
	}
	if c.TimeWindow != nil {
		if b, err = encodeWindow(b, c.TimeWindow); err != nil {
			return nil, err
		}
	}
	if b, err = encodeAllowlist(b, c.IPAllowlist); err != nil {
		return nil, err
	}
	if c.MaxCallsPerHour < 0 {
		return nil, fmt.Errorf("max_calls_per_hour is %d", c.MaxCallsPerHour)
	}
	if c.MaxCallsPerHour != 0 {
		b = binary.AppendUvarint(b, uint64(c.MaxCallsPerHour))
	}
	return b, nil
}

func encodeArguments(b []byte, patterns []ArgPattern) ([]byte, error) {
	if len(patterns) == 0 {
		return b, nil
	}
	b = binary.AppendUvarint(b, uint64(len(patterns)))
	for i, a := range patterns {
		text, glob := a.Pattern, byte(0)
		if a.Glob {
			text, glob = translateGlob(text), 1
		}
		if err := parseExpression(text); err != nil {
			return nil, fmt.Errorf("allowed_arg_patterns[%d] %w", i, err)
		}
		b = append(b, glob)
		b = appendText(b, a.Argument)
		b = appendText(b, a.Pattern)
	}
	return b, nil
}

func encodeWindow(b []byte, w *TimeWindow) ([]byte, error) {
	start, okStart := parseClock(w.Start)
	end, okEnd := parseClock(w.End)
	if !okStart || !okEnd {
		return nil, fmt.Errorf("time_window %q to %q is not two times", w.Start, w.End)
	}
	zone := 0
	if w.Zone != "" {
		i, ok := findZone(w.Zone)
		if !ok {
			return nil, fmt.Errorf("time_window has no known zone: %q", w.Zone)
		}
		zone = i + 1
	}
	for _, v := range [...]int{start, end, zone} {
		b = binary.LittleEndian.AppendUint16(b, uint16(v))
	}
	return b, nil
}

func encodeAllowlist(b []byte, allowlist []string) ([]byte, error) {
	if len(allowlist) == 0 {
		return b, nil
	}
	b = binary.AppendUvarint(b, uint64(len(allowlist)))
	for i, s := range allowlist {
		prefix, single, problem := parseAllowed(s)
		if problem != "" {
			return nil, fmt.Errorf("ip_allowlist[%d] %s", i, problem)
		}
		bits := byte(prefix.Bits())
		if single {
			bits = singleAddress
		}
		address := prefix.Addr().AsSlice()
		b = append(b, bits, byte(len(address)))
		b = append(b, address...)
	}
	return b, nil
}
