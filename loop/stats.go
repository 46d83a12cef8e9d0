package loop

import (
	"sync/atomic"

	"github.com/hometrip/gateway/rooms"
)

// Stats are the counters of one loop. Only the loop writes them; any goroutine
// may read.
type Stats struct {
	Connections     atomic.Int64 // TCP, open now
	Sessions        atomic.Int64 // Engine.IO, open now
	WebSockets      atomic.Int64 // of the sessions, those on WebSocket
	Accepted        atomic.Int64
	RefusedFull     atomic.Int64 // over MaxConnections
	RefusedOrigin   atomic.Int64 // web origins
	RefusedAddress  atomic.Int64 // connections and sessions over MaxPerAddress
	RefusedRate     atomic.Int64 // handshakes over the rates
	RefusedTight    atomic.Int64 // handshakes while memory is short
	Shed            atomic.Int64 // connections and sessions closed because of MaxHeld
	BadRequests     atomic.Int64 // requests answered with 4xx
	HandshakesWS    atomic.Int64 // sessions opened on WebSocket
	HandshakesPoll  atomic.Int64 // sessions opened by polling
	Upgrades        atomic.Int64 // from polling to WebSocket
	Moved           atomic.Int64 // connections moved to their session's loop
	Forwarded       atomic.Int64 // requests answered by another loop
	FramesIn        atomic.Int64
	BytesIn         atomic.Int64
	Writes          atomic.Int64 // write(2) of WebSocket frames
	BytesOut        atomic.Int64
	VolatileDropped atomic.Int64
	Superseded      atomic.Int64 // messages that told an older state to a client that is behind
	Held            atomic.Int64 // bytes held for clients that do not read, or send the rest, as of the last look
	Panics          atomic.Int64

	Closed [32]atomic.Int64 // sessions ended, by rooms.Reason

	Broadcast Histogram // from the mailbox to the last write to a member
}

func (s *Stats) closed(r rooms.Reason) { s.Closed[r].Add(1) }

// Totals is a snapshot of Stats, summed over the loops.
type Totals struct {
	Connections, Sessions, WebSockets         int64
	Accepted, RefusedFull, RefusedOrigin      int64
	RefusedAddress, RefusedRate, RefusedTight int64
	Shed, Held                                int64
	BadRequests, HandshakesWS, HandshakesPoll int64
	Upgrades, Moved, Forwarded                int64
	FramesIn, BytesIn, Writes, BytesOut       int64
	VolatileDropped, Superseded, Panics       int64
	Closed                                    map[rooms.Reason]int64
	Broadcast                                 Durations
}

func (t *Totals) add(s *Stats) {
	t.Connections += s.Connections.Load()
	t.Sessions += s.Sessions.Load()
	t.WebSockets += s.WebSockets.Load()
	t.Accepted += s.Accepted.Load()
	t.RefusedFull += s.RefusedFull.Load()
	t.RefusedOrigin += s.RefusedOrigin.Load()
	t.RefusedAddress += s.RefusedAddress.Load()
	t.RefusedRate += s.RefusedRate.Load()
	t.RefusedTight += s.RefusedTight.Load()
	t.Shed += s.Shed.Load()
	t.Held += s.Held.Load()
	t.BadRequests += s.BadRequests.Load()
	t.HandshakesWS += s.HandshakesWS.Load()
	t.HandshakesPoll += s.HandshakesPoll.Load()
	t.Upgrades += s.Upgrades.Load()
	t.Moved += s.Moved.Load()
	t.Forwarded += s.Forwarded.Load()
	t.FramesIn += s.FramesIn.Load()
	t.BytesIn += s.BytesIn.Load()
	t.Writes += s.Writes.Load()
	t.BytesOut += s.BytesOut.Load()
	t.VolatileDropped += s.VolatileDropped.Load()
	t.Superseded += s.Superseded.Load()
	t.Panics += s.Panics.Load()
	t.Broadcast.add(&s.Broadcast)
	for _, r := range rooms.Reasons() {
		t.Closed[r] += s.Closed[r].Load()
	}
}
