package config

import (
	"strconv"
	"time"

	"github.com/hometrip/gateway/rooms"
)

// recoverySettings are about clients that come back to what they missed.
var recoverySettings = []Setting{
	{Group: "Recovery", Name: "RECOVERY", Default: "asked",
		Doc:  "Who comes back to the events it missed while it was away: off, asked (clients that say recovery: true in their auth) or all. Events then have one more argument.",
		kind: oneOf(func(c *Config) *string { return &c.Recovery.Mode }, "off", "asked", "all")},
	{Name: "RECOVERY_WINDOW", Default: strconv.Itoa(2 * minute), Doc: "Time for which a client may be away.",
		kind: millis(1000, hour, func(c *Config) *time.Duration { return &c.Recovery.Window })},
	{Name: "RECOVERY_MAX_EVENTS", Default: strconv.Itoa(rooms.DefaultReplayEvents),
		Doc:  "Events that one return may bring; who has missed more is connected as a new client.",
		kind: integer(1, 100_000, func(c *Config) *int { return &c.Recovery.MaxEvents })},
	{Name: "RECOVERY_MAX_BYTES", Default: strconv.Itoa(rooms.DefaultReplayBytes), Doc: "Bytes of these events, and half of MAX_PENDING_BYTES at most.",
		kind: integer(1024, 64*mib, func(c *Config) *int { return &c.Recovery.MaxBytes })},
	{Name: "PRESENCE_GRACE", Default: "5000",
		Doc:  "Time for which the others in a room are not told that a client has left which may come back. 0 tells at once.",
		kind: millis(0, hour, func(c *Config) *time.Duration { return &c.Recovery.PresenceGrace })},
	{Name: "MAX_RECOVERY_SESSIONS", Default: strconv.Itoa(rooms.DefaultSessions),
		Doc:  "Ended sessions that a node remembers; the oldest are forgotten beyond.",
		kind: integer(0, 10_000_000, func(c *Config) *int { return &c.Recovery.MaxSessions })},
	{Name: "MAX_RECOVERY_BYTES", Default: strconv.Itoa(rooms.DefaultSessionBytes), Doc: "Bytes of their records.",
		kind: integer(mib, 64*1024*mib, func(c *Config) *int { return &c.Recovery.MaxSessionBytes })},
	{Name: "MAX_RECOVERY_PER_USER", Default: strconv.Itoa(rooms.DefaultSessionsPerUser),
		Doc:  "Ended sessions of one user that a node remembers; others are not kept.",
		kind: integer(1, 1_000_000, func(c *Config) *int { return &c.Recovery.MaxPerUser })},
}
