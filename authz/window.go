package authz

import (
	"net/netip"
	"strings"
	"time"
)

// parseClock reads HH:MM, 00:00 to 23:59, into minutes of the day. Nothing else is accepted: no seconds, no missing
// zero, no 24:00.
func parseClock(s string) (int, bool) {
	if len(s) != 5 || s[2] != ':' {
		return 0, false
	}
	for _, i := range [...]int{0, 1, 3, 4} {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	hour, minute := int(s[0]-'0')*10+int(s[1]-'0'), int(s[3]-'0')*10+int(s[4]-'0')
	return hour*60 + minute, hour < 24 && minute < 60
}

// formatClock is the inverse of parseClock.
func formatClock(minutes int) string {
	h, m := minutes/60, minutes%60
	return string([]byte{byte('0' + h/10), byte('0' + h%10), ':', byte('0' + m/10), byte('0' + m%10)})
}

// inWindow tells whether a minute of the day lies between both ends, inclusive; a start after the end spans midnight.
func inWindow(start, end, minute int) bool {
	if start <= end {
		return start <= minute && minute <= end
	}
	return minute >= start || minute <= end
}

// windowOpen judges a compiled window. zone is 1 + the place in zones, 0 for UTC.
func windowOpen(start, end, zone int, at time.Time) bool {
	if zone == 0 {
		return inWindow(start, end, minuteOfDay(at.Unix()))
	}
	return inWindow(start, end, zones()[zone-1].minute(at))
}

// parseAllowed reads an allowlist entry: one address or a prefix, IPv4 or IPv6, as net/netip reads them. IPv4 within
// IPv6 is unmapped. A prefix may have bits set behind its length; they don't count. single tells an address from a
// prefix.
func parseAllowed(s string) (prefix netip.Prefix, single bool, problem string) {
	if !strings.Contains(s, "/") {
		addr, err := netip.ParseAddr(s)
		switch {
		case err != nil:
			return netip.Prefix{}, false, "is neither an IP address nor a CIDR prefix"
		case addr.Zone() != "":
			return netip.Prefix{}, false, "has an IPv6 zone, which means nothing on another machine"
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), true, ""
	}
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, false, "is neither an IP address nor a CIDR prefix"
	}
	if addr := prefix.Addr(); addr.Is4In6() {
		if prefix.Bits() < 96 {
			return netip.Prefix{}, false, "is an IPv4-mapped prefix shorter than 96 bits"
		}
		prefix = netip.PrefixFrom(addr.Unmap(), prefix.Bits()-96)
	}
	return prefix, false, ""
}

// parseCaller reads the address of a request. An IPv6 zone makes it an address that no list holds.
func parseCaller(s string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(s)
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, false
	}
	return addr.Unmap(), true
}
