package authz

// detail holds what a denial's sentence needs. Which field means what depends on the code; see reason.go.
type detail struct {
	a, b, c string
	x, y    int64
}

// constraints judges what narrows a permission that matched: all but the quota, which a call draws only when all else
// allows it (SPEC 3). The first constraint that fails, in the order of SPEC 3, gives the code.
func (e entry) constraints(q *Request) (Code, detail) {
	if e.flags&narrowed == 0 {
		return Allowed, detail{}
	}
	c := e.tail()
	if e.flags&hasID != 0 {
		c.text()
	}
	if e.flags&hasStale != 0 {
		c.uvarint()
	}
	if e.flags&hasArgs != 0 {
		if code, d := c.arguments(q.Args); code != Allowed {
			return code, d
		}
	}
	if e.flags&hasApproval != 0 && !q.Approved {
		return ApprovalRequired, detail{}
	}
	if e.flags&hasWindow != 0 {
		start, end, zone := c.u16(), c.u16(), c.u16()
		if !windowOpen(start, end, zone, q.At) {
			return OutsideTimeWindow, detail{x: int64(start), y: int64(end)}
		}
	}
	if e.flags&hasAllowed != 0 && !c.holds(q.IP) {
		return IPNotAllowed, detail{a: q.IP}
	}
	return Allowed, detail{}
}

// arguments judges allowed_arg_patterns: each argument in turn against every pattern (as the original), then the named
// ones that are absent or not strings. It leaves the cursor behind them if all hold.
func (c *cursor) arguments(args []Arg) (Code, detail) {
	n := c.uvarint()
	begin := *c
	for i := range args {
		if !args[i].IsString {
			continue
		}
		*c = begin
		for range n {
			glob, argument, pattern := c.byte() != 0, c.text(), c.text()
			if argument != "" && argument != args[i].Name {
				continue
			}
			if !interned.get(pattern, glob).MatchString(args[i].Value) {
				return ArgumentNotAllowed, detail{a: args[i].Name, b: args[i].Value, c: pattern}
			}
		}
	}
	*c = begin
	for range n {
		c.byte()
		argument, pattern := c.text(), c.text()
		if argument != "" && !hasString(args, argument) {
			return ArgumentNotAllowed, detail{a: argument, c: pattern, x: 1}
		}
	}
	return Allowed, detail{}
}

func hasString(args []Arg, name string) bool {
	for i := range args {
		if args[i].Name == name && args[i].IsString {
			return true
		}
	}
	return false
}

// holds tells whether the allowlist holds an address. No address, or one that can't be read, is in no list.
func (c *cursor) holds(ip string) bool {
	addr, ok := parseCaller(ip)
	found := false
	for range c.uvarint() {
		prefix, _ := c.allowed()
		found = found || ok && prefix.Contains(addr)
	}
	return found
}
