package config

import (
	"strconv"
	"time"

	"github.com/hometrip/gateway/rooms"
)

// recoverySettings are about clients that come back to what they missed.
var recoverySettings = []Setting{
	{Group: "Recovery", Name: "RECOVERY", Default: "asked",
		Doc:  "Which clients get the events that they missed while they were disconnected: off, asked (clients with recovery: true in their auth) or all. Events for them have one more argument.",
		kind: oneOf(func(c *Config) *string { return &c.Recovery.Mode }, "off", "asked", "all")},
	{Name: "RECOVERY_WINDOW", Default: strconv.Itoa(2 * minute), Doc: "How long a client may be disconnected and still recover.",
		kind: millis(1000, hour, func(c *Config) *time.Duration { return &c.Recovery.Window })},
	{Name: "RECOVERY_MAX_EVENTS", Default: strconv.Itoa(rooms.DefaultReplayEvents),
		Doc:  "Events that one recovery may replay; a client that missed more is connected as a new one.",
		kind: integer(1, 100_000, func(c *Config) *int { return &c.Recovery.MaxEvents })},
	{Name: "RECOVERY_MAX_BYTES", Default: strconv.Itoa(rooms.DefaultReplayBytes), Doc: "Bytes that one recovery may replay, beside MAX_PENDING_BYTES; a client that missed more is connected as a new one.",
		kind: integer(1024, 64*mib, func(c *Config) *int { return &c.Recovery.MaxBytes })},
	{Name: "PRESENCE_GRACE", Default: "5000",
		Doc:  "Delay of user_left for a client that may come back. 0: no delay.",
		kind: millis(0, hour, func(c *Config) *time.Duration { return &c.Recovery.PresenceGrace })},
	{Name: "MAX_RECOVERY_SESSIONS", Default: strconv.Itoa(rooms.DefaultSessions),
		Doc:  "Ended sessions that a node remembers; beyond it the oldest are forgotten.",
		kind: integer(0, 10_000_000, func(c *Config) *int { return &c.Recovery.MaxSessions })},
	{Name: "MAX_RECOVERY_BYTES", Default: strconv.Itoa(rooms.DefaultSessionBytes), Doc: "Bytes that the records of ended sessions may use; beyond it the oldest are forgotten. Those of one user may use a 64th of it.",
		kind: integer(mib, 64*1024*mib, func(c *Config) *int { return &c.Recovery.MaxSessionBytes })},
	{Name: "MAX_RECOVERY_PER_USER", Default: strconv.Itoa(rooms.DefaultSessionsPerUser),
		Doc:  "Ended sessions of one user that a node remembers; further ones are not kept.",
		kind: integer(1, 1_000_000, func(c *Config) *int { return &c.Recovery.MaxPerUser })},
}
