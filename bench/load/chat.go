package load

// ackIDs is how many ack ids a chat rotates over: one digit, so that an ack
// out of order shows.
const ackIDs = 10

// chat is the phase in which pairs type to each other: connections 2k and 2k+1
// of the range share a room. An event is one typing with ack; it is complete
// when the partner has it and the sender its ack.
type chat struct {
	l        *Loop
	args     ChatArgs
	senders  []int32 // connections of the range, in sending order
	start    int64   // ns
	until    int64   // ns
	turn     uint64  // events sent, which is also whose turn it is
	out      int     // events without delivery or ack
	interval float64 // ns between paced events
	times    recorder

	delivered, acked, doubled, swapped, strays, dropped uint64
}

func newChat(l *Loop, args ChatArgs) *chat {
	k := &chat{l: l, args: args, times: newRecorder()}
	// All even ones, then all odd ones: an answer follows half a round later.
	for side := range int32(2) {
		for i := args.First + side; i < args.Last; i += 2 {
			l.conns[i].fresh()
			k.senders = append(k.senders, i)
		}
	}
	k.start = clock()
	k.until = k.start + int64(args.For)
	if args.Rate > 0 {
		k.interval = 1e9 / args.Rate
	}
	return k
}

func (k *chat) tick(now int64) (int64, bool) {
	if now >= k.until {
		if k.delivered == k.turn && k.acked == k.turn {
			return 0, true
		}
		return never, now-max(k.l.now, k.until) > int64(giveUpAfter)
	}
	if k.args.Rate > 0 {
		for k.due(k.turn) <= now {
			k.send(k.due(k.turn))
		}
		return min(k.due(k.turn), k.until), false
	}
	for tries := 0; k.out < k.args.Window && tries < len(k.senders); tries++ {
		k.send(now)
	}
	return k.until, false
}

// due is when event n of a paced chat is to be sent.
func (k *chat) due(n uint64) int64 { return k.start + int64(float64(n)*k.interval) }

func (k *chat) send(now int64) {
	c := &k.l.conns[k.senders[k.turn%uint64(len(k.senders))]]
	k.turn++
	k.out++
	c.at = now
	packet := k.l.dialect.appendTyping(k.l.minter.packet[:0], c.room, int(c.sent%ackIDs))
	k.l.minter.packet = packet
	c.sent++
	k.l.emit(c, packet)
}

func (k *chat) event(c *conn, name eventName, p []byte) {
	if name != userTyping {
		k.strays++
		return
	}
	i := k.l.indexOf(c)
	partner := k.args.First + (i - k.args.First) ^ 1
	from := &k.l.conns[partner]
	if c.seq >= from.sent {
		k.doubled++
		return
	}
	if !c.inOrder(stampOf(p)) {
		k.swapped++
	}
	k.times.add(k.l.now - k.sentAt(from, partner, c.seq))
	c.seq++
	k.delivered++
	k.out--
}

// sentAt is when the n-th event of a sender was due. A paced chat computes it.
// A saturated one sends round robin over more senders than its window, so the
// last event of a sender is the only one under way.
func (k *chat) sentAt(from *conn, index int32, n uint32) int64 {
	if k.args.Rate == 0 {
		return from.at
	}
	place := uint64(index-k.args.First) / 2
	if (index-k.args.First)%2 == 1 {
		place += uint64(len(k.senders)+1) / 2
	}
	return k.due(uint64(n)*uint64(len(k.senders)) + place)
}

func (k *chat) ack(c *conn, p []byte) {
	if len(p) < 3 || uint32(p[2]-'0') != c.acks%ackIDs {
		k.swapped++
	}
	c.acks++
	k.acked++
}

func (k *chat) finish(r *Result) {
	r.Units, r.Events = k.delivered, k.turn
	r.Lost = k.turn - k.delivered + k.turn - k.acked
	r.Doubled, r.Swapped, r.Strays, r.Closed = k.doubled, k.swapped, k.strays, k.dropped
	r.Latency = k.times.h.Export()
}

func (k *chat) connected(*conn) {}

func (k *chat) closed(*conn, step) { k.dropped++ }
