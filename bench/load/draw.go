package load

// A Draw says which user gets which of a number of events: every user of several
// equally large groups once before one gets a second one, in an order that jumps
// between the groups. All processes compute the same.
type Draw struct {
	Events uint32 // 0: there are none
	Base   uint32 // number of the first event: tells the events of two phases apart
	First  int32  // the first user of the first group
	Groups int32
	Size   int32 // users of a group
	Step   int32 // from the first user of a group to that of the next one
}

// User is who gets event seq, counted from Base.
func (d Draw) User(seq uint32) int32 {
	users := int64(d.Groups) * int64(d.Size)
	at := int32(int64(seq-d.Base) * d.stride(users) % users)
	return d.First + at/d.Size*d.Step + at%d.Size
}

// stride is about the golden section of the users, and has no divisor with their
// number: so its multiples meet every user once.
func (d Draw) stride(users int64) int64 {
	for stride := users * 618 / 1000; ; stride++ {
		if stride > 0 && gcd(stride, users) == 1 {
			return stride
		}
	}
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// has reports whether there is an event with that number.
func (d Draw) has(seq uint32) bool { return seq >= d.Base && seq-d.Base < d.Events }

// NotificationBody is the body of notification.created for a user: event seq,
// due at CLOCK_MONOTONIC in ns.
func NotificationBody(user int32, seq uint32, due int64) []byte {
	return appendNotification(nil, user, seq, due, 0)
}
