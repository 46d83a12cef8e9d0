package wire

import (
	"strconv"
	"strings"
)

// A Lease is what a node says about itself while it is alive.
type Lease struct {
	Registered bool // the directory has all its rooms
	Sockets    int64
	Rooms      int64
}

const leaseVersion = "1"

// String returns the lease in the form that Redis has.
func (l Lease) String() string {
	return strings.Join([]string{leaseVersion, strconv.FormatBool(l.Registered), Decimal(l.Sockets), Decimal(l.Rooms)}, " ")
}

// ParseLease parses a lease. A lease of another version says only that the node
// is alive.
func ParseLease(text string) (l Lease, ok bool) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return l, false
	}
	if len(words) == 4 && words[0] == leaseVersion {
		l.Registered, _ = strconv.ParseBool(words[1])
		l.Sockets, _ = strconv.ParseInt(words[2], 10, 64)
		l.Rooms, _ = strconv.ParseInt(words[3], 10, 64)
	}
	return l, true
}
