package main

import (
	"runtime"
	"runtime/metrics"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hometrip/gateway/loop"
	"github.com/hometrip/gateway/rooms"
)

// A collector turns the counters of the house into Prometheus metrics when
// they are asked for. Safe for concurrent use.
type collector struct{ g *Gateway }

// A figure is one Prometheus metric and where its value comes from.
type figure struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(s *loop.Totals, r *rooms.Totals) int64
}

func counter(name, help string, value func(*loop.Totals, *rooms.Totals) int64, labels ...string) figure {
	return newFigure(prometheus.CounterValue, name, help, value, labels)
}

func gauge(name, help string, value func(*loop.Totals, *rooms.Totals) int64, labels ...string) figure {
	return newFigure(prometheus.GaugeValue, name, help, value, labels)
}

// newFigure makes a figure; labels are pairs of a name and its fixed value.
func newFigure(kind prometheus.ValueType, name, help string, value func(*loop.Totals, *rooms.Totals) int64, labels []string) figure {
	return figure{newDesc(name, help, labels), kind, value}
}

func newDesc(name, help string, labels []string) *prometheus.Desc {
	fixed := make(prometheus.Labels)
	for i := 0; i+1 < len(labels); i += 2 {
		fixed[labels[i]] = labels[i+1]
	}
	return prometheus.NewDesc("gateway_"+name, help, nil, fixed)
}

var figures = []figure{
	gauge("connections", "TCP connections that are open.",
		func(s *loop.Totals, _ *rooms.Totals) int64 { return s.Connections }),
	counter("connections_accepted_total", "TCP connections accepted.",
		func(s *loop.Totals, _ *rooms.Totals) int64 { return s.Accepted }),
	counter("connections_refused_total", "TCP connections and WebSockets refused.",
		func(s *loop.Totals, _ *rooms.Totals) int64 { return s.RefusedFull }, "reason", "full"),
	counter("connections_refused_total", "TCP connections and WebSockets refused.",
		func(s *loop.Totals, _ *rooms.Totals) int64 { return s.RefusedOrigin }, "reason", "origin"),
	counter("connections_refused_total", "TCP connections and WebSockets refused.",
		func(s *loop.Totals, _ *rooms.Totals) int64 { return s.RefusedAddress }, "reason", "address"),
	counter("connections_refused_total", "TCP connections and WebSockets refused.",
		func(s *loop.Totals, _ *rooms.Totals) int64 { return s.RefusedRate }, "reason", "rate"),
	counter("connections_refused_total", "TCP connections and WebSockets refused.",
		func(s *loop.Totals, _ *rooms.Totals) int64 { return s.RefusedTight }, "reason", "memory"),
	counter("connections_moved_total", "Connections taken to the event loop of their session.",
		func(s *loop.Totals, _ *rooms.Totals) int64 { return s.Moved }),
	counter("requests_forwarded_total", "Requests answered by another event loop than their connection's.",
		func(s *loop.Totals, _ *rooms.Totals) int64 { return s.Forwarded }),
	counter("bad_requests_total", "HTTP requests answered with a 4xx status.",
		func(s *loop.Totals, _ *rooms.Totals) int64 { return s.BadRequests }),

	gauge("sessions", "Engine.IO sessions that are open.",
		func(s *loop.Totals, _ *rooms.Totals) int64 { return s.WebSockets }, "transport", "websocket"),
	gauge("sessions", "Engine.IO sessions that are open.",
		func(s *loop.Totals, _ *rooms.Totals) int64 { return s.Sessions - s.WebSockets }, "transport", "polling"),
	counter("handshakes_total", "Engine.IO sessions opened.",
		func(s *loop.Totals, _ *rooms.Totals) int64 { return s.HandshakesWS }, "transport", "websocket"),
	counter("handshakes_total", "Engine.IO sessions opened.",
		func(s *loop.Totals, _ *rooms.Totals) int64 { return s.HandshakesPoll }, "transport", "polling"),
	counter("upgrades_total", "Sessions that went from long-polling to WebSocket.",
		func(s *loop.Totals, _ *rooms.Totals) int64 { return s.Upgrades }),
	counter("frames_received_total", "WebSocket frames and polling packets received.",
		func(s *loop.Totals, _ *rooms.Totals) int64 { return s.FramesIn }),
	counter("received_bytes_total", "Bytes of frames and polling bodies received.",
		func(s *loop.Totals, _ *rooms.Totals) int64 { return s.BytesIn }),
	counter("writes_total", "Writes to WebSockets, each a system call.",
		func(s *loop.Totals, _ *rooms.Totals) int64 { return s.Writes }),
	counter("sent_bytes_total", "Bytes written to WebSockets.",
		func(s *loop.Totals, _ *rooms.Totals) int64 { return s.BytesOut }),
	counter("messages_dropped_total", "Messages not delivered.",
		func(s *loop.Totals, _ *rooms.Totals) int64 { return s.VolatileDropped }, "reason", "volatile"),
	counter("messages_dropped_total", "Messages not delivered.",
		func(s *loop.Totals, _ *rooms.Totals) int64 { return s.Superseded }, "reason", "superseded"),
	counter("messages_dropped_total", "Messages not delivered.",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.MailboxFull }, "reason", "mailbox_full"),
	gauge("pending_bytes", "Bytes that wait for clients which do not read, and of messages that are not whole yet.",
		func(s *loop.Totals, _ *rooms.Totals) int64 { return s.Owed }),
	counter("shed_total", "Connections and polling sessions ended because of MAX_TOTAL_PENDING_BYTES.",
		func(s *loop.Totals, _ *rooms.Totals) int64 { return s.Shed }),
	counter("panics_total", "Panics survived on an event loop.",
		func(s *loop.Totals, _ *rooms.Totals) int64 { return s.Panics }),

	gauge("sockets", "Socket.IO sockets that are connected.",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.Sockets }),
	gauge("memberships", "Memberships of sockets in rooms, user rooms included.",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.Members }),
	counter("connects_total", "Socket.IO CONNECT packets, by result.",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.Connects }, "result", "ok"),
	counter("connects_total", "Socket.IO CONNECT packets, by result.",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.ConnectErrors }, "result", "refused"),
	counter("events_received_total", "Events from clients.",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.EventsIn }),
	counter("events_refused_total", "Events from clients answered with an error.",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.EventsRefused }),
	counter("events_too_fast_total", "Of the refused, those over MAX_EVENTS_PER_SECOND.",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.EventsTooFast }),
	gauge("room_bytes", "Bytes that rooms and memberships take, users' own rooms not counted.",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.RoomBytes }),
	counter("joins_refused_total", "Joins refused because rooms take too much: of the user (MAX_ROOMS_PER_USER), or on the node (MAX_ROOM_BYTES, or memory is short).",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.JoinsOverUser }, "reason", "user"),
	counter("joins_refused_total", "Joins refused because rooms take too much: of the user (MAX_ROOMS_PER_USER), or on the node (MAX_ROOM_BYTES, or memory is short).",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.JoinsOverNode }, "reason", "node"),
	counter("joins_denied_total", "Joins of rooms that ROOM_POLICY has refused.",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.JoinsDenied }),
	counter("expelled_total", "Sockets taken out of a room that they may no longer be in.",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.Expelled }),
	counter("presence_muted_total", "Joins and leaves that a room was not told of: over PRESENCE_MAX_MEMBERS, or over MAX_PRESENCE_PER_SECOND.",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.CrowdsMuted }),
	counter("typing_muted_total", "Typings that a room was not told of, over MAX_PRESENCE_PER_SECOND.",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.TypingsMuted }),
	counter("events_unknown_total", "Events from clients that nothing handles.",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.EventsUnknown }),
	counter("broadcasts_total", "Broadcasts to rooms that began on this node.",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.Broadcasts }),
	counter("deliveries_total", "Messages handed to members of rooms.",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.Deliveries }),
	counter("tokens_expired_total", "Sockets disconnected because their token ended.",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.TokensExpired }),
	counter("tokens_renewed_total", "Tokens replaced on a live socket.",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.TokensRenewed }),
	counter("sockets_ordered_off_total", "Sockets disconnected because the back office wanted it.",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.Ordered }),
	gauge("mailbox_waiting", "Letters waiting in the mailboxes of the event loops.",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.MailboxWaiting }),
}

var (
	broadcastDesc = prometheus.NewDesc("gateway_broadcast_duration_seconds",
		"From a broadcast's arrival at an event loop to the last write to its members there; what came together counts as one.", nil, nil)
	closedDesc = prometheus.NewDesc("gateway_sessions_closed_total",
		"Engine.IO sessions ended, by reason.", []string{"reason"}, nil)
	tokensDesc = prometheus.NewDesc("gateway_tokens_verified_total",
		"Tokens verified, by result.", []string{"result"}, nil)
	revokedDesc = prometheus.NewDesc("gateway_tokens_revoked",
		"Tokens and users on the list of those refused.", nil, nil)
	revokedLostDesc = prometheus.NewDesc("gateway_tokens_revoked_lost_total",
		"Revocations for which the list had no room: these tokens stay good.", nil, nil)
	roomsDesc = prometheus.NewDesc("gateway_rooms",
		"Rooms with members on this node.", nil, nil)
	turnAgeDesc = prometheus.NewDesc("gateway_loop_turn_age_seconds",
		"Time since the event loop that lags most took its last turn.", nil, nil)
	logDroppedDesc = prometheus.NewDesc("gateway_log_records_dropped_total",
		"Log records lost because the outputs were too slow.", nil, nil)
	heapDesc = prometheus.NewDesc("gateway_heap_bytes",
		"Bytes of live and not yet swept heap objects.", nil, nil)
	handoverFailedDesc = prometheus.NewDesc("gateway_handovers_failed_total",
		"Successors at HANDOVER_SOCKET that came to nothing: this process serves on.", nil, nil)
	handoverConnectionsDesc = prometheus.NewDesc("gateway_handover_connections",
		"Connections taken over from the process before, and those of them that had ended meanwhile.", []string{"result"}, nil)
	handoverSessionsDesc = prometheus.NewDesc("gateway_handover_sessions",
		"Engine.IO sessions taken over from the process before.", nil, nil)
	handoverBytesDesc = prometheus.NewDesc("gateway_handover_bytes",
		"Bytes in which they were described.", nil, nil)
	handoverPauseDesc = prometheus.NewDesc("gateway_handover_pause_seconds",
		"For how long no client was served meanwhile.", nil, nil)
	goroutinesDesc = prometheus.NewDesc("gateway_goroutines",
		"Goroutines; does not grow with connections.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range figures {
		ch <- f.desc
	}
	for _, d := range []*prometheus.Desc{broadcastDesc, closedDesc, tokensDesc, roomsDesc, turnAgeDesc, revokedDesc, revokedLostDesc, logDroppedDesc, heapDesc, goroutinesDesc,
		handoverFailedDesc, handoverConnectionsDesc, handoverSessionsDesc, handoverBytesDesc, handoverPauseDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s, r := c.g.server.Stats(), c.g.hub.Stats()
	for _, f := range figures {
		ch <- prometheus.MustNewConstMetric(f.desc, f.kind, float64(f.value(&s, &r)))
	}
	ch <- prometheus.MustNewConstHistogram(broadcastDesc, uint64(s.Broadcast.Count), s.Broadcast.Sum.Seconds(), s.Broadcast.Buckets())
	for reason, n := range s.Closed {
		ch <- prometheus.MustNewConstMetric(closedDesc, prometheus.CounterValue, float64(n), reason.String())
	}
	for _, count := range c.g.verifier.Counts() {
		ch <- prometheus.MustNewConstMetric(tokensDesc, prometheus.CounterValue, float64(count.N), count.Outcome.String())
	}
	ch <- prometheus.MustNewConstMetric(logDroppedDesc, prometheus.CounterValue, float64(droppedRecords(c.g.log)))
	revoked, lost := c.g.verifier.Revoked()
	ch <- prometheus.MustNewConstMetric(revokedLostDesc, prometheus.CounterValue, float64(lost))
	_, total := c.g.hub.Names(0)
	send := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	send(revokedDesc, float64(revoked))
	send(roomsDesc, float64(total))
	send(turnAgeDesc, c.g.server.TurnAge(time.Now()).Seconds())
	send(heapDesc, float64(heapBytes()))
	send(goroutinesDesc, float64(runtime.NumGoroutine()))
	h := &c.g.handovers
	ch <- prometheus.MustNewConstMetric(handoverFailedDesc, prometheus.CounterValue, float64(h.failed.Load()))
	ch <- prometheus.MustNewConstMetric(handoverConnectionsDesc, prometheus.GaugeValue, float64(h.connections.Load()), "taken")
	ch <- prometheus.MustNewConstMetric(handoverConnectionsDesc, prometheus.GaugeValue, float64(h.lost.Load()), "ended")
	send(handoverSessionsDesc, float64(h.sessions.Load()))
	send(handoverBytesDesc, float64(h.bytes.Load()))
	send(handoverPauseDesc, time.Duration(h.pause.Load()).Seconds())
}

func heapBytes() uint64 { return runtimeFigure("/memory/classes/heap/objects:bytes") }

// runtimeFigure reads one of runtime/metrics, which does not stop the world, as
// runtime.ReadMemStats would.
func runtimeFigure(name string) uint64 {
	sample := []metrics.Sample{{Name: name}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
