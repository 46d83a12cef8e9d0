package report

import (
	"fmt"
	"strings"
)

// What the arithmetic for a million connections assumes beside what was
// measured.
const (
	million         = 1e6
	defaultInterval = 25.0 // s between heartbeats of one connection
	// heartbeatWire is a ping, a pong and the acknowledgements on Ethernet:
	// four segments of 66 bytes of headers, and 10 bytes of payload.
	heartbeatWire = 4*66 + 10 // bytes
	// deliveryWire is a delivery of about 150 bytes, with headers, and its
	// acknowledgement.
	deliveryWire = 150 + 66 + 66 // bytes
)

// writeMillion says what a million connections need by the slopes measured
// here. It is arithmetic, not a measurement.
func writeMillion(b *strings.Builder, r *Results) {
	const peer = "gateway"
	resident := r.Stat("idle", "memory", peer, "bytes_per_conn").Median
	kernel := r.Stat("idle", "memory", peer, "kernel_bytes_per_conn").Median
	ping := r.Stat("idle", "heartbeat", peer, "cpu_us").Median
	connect := r.Stat("connect", "websocket", peer, "cpu_us").Median
	delivery := r.Stat("fanout", "single/10000", peer, "cpu_us").Median
	if resident <= 0 || kernel <= 0 || ping <= 0 || connect <= 0 {
		return
	}
	pings := million / defaultInterval
	b.WriteString("## A million, on paper\n\nComputed from the gateway's slopes above; loopback, so without a network card's work.\n\n| what | needs | from |\n|---|---|---|\n")
	line := func(what, needs, from string, args ...any) {
		fmt.Fprintf(b, "| %s | %s | %s |\n", what, needs, fmt.Sprintf(from, args...))
	}
	line("resident memory", gib(million*resident), "%.0f bytes each", resident)
	line("kernel memory, sockets idle", gib(million*kernel), "%.0f bytes each", kernel)
	line("heartbeats", fmt.Sprintf("%.2f cores", pings*ping/1e6), "%.0f a second of %s µs", pings, digits3(ping))
	line("heartbeats on the wire", fmt.Sprintf("%.0f Mbit/s", pings*heartbeatWire*8/1e6), "%d bytes each, both ways", heartbeatWire)
	line("all reconnect", fmt.Sprintf("%.0f core-seconds", million*connect/1e6), "%s µs each", digits3(connect))
	if delivery > 0 {
		line("one event to all", fmt.Sprintf("%.1f core-seconds", million*delivery/1e6), "%s µs a delivery", digits3(delivery))
		line("one event to all, on the wire", fmt.Sprintf("%.0f MB", million*deliveryWire/1e6), "%d bytes each", deliveryWire)
	}
	line("descriptors", "1,000,000 and some hundreds", "one each, over all processes")
	b.WriteString("\n")
}

func gib(v float64) string { return fmt.Sprintf("%.2f GiB", v/(1<<30)) }
