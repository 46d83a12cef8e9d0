package main

import (
	"runtime"
	"runtime/metrics"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hometrip/gateway/loop"
	"github.com/hometrip/gateway/rooms"
)

// A collector exports the counters of loop, rooms and the process as Prometheus
// metrics. Safe for concurrent use.
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
	counter("connections_moved_total", "Connections moved to the event loop of their session.",
		func(s *loop.Totals, _ *rooms.Totals) int64 { return s.Moved }),
	counter("requests_forwarded_total", "Requests forwarded to another event loop than their connection's.",
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
	counter("upgrades_total", "Sessions upgraded from long-polling to WebSocket.",
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
	gauge("pending_bytes", "Bytes that wait to be sent to clients, and bytes of incomplete messages from clients.",
		func(s *loop.Totals, _ *rooms.Totals) int64 { return s.Held }),
	counter("shed_total", "Connections and polling sessions closed because of MAX_TOTAL_PENDING_BYTES.",
		func(s *loop.Totals, _ *rooms.Totals) int64 { return s.Shed }),
	counter("panics_total", "Panics on event loops that were recovered.",
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
	counter("events_too_fast_total", "Events from clients refused because of MAX_EVENTS_PER_SECOND.",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.EventsTooFast }),
	gauge("room_bytes", "Bytes that rooms and memberships use, without the users' own rooms.",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.RoomBytes }),
	counter("joins_refused_total", "Joins refused because of MAX_ROOMS_PER_USER (user), or of MAX_ROOM_BYTES or short memory (node).",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.JoinsOverUser }, "reason", "user"),
	counter("joins_refused_total", "Joins refused because of MAX_ROOMS_PER_USER (user), or of MAX_ROOM_BYTES or short memory (node).",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.JoinsOverNode }, "reason", "node"),
	counter("joins_denied_total", "Joins refused by ROOM_POLICY.",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.JoinsDenied }),
	counter("expelled_total", "Memberships ended because ROOM_POLICY no longer allows them.",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.Expelled }),
	counter("presence_muted_total", "user_joined and user_left not sent because of PRESENCE_MAX_MEMBERS or MAX_PRESENCE_PER_SECOND.",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.CrowdsMuted }),
	counter("typing_muted_total", "user_typing and user_stop_typing not sent because of MAX_PRESENCE_PER_SECOND.",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.TypingsMuted }),
	counter("events_unknown_total", "Events from clients with a name that no handler has.",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.EventsUnknown }),
	counter("broadcasts_total", "Broadcasts to rooms that began on this node.",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.Broadcasts }),
	counter("deliveries_total", "Messages queued for members of rooms.",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.Deliveries }),
	counter("tokens_expired_total", "Sockets disconnected because their token expired.",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.TokensExpired }),
	counter("tokens_renewed_total", "Tokens replaced on a live socket.",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.TokensRenewed }),
	counter("sockets_ordered_off_total", "Sockets disconnected by orders of the back office.",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.Ordered }),
	gauge("mailbox_waiting", "Messages waiting in the mailboxes of the event loops.",
		func(_ *loop.Totals, r *rooms.Totals) int64 { return r.MailboxWaiting }),
}

var (
	broadcastDesc = prometheus.NewDesc("gateway_broadcast_duration_seconds",
		"Time from a broadcast's arrival at an event loop to the last write to its members there; broadcasts that arrive together count as one.", nil, nil)
	closedDesc = prometheus.NewDesc("gateway_sessions_closed_total",
		"Engine.IO sessions ended, by reason.", []string{"reason"}, nil)
	tokensDesc = prometheus.NewDesc("gateway_tokens_verified_total",
		"Tokens verified, by result.", []string{"result"}, nil)
	revokedDesc = prometheus.NewDesc("gateway_tokens_revoked",
		"Revoked tokens and users in the list of this node.", nil, nil)
	revokedLostDesc = prometheus.NewDesc("gateway_tokens_revoked_lost_total",
		"Revocations for which the list had no room; these tokens are still accepted.", nil, nil)
	roomsDesc = prometheus.NewDesc("gateway_rooms",
		"Rooms with members on this node.", nil, nil)
	turnAgeDesc = prometheus.NewDesc("gateway_loop_turn_age_seconds",
		"Time since the last turn of the event loop that lags most.", nil, nil)
	logDroppedDesc = prometheus.NewDesc("gateway_log_records_dropped_total",
		"Log records lost because the outputs were too slow.", nil, nil)
	heapDesc = prometheus.NewDesc("gateway_heap_bytes",
		"Bytes of live and not yet swept heap objects.", nil, nil)
	handoverFailedDesc = prometheus.NewDesc("gateway_handovers_failed_total",
		"Hand-overs through HANDOVER_SOCKET that failed; this process went on serving.", nil, nil)
	handoversDesc = prometheus.NewDesc("gateway_handovers_total",
		"Times a process took over the connections of another at HANDOVER_SOCKET.", nil, nil)
	handoverConnectionsDesc = prometheus.NewDesc("gateway_handover_connections",
		"Connections taken over from the previous process, and those that could not be registered.", []string{"result"}, nil)
	handoverSessionsDesc = prometheus.NewDesc("gateway_handover_sessions",
		"Engine.IO sessions taken over from the previous process.", nil, nil)
	handoverBytesDesc = prometheus.NewDesc("gateway_handover_bytes",
		"Bytes of the state taken over from the previous process.", nil, nil)
	handoverPauseDesc = prometheus.NewDesc("gateway_handover_pause_seconds",
		"Time for which no client was served during the hand-over.", nil, nil)
	goroutinesDesc = prometheus.NewDesc("gateway_goroutines",
		"Goroutines; the number does not grow with connections.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range figures {
		ch <- f.desc
	}
	for _, d := range []*prometheus.Desc{broadcastDesc, closedDesc, tokensDesc, roomsDesc, turnAgeDesc, revokedDesc, revokedLostDesc, logDroppedDesc, heapDesc, goroutinesDesc,
		handoversDesc, handoverFailedDesc, handoverConnectionsDesc, handoverSessionsDesc, handoverBytesDesc, handoverPauseDesc} {
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
	ch <- prometheus.MustNewConstMetric(handoversDesc, prometheus.CounterValue, float64(h.taken.Load()))
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
