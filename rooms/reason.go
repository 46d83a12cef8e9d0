package rooms

import "fmt"

// Reason says why a session ended. Each has a counter of its name.
type Reason uint8

// The reasons, those of the client first.
const (
	ReasonTransportClosed Reason = iota // the peer closed the connection
	ReasonTransportError                // reading or writing failed
	ReasonClientClose                   // Engine.IO close packet or WebSocket close frame
	ReasonPingTimeout                   // no pong within PING_TIMEOUT
	ReasonConnectTimeout                // no Socket.IO CONNECT within CONNECT_TIMEOUT
	ReasonParseError                    // bytes that are no packet, frame or request
	ReasonTooLarge                      // a packet or request over MAX_HTTP_BUFFER_SIZE
	ReasonPollOverlap                   // two polls, or two posts, at once
	ReasonSlowConsumer                  // more pending than MAX_PENDING_BYTES
	ReasonShed                          // too much waits for all clients of the node, and this one has much of it
	ReasonTooFast                       // more events or bytes than the limits allow
	ReasonDraining                      // the node is shutting down
	ReasonPanic                         // a handler failed
	ReasonMissedEvents                  // the node may have missed events
	ReasonOrdered                       // a service closed the connection
	ReasonBusy                          // its token could not be verified now
	ReasonTakenOver                     // the client has come back with the session on another connection
	reasonCount
)

// Reasons returns every reason.
func Reasons() []Reason {
	all := make([]Reason, reasonCount)
	for i := range all {
		all[i] = Reason(i)
	}
	return all
}

var reasonNames = [reasonCount]string{
	"transport_closed", "transport_error", "client_close", "ping_timeout",
	"connect_timeout", "parse_error", "too_large", "poll_overlap",
	"slow_consumer", "shed", "too_fast", "draining", "panic", "missed_events", "ordered", "busy", "taken_over",
}

// String implements fmt.Stringer.
func (r Reason) String() string {
	if r < reasonCount {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}
