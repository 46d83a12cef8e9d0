package report

// column is one measure of a table.
type column struct {
	title string
	kase  string
	value string
	unit  unit
	ratio bool // show it against the floor's too
}

// unit says how a value is written.
type unit int

const (
	plain   unit = iota
	micros       // µs, three digits
	latency      // µs, written as µs, ms or s
	perSec       // thousands and millions shortened
	bytes        // B or KiB
	mebi         // MiB
	percent
	share // load's CPU over the server's
)

// table is one scenario in the report.
type table struct {
	title    string
	scenario string
	note     string
	columns  []column
}

// loadShare is the value computed from load_ms and cpu_ms.
const loadShare = "load_share"

var tables = []table{
	{
		title: "Connect", scenario: "connect",
		note: "Authenticated WebSocket connections, 128 handshakes at a time: TCP, upgrade, CONNECT with a JWT, until the `connected` event.",
		columns: []column{
			{"CPU µs/connection", "websocket", "cpu_us", micros, true},
			{"connections/s", "websocket", "per_s", perSec, false},
			{"p50", "websocket", "p50_us", latency, false},
			{"p99", "websocket", "p99_us", latency, false},
			{"load/server CPU", "websocket", loadShare, share, false},
		},
	},
	{
		title: "Connect by long-polling and upgrade", scenario: "polling",
		note: "What the JavaScript client does by default: handshake and CONNECT over long-polling, probe, upgrade, over three TCP connections, two of which end with it: the floor shows how much of that is the kernel's.",
		columns: []column{
			{"CPU µs/connection", "upgrade", "cpu_us", micros, true},
			{"connections/s", "upgrade", "per_s", perSec, false},
			{"p50", "upgrade", "p50_us", latency, false},
			{"p99", "upgrade", "p99_us", latency, false},
			{"load/server CPU", "upgrade", loadShare, share, false},
		},
	},
	{
		title: "Idle", scenario: "idle",
		note: "Memory: slope of the server's resident size from 1,000 connections to the most, after settling. Kernel: unreclaimable slab, half of what both ends cost. Heartbeat: CPU per ping and pong; the share of a core is for 10,000 connections at 25 s.",
		columns: []column{
			{"resident/connection", "memory", "bytes_per_conn", bytes, false},
			{"Go heap/connection", "memory", "heap_bytes_per_conn", bytes, false},
			{"kernel/connection", "memory", "kernel_bytes_per_conn", bytes, false},
			{"resident at most", "memory", "rss_mib", mebi, false},
			{"load generator/connection", "memory", "load_bytes_per_conn", bytes, false},
			{"CPU µs/heartbeat", "heartbeat", "cpu_us", micros, true},
			{"core per 10,000", "heartbeat", "percent_per_10k", percent, false},
		},
	},
	{
		title: "Idle, without clients", scenario: "loops",
		note: "Milliseconds of CPU a second of a server without clients, by its event loops.",
		columns: []column{
			{"1 loop", "1", "idle_ms", micros, false},
			{"2 loops", "2", "idle_ms", micros, false},
			{"4 loops", "4", "idle_ms", micros, false},
			{"8 loops", "8", "idle_ms", micros, false},
			{"16 loops", "16", "idle_ms", micros, false},
			{"32 loops", "32", "idle_ms", micros, false},
		},
	},
	{
		title: "Processors", scenario: "processors",
		note: "A room of 1,000 at a server with so many processors of the Go runtime (GOMAXPROCS) and event loops, and with its own choice: as many loops as cores and two or three more processors. It is not bound to a core, and shares them with the load. CPU in µs per delivery.",
		columns: []column{
			{"1, saturated", "single/1", "cpu_us", micros, false},
			{"2, saturated", "single/2", "cpu_us", micros, false},
			{"4, saturated", "single/4", "cpu_us", micros, false},
			{"8, saturated", "single/8", "cpu_us", micros, false},
			{"own, saturated", "single/own", "cpu_us", micros, false},
			{"1, paced", "paced/1", "cpu_us", micros, false},
			{"p99", "paced/1", "p99_us", latency, false},
			{"2, paced", "paced/2", "cpu_us", micros, false},
			{"p99", "paced/2", "p99_us", latency, false},
			{"4, paced", "paced/4", "cpu_us", micros, false},
			{"p99", "paced/4", "p99_us", latency, false},
			{"8, paced", "paced/8", "cpu_us", micros, false},
			{"p99", "paced/8", "p99_us", latency, false},
			{"own, paced", "paced/own", "cpu_us", micros, false},
			{"p99", "paced/own", "p99_us", latency, false},
		},
	},
	{
		title: "Fan-out, CPU per delivery", scenario: "fanout",
		note: "Notifications posted to `user:{id}`. Single: 2 events under way. Burst: 32 at once, then wait. Paced: 20,000 deliveries a second. CPU in µs per delivery.",
		columns: []column{
			{"single 10", "single/10", "cpu_us", micros, true},
			{"single 100", "single/100", "cpu_us", micros, true},
			{"single 1,000", "single/1000", "cpu_us", micros, true},
			{"single 10,000", "single/10000", "cpu_us", micros, true},
			{"single 19,000", "single/19000", "cpu_us", micros, true},
			{"burst 1,000", "burst/1000", "cpu_us", micros, true},
			{"paced 1,000", "paced/1000", "cpu_us", micros, true},
			{"paced 10,000", "paced/10000", "cpu_us", micros, true},
		},
	},
	{
		title: "Fan-out, speed", scenario: "fanout",
		columns: []column{
			{"deliveries/s, 1,000", "single/1000", "per_s", perSec, false},
			{"p99", "single/1000", "p99_us", latency, false},
			{"deliveries/s, 10,000", "single/10000", "per_s", perSec, false},
			{"p99", "single/10000", "p99_us", latency, false},
			{"burst deliveries/s", "burst/1000", "per_s", perSec, false},
			{"paced p50, 1,000", "paced/1000", "p50_us", latency, false},
			{"paced p99, 1,000", "paced/1000", "p99_us", latency, false},
			{"load/server CPU", "single/1000", loadShare, share, false},
		},
	},
	{
		title: "Join storm", scenario: "storm",
		note: "1,000 clients join one room at once (499,500 `user_joined`), then one of them types: 2 events under way, and 32 at once.",
		columns: []column{
			{"join CPU µs/delivery", "join", "cpu_us", micros, true},
			{"join deliveries/s", "join", "per_s", perSec, false},
			{"typing CPU µs/delivery", "typing", "cpu_us", micros, true},
			{"typing burst CPU µs/delivery", "typing burst", "cpu_us", micros, true},
			{"load/server CPU", "join", loadShare, share, false},
		},
	},
	{
		title: "Chat", scenario: "chat",
		note: "2,000 clients in 1,000 rooms of two, typing with ack. Saturated: 64 events under way. Paced: 4,000 events a second. Half: at half of this peer's own saturated speed.",
		columns: []column{
			{"CPU µs/event", "saturated", "cpu_us", micros, true},
			{"events/s", "saturated", "per_s", perSec, false},
			{"p50", "saturated", "p50_us", latency, false},
			{"p99", "saturated", "p99_us", latency, false},
			{"paced CPU µs/event", "paced", "cpu_us", micros, true},
			{"paced p50", "paced", "p50_us", latency, false},
			{"paced p99", "paced", "p99_us", latency, false},
			{"half p99", "half", "p99_us", latency, false},
			{"load/server CPU", "saturated", loadShare, share, false},
		},
	},
	{
		title: "Hand-over", scenario: "handover",
		note: "A new process takes over all connections of one that delivers 20,000 events a second. The pause is the gateway's own figure; the worst latency is what a client waits for an event meanwhile.",
		columns: []column{
			{"pause 1,000, ms", "1000", "pause_ms", plain, false},
			{"pause 5,000, ms", "5000", "pause_ms", plain, false},
			{"pause 18,000, ms", "18000", "pause_ms", plain, false},
			{"worst latency 1,000", "1000", "max_us", latency, false},
			{"worst latency 5,000", "5000", "max_us", latency, false},
			{"worst latency 18,000", "18000", "max_us", latency, false},
			{"resident 5,000", "5000", "rss_mib", mebi, false},
		},
	},
	{
		title: "Recovery", scenario: "recovery",
		note: "2,000 clients connect and join rooms of ten, lose their connections and come back: who asked for recovery goes on, who did not connects and joins anew. Then 100 events to a room of 1,000. CPU of the gateway for each client or delivery, replay not counted. A return to the same node waits for no command of Redis (`TestReturnToTheSameNodeDoesNotWaitForRedis`).",
		columns: []column{
			{"connect, CPU µs", "connect, did not ask", "cpu_us", micros, true},
			{"connect, asked", "connect, asked", "cpu_us", micros, true},
			{"come anew, CPU µs", "back, did not ask", "cpu_us", micros, true},
			{"come back, asked", "back, asked", "cpu_us", micros, true},
			{"heap/client", "connect, did not ask", "heap_bytes_per_conn", bytes, false},
			{"heap/client, asked", "connect, asked", "heap_bytes_per_conn", bytes, false},
			{"CPU µs/delivery", "events, did not ask", "cpu_us", micros, true},
			{"CPU µs/delivery, asked", "events, asked", "cpu_us", micros, true},
		},
	},
	{
		title: "Churn", scenario: "churn",
		note: "100 slots that connect, authenticate and go. Growth: resident memory at the end against after a warm-up of the same length.",
		columns: []column{
			{"CPU µs/cycle", "cycle", "cpu_us", micros, true},
			{"cycles/s", "cycle", "per_s", perSec, false},
			{"handshake p99", "cycle", "p99_us", latency, false},
			{"warm", "cycle", "rss_warm_mib", mebi, false},
			{"growth", "cycle", "growth_mib", mebi, false},
			{"descriptors left", "cycle", "fds_left", plain, false},
		},
	},
	{
		title: "Slow readers", scenario: "slow",
		note: "100 sockets of one user get 250 notifications of 8 kB a second; then 50 of them stop reading. Growth: the most the server held above what it held before. Least: events that the worst off of the stalled got when it read again.",
		columns: []column{
			{"p99, all read", "all read", "p99_us", latency, false},
			{"p99 beside stalled", "half stalled", "p99_us", latency, false},
			{"CPU µs/delivery", "half stalled", "cpu_us", micros, true},
			{"growth", "half stalled", "growth_mib", mebi, false},
			{"kernel TCP", "half stalled", "tcp_mib", mebi, false},
			{"given up, of 50", "half stalled", "kicked", plain, false},
			{"least", "half stalled", "stalled_least", plain, false},
			{"mean", "half stalled", "stalled_mean", plain, false},
		},
	},
	{
		title: "Events from RabbitMQ", scenario: "amqp",
		note: "`message.sent` published to the exchange. One room of 1,000: 2 events under way, then 20 a second. 500 rooms of 2: 32 under way, then 1,000 a second. From publish to receive.",
		columns: []column{
			{"1,000: CPU µs/delivery", "room", "cpu_us", micros, false},
			{"deliveries/s", "room", "per_s", perSec, false},
			{"paced p50", "room paced", "p50_us", latency, false},
			{"paced p99", "room paced", "p99_us", latency, false},
			{"500×2: CPU µs/delivery", "rooms", "cpu_us", micros, false},
			{"deliveries/s", "rooms", "per_s", perSec, false},
			{"paced p50", "rooms paced", "p50_us", latency, false},
			{"paced p99", "rooms paced", "p99_us", latency, false},
		},
	},
	{
		title: "Events from a Redis emitter", scenario: "emitter",
		note: "`new_message` published to Redis as `@socket.io/redis-emitter` does. One room of 1,000: 64 events at a time, then 20 a second. 500 rooms of 2: 64 at a time, then 1,000 a second. From publish to receive.",
		columns: []column{
			{"1,000: CPU µs/delivery", "room", "cpu_us", micros, false},
			{"deliveries/s", "room", "per_s", perSec, false},
			{"paced p50", "room paced", "p50_us", latency, false},
			{"paced p99", "room paced", "p99_us", latency, false},
			{"500×2: CPU µs/delivery", "rooms", "cpu_us", micros, false},
			{"deliveries/s", "rooms", "per_s", perSec, false},
			{"paced p50", "rooms paced", "p50_us", latency, false},
			{"paced p99", "rooms paced", "p99_us", latency, false},
		},
	},
	{
		title: "Many nodes", scenario: "nodes",
		note: "Rooms of two whose members sit on two of n nodes, joined by Redis; 2,000 events a second in all, and then 64 events under way. CPU µs per event, summed over the nodes; Redis by itself.",
		columns: []column{
			{"1 node", "1", "cpu_us", micros, true},
			{"2 nodes", "2", "cpu_us", micros, true},
			{"4 nodes", "4", "cpu_us", micros, true},
			{"8 nodes", "8", "cpu_us", micros, true},
			{"saturated, 1 node", "1 saturated", "cpu_us", micros, true},
			{"saturated, 2 nodes", "2 saturated", "cpu_us", micros, true},
			{"saturated, 4 nodes", "4 saturated", "cpu_us", micros, true},
			{"Redis, 2 nodes", "2", "redis_us", micros, false},
			{"Redis, 8 nodes", "8", "redis_us", micros, false},
			{"p50, 2 nodes", "2", "p50_us", latency, false},
			{"p99, 2 nodes", "2", "p99_us", latency, false},
			{"p99, 8 nodes", "8", "p99_us", latency, false},
		},
	},
	{
		title: "One log", scenario: "log",
		note: "n nodes read one stream in RabbitMQ; all 1,000 clients, in rooms of two, are on the first. CPU µs per event: of a node that holds no room of it, and how much of that is above what a program spends that only reads the stream, with the same library in the same phase; of the node that delivers it to two clients; of RabbitMQ. 1,000 events a second, then 20,000 as fast as the broker takes them.",
		columns: []column{
			{"no room, 2 nodes", "2", "unheld_us", micros, false},
			{"above bare client", "2", "above_us", micros, false},
			{"no room, 4 nodes", "4", "unheld_us", micros, false},
			{"above bare client", "4", "above_us", micros, false},
			{"saturated: no room, 2 nodes", "2 saturated", "unheld_us", micros, false},
			{"above bare client", "2 saturated", "above_us", micros, false},
			{"no room, 4 nodes", "4 saturated", "unheld_us", micros, false},
			{"above bare client", "4 saturated", "above_us", micros, false},
			{"delivered to 2, 1 node", "1 saturated", "held_us", micros, false},
			{"4 nodes", "4 saturated", "held_us", micros, false},
			{"RabbitMQ, 1 node", "1 saturated", "broker_us", micros, false},
			{"4 nodes", "4 saturated", "broker_us", micros, false},
			{"paced p50, 1 node", "1", "p50_us", latency, false},
			{"p50, 4 nodes", "4", "p50_us", latency, false},
			{"p99, 4 nodes", "4", "p99_us", latency, false},
		},
	},
	{
		title: "A million real connections", scenario: "million-real",
		note: "56 gateways in one cluster (one log in RabbitMQ, one Redis) with 18,000 authenticated WebSocket connections each, from 56 load processes; all on one machine. Each connection is in the room of its own user, one in ten in a conversation with members on eight gateways. The connections are opened for four gateways at a time. Memory after all are connected; the machine's is what became unavailable: both ends, kernel, Redis and RabbitMQ.",
		columns: []column{
			{"connections", "connect 1008000", "conns", perSec, false},
			{"seconds to connect all", "connect 1008000", "since_s", plain, false},
			{"CPU µs/connection, first", "connect 72000", "cpu_us", micros, false},
			{"last", "connect 1008000", "cpu_us", micros, false},
			{"p99, last", "connect 1008000", "p99_us", latency, false},
			{"resident/connection", "connect 1008000", "bytes_per_conn", bytes, false},
			{"kernel/connection, one end", "connect 1008000", "kernel_bytes_per_conn", bytes, false},
			{"load generator/connection", "connect 1008000", "load_bytes_per_conn", bytes, false},
			{"gateways, all", "connect 1008000", "rss_mib", mebi, false},
			{"machine, all", "connect 1008000", "machine_mib", mebi, false},
			{"descriptors of a gateway", "connect 1008000", "fds", plain, false},
		},
	},
	{
		title: "A million: what they do", scenario: "million-real",
		note: "One connection in ten joins its conversation. Then heartbeats alone, every two minutes. Then an event to each of 100,000 users of all gateways, 250 a second, and 20 a second to a conversation, from publish to receive. Then 10,080 clients are cut, miss two events each, and come back, half of them to another gateway; those that are told that they are not recovered have missed these events. Then one gateway is killed (kill -9), and its clients connect to the others and get an event each. Every delivery is checked: number, receiver, order.",
		columns: []column{
			{"joins", "join", "joins", perSec, false},
			{"user_joined", "join", "units", perSec, false},
			{"join p99", "join", "p99_us", latency, false},
			{"heartbeats", "idle", "pings", perSec, false},
			{"CPU µs/heartbeat", "idle", "beat_us", micros, false},
			{"users' events", "users", "units", perSec, false},
			{"p50", "users", "p50_us", latency, false},
			{"p99", "users", "p99_us", latency, false},
			{"conversation p50", "room", "p50_us", latency, false},
			{"p99", "room", "p99_us", latency, false},
			{"cut and back", "recovery", "back", perSec, false},
			{"recovered", "recovery", "recovered", perSec, false},
			{"events that others missed", "recovery", "told", perSec, false},
			{"CPU µs/return", "recovery", "cpu_us_back", micros, false},
			{"killed: back", "killed", "back", perSec, false},
			{"seconds", "killed", "seconds", plain, false},
			{"their events after it", "after", "units", perSec, false},
			{"p99", "after", "p99_us", latency, false},
		},
	},
	{
		title: "Fleet", scenario: "fleet",
		note: "Several processes. Those joined through Redis are posted an event once, and it reaches the connections of all; the others are each posted it. Kernel: unreclaimable slab, half of what both ends cost. Growth: resident memory of all processes after the broadcasts. Heartbeats: share of a core for 100,000 connections at 25 s.",
		columns: []column{
			{"connections", "idle", "conns", perSec, false},
			{"processes", "idle", "nodes", plain, false},
			{"an event is posted to", "idle", "posts", plain, false},
			{"descriptors each", "idle", "fds", plain, false},
			{"CPU µs/connection", "connect", "cpu_us", micros, true},
			{"resident/connection", "idle", "bytes_per_conn", bytes, false},
			{"kernel/connection", "idle", "kernel_bytes_per_conn", bytes, false},
			{"load generator/connection", "idle", "load_bytes_per_conn", bytes, false},
			{"CPU µs/heartbeat", "idle", "beat_us", micros, true},
			{"core per 100,000", "idle", "percent_per_100k", percent, false},
			{"CPU µs/delivery", "broadcast", "cpu_us", micros, true},
			{"p50", "broadcast", "p50_us", latency, false},
			{"p99", "broadcast", "p99_us", latency, false},
			{"growth", "broadcast", "growth_mib", mebi, false},
			{"load/server CPU", "broadcast", loadShare, share, false},
		},
	},
	{
		title: "Soak", scenario: "soak",
		note: "Connect, chat, heartbeat and churn in turn until the time is over. Memory at the end of the first and the last round.",
		columns: []column{
			{"hours", "all", "hours", micros, false},
			{"rounds", "all", "rounds", plain, false},
			{"deliveries", "all", "units", perSec, false},
			{"first round", "all", "first_mib", mebi, false},
			{"last round", "all", "last_mib", mebi, false},
			{"MiB/hour", "all", "slope_mib_h", micros, false},
			{"descriptors left", "all", "fds_left", plain, false},
		},
	},
}

// summary is the main table: one line per measure.
var summary = []struct {
	title    string
	scenario string
	column   column
}{
	{"connect, CPU µs per connection", "connect", column{"", "websocket", "cpu_us", micros, true}},
	{"polling and upgrade, CPU µs per connection", "polling", column{"", "upgrade", "cpu_us", micros, true}},
	{"resident bytes per idle connection", "idle", column{"", "memory", "bytes_per_conn", bytes, false}},
	{"heartbeat, CPU µs each", "idle", column{"", "heartbeat", "cpu_us", micros, true}},
	{"room of 1,000, CPU µs per delivery", "fanout", column{"", "single/1000", "cpu_us", micros, true}},
	{"room of 10,000, CPU µs per delivery", "fanout", column{"", "single/10000", "cpu_us", micros, true}},
	{"room of 1,000 paced, CPU µs per delivery", "fanout", column{"", "paced/1000", "cpu_us", micros, true}},
	{"room of 1,000 paced, p99", "fanout", column{"", "paced/1000", "p99_us", latency, false}},
	{"bursts of 32 to 1,000, CPU µs per delivery", "fanout", column{"", "burst/1000", "cpu_us", micros, true}},
	{"join storm of 1,000, CPU µs per delivery", "storm", column{"", "join", "cpu_us", micros, true}},
	{"chat, CPU µs per event", "chat", column{"", "saturated", "cpu_us", micros, true}},
	{"chat at half speed, p99", "chat", column{"", "half", "p99_us", latency, false}},
	{"churn, CPU µs per cycle", "churn", column{"", "cycle", "cpu_us", micros, true}},
	{"50 stalled readers, growth", "slow", column{"", "half stalled", "growth_mib", mebi, false}},
	{"RabbitMQ to a room of 1,000, CPU µs per delivery", "amqp", column{"", "room", "cpu_us", micros, false}},
	{"RabbitMQ to rooms of 2, CPU µs per delivery", "amqp", column{"", "rooms", "cpu_us", micros, false}},
	{"Redis emitter to a room of 1,000, CPU µs per delivery", "emitter", column{"", "room", "cpu_us", micros, false}},
	{"Redis emitter to rooms of 2, CPU µs per delivery", "emitter", column{"", "rooms", "cpu_us", micros, false}},
	{"one log, an event without a room here, CPU µs", "log", column{"", "2 saturated", "unheld_us", micros, false}},
	{"two nodes paced, CPU µs per chat event", "nodes", column{"", "2", "cpu_us", micros, true}},
	{"two nodes, CPU µs per chat event", "nodes", column{"", "2 saturated", "cpu_us", micros, true}},
}
