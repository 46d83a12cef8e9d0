package redismodel

import (
	"slices"
	"strings"
)

// tracking is the state of a connection's CLIENT TRACKING.
type tracking struct {
	on, optIn, noLoop bool
	once              bool // CLIENT CACHING YES was sent: the keys of the next command are tracked
}

func client(s *Server, c *Conn, args []string) Reply {
	switch strings.ToUpper(args[1]) {
	case "ID":
		return number(c.id)
	case "SETNAME":
		c.name = args[2]
		return ok
	case "GETNAME":
		if c.name == "" {
			return null
		}
		return bulk(c.name)
	case "TRACKING":
		return s.setTracking(c, args)
	case "CACHING":
		if !c.tracking.on || !c.tracking.optIn {
			return fault("ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled")
		}
		if !strings.EqualFold(args[2], "YES") {
			return fault("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.")
		}
		c.tracking.once = true
		return ok
	}
	refuse(args)
	return null
}

func (s *Server) setTracking(c *Conn, args []string) Reply {
	if strings.EqualFold(args[2], "OFF") {
		c.tracking = tracking{} // keys that were read stay in s.tracked, in case tracking is enabled again
		return ok
	}
	t := tracking{on: true}
	for _, option := range args[3:] {
		switch strings.ToUpper(option) {
		case "OPTIN":
			t.optIn = true
		case "NOLOOP":
			t.noLoop = true
		default:
			refuse(args)
		}
	}
	if c.tracking.on && c.tracking.optIn != t.optIn {
		refuse(args)
	}
	c.tracking = t
	return ok
}

// track records that a connection has read the keys of a command.
func (s *Server) track(c *Conn, keys []string) {
	if t := c.tracking; !t.on || t.optIn && !t.once {
		return
	}
	for _, key := range keys {
		if !slices.Contains(s.tracked[key], c) {
			s.tracked[key] = append(s.tracked[key], c)
		}
	}
}

// untrack removes a connection from the table of tracked keys.
func (s *Server) untrack(c *Conn) {
	for key := range s.tracked {
		drop(s.tracked, key, c)
	}
}

// invalidate sends invalidations for the keys that have changed to the
// connections that have read them. by is the connection whose command changed
// them, or nil.
func (s *Server) invalidate(by *Conn) {
	if s.flushed {
		for _, c := range s.Conns() {
			if c.tracking.on {
				c.Out = append(c.Out, push(bulk("invalidate"), null))
			}
		}
		clear(s.tracked)
	}
	for _, x := range s.pending {
		for _, c := range x.readers {
			if c.tracking.on && (c != by || !c.tracking.noLoop) {
				c.Out = append(c.Out, push(bulk("invalidate"), array(bulk(x.key))))
			}
		}
	}
	s.pending, s.flushed = s.pending[:0], false
}
