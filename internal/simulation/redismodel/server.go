package redismodel

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Unsupported is the panic value for a command that the model does not
// implement.
type Unsupported struct{ Command string }

// Error implements error.
func (u Unsupported) Error() string { return "redismodel does not model: " + u.Command }

func refuse(args []string) { panic(Unsupported{strings.Join(args, " ")}) }

// A Server is one Redis server with one database. Owned by one goroutine.
type Server struct {
	now      time.Duration // since the caller's epoch
	keys     map[string]*value
	expiry   []deadline // a heap; may hold entries whose key has changed or is gone
	conns    map[int64]*Conn
	lastID   int64
	channels map[string][]*Conn // subscribers, in the order in which they subscribed
	shard    map[string][]*Conn // subscribers by SSUBSCRIBE
	tracked  map[string][]*Conn // by key: connections that get an invalidation when it changes

	scripts map[string]Script // by their text

	blocked []*Conn // connections in a blocking XREAD, the oldest first

	elems   []Reply  // preallocated elements for the next pushes
	pending []change // keys changed by the command that is being executed
	flushed bool     // that command has removed all keys

	// The faults. Each one lasts until the caller resets the field.
	Full     bool // maxmemory is reached and no key may be evicted
	ReadOnly bool // the server has become a replica
	Loading  bool // the server has been started and is still reading its snapshot
}

// A change is a changed key and the connections that have read it.
type change struct {
	key     string
	readers []*Conn
}

// A value is the content of a key; kind says which of the fields is set.
type value struct {
	until  time.Duration // when it expires; 0: never
	str    *string
	set    []string // sorted
	cached []Reply  // set, as the elements of a reply; nil after a change
	hash   map[string]string
	sorted map[string]float64
	stream *stream
	kind   string // string, set, hash, zset, stream
}

// A deadline is the time at which a key expires.
type deadline struct {
	at  time.Duration
	key string
}

// A Conn is a connection to a server. Out is what the server has written to it
// and the caller has not taken yet. It belongs to the server's goroutine.
type Conn struct {
	Out    []Reply
	Closed bool

	id       int64
	server   *Server
	name     string
	channels []string
	shard    []string
	tracking tracking
	queue    [][]string // commands of an open MULTI
	multi    bool
	aborted  bool // a command of the open MULTI was refused, so EXEC fails
	block    *blocked
	waiting  [][]string // commands that were sent behind a blocking one
}

// New returns an empty server.
func New() *Server {
	s := &Server{}
	s.reset(make(map[string]*value))
	return s
}

func (s *Server) reset(keys map[string]*value) {
	s.keys = keys
	s.expiry = nil
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if until := keys[k].until; until != 0 {
			s.expireAt(k, until)
		}
	}
	s.conns = make(map[int64]*Conn)
	s.channels = make(map[string][]*Conn)
	s.shard = make(map[string][]*Conn)
	s.tracked = make(map[string][]*Conn)
}

// Connect opens a connection. It speaks RESP3 without a HELLO.
func (s *Server) Connect() *Conn {
	s.lastID++
	c := &Conn{id: s.lastID, server: s}
	s.conns[c.id] = c
	return c
}

// Close ends the connection. Out keeps what was written before: the caller may
// still deliver it.
func (c *Conn) Close() {
	if c.Closed {
		return
	}
	c.Closed = true
	s := c.server
	delete(s.conns, c.id)
	for _, ch := range c.channels {
		drop(s.channels, ch, c)
	}
	for _, ch := range c.shard {
		drop(s.shard, ch, c)
	}
	if i := slices.Index(s.blocked, c); i >= 0 {
		s.blocked = slices.Delete(s.blocked, i, i+1)
	}
	c.channels, c.shard, c.block, c.waiting = nil, nil, nil, nil
	s.untrack(c)
}

// Conns returns the open connections in the order in which they were opened.
func (s *Server) Conns() []*Conn {
	return slices.SortedFunc(maps.Values(s.conns), func(a, b *Conn) int { return cmp.Compare(a.id, b.id) })
}

func drop(m map[string][]*Conn, key string, c *Conn) {
	if i := slices.Index(m[key], c); i >= 0 {
		if m[key] = slices.Delete(m[key], i, i+1); len(m[key]) == 0 {
			delete(m, key)
		}
	}
}

// Advance sets the time, expires keys and ends blocked reads whose time is over.
// It panics when the time goes back.
func (s *Server) Advance(now time.Duration) {
	if now < s.now {
		panic(fmt.Sprintf("redismodel: time goes back from %v to %v", s.now, now))
	}
	s.now = now
	for len(s.expiry) > 0 && s.expiry[0].at <= now {
		d := s.popExpiry()
		if v := s.keys[d.key]; v != nil && v.until == d.at {
			s.remove(d.key)
		}
	}
	s.invalidate(nil)
	if len(s.blocked) > 0 {
		s.endBlocks()
	}
}

// Next returns the time of the next expiry or end of a blocked read; ok is false
// if there is none.
func (s *Server) Next() (at time.Duration, ok bool) {
	if len(s.expiry) > 0 {
		at, ok = s.expiry[0].at, true
	}
	for _, c := range s.blocked {
		if c.block.until != 0 && (!ok || c.block.until < at) {
			at, ok = c.block.until, true
		}
	}
	return at, ok
}

// Do executes a command on a connection at the current time. It appends the
// reply to Out, and the pushes that the command causes to the Out of their
// receivers.
func (c *Conn) Do(args ...string) {
	if c.Closed {
		panic("redismodel: a command on a closed connection")
	}
	if c.block != nil {
		c.waiting = append(c.waiting, args)
		return
	}
	c.server.execute(c, args)
	if len(c.server.blocked) > 0 {
		c.server.endBlocks()
	}
}

// execute runs one command of a connection or, within MULTI, queues it.
func (s *Server) execute(c *Conn, args []string) {
	name := args[0]
	d := commands[name]
	if d == nil {
		name = strings.ToUpper(name)
		if d = commands[name]; d == nil {
			refuse(args)
		}
	}
	if d.arity > 0 && len(args) != d.arity || len(args) < -d.arity {
		c.aborted = c.multi
		c.Out = append(c.Out, fault("ERR wrong number of arguments for '"+strings.ToLower(args[0])+"' command"))
		return
	}
	if why := s.denied(c, name, d); why != "" {
		c.aborted = c.multi
		if name == "EXEC" && c.multi {
			c.multi, c.queue = false, nil
			why = "EXECABORT Transaction discarded because of: " + why
		}
		c.Out = append(c.Out, fault(why))
		return
	}
	if c.multi && name != "EXEC" && name != "DISCARD" && name != "MULTI" {
		c.queue = append(c.queue, args)
		c.Out = append(c.Out, simple("QUEUED"))
		return
	}
	r, answered := s.call(c, d, name, args)
	if answered {
		c.Out = append(c.Out, r)
	}
	s.invalidate(c)
}

// call runs a command's function; it also records tracked keys before and ends
// CLIENT CACHING after it.
func (s *Server) call(c *Conn, d *command, name string, args []string) (Reply, bool) {
	if d.flags&readonly != 0 && d.keys != nil {
		s.track(c, d.keys(args))
	}
	keeps := name == "CLIENT" || name == "MULTI" || c.multi
	r, answered := d.run(s, c, args)
	if !keeps {
		c.tracking.once = false
	}
	return r, answered
}

// denied returns the error for a command that the server's state forbids, ""
// for a permitted one. EXEC is denied if any of its commands would be.
func (s *Server) denied(c *Conn, name string, d *command) string {
	flags, loads := d.flags, d.flags&whileLoading != 0
	if name == "EXEC" {
		for _, args := range c.queue {
			f := commands[strings.ToUpper(args[0])].flags
			flags, loads = flags|f, loads && f&whileLoading != 0
		}
	} else if c.multi && name != "DISCARD" {
		flags |= grows // queueing a command uses memory
	}
	switch {
	case s.Full && flags&grows != 0:
		return "OOM command not allowed when used memory > 'maxmemory'."
	case s.ReadOnly && flags&writes != 0 && (!c.multi || name == "EXEC" || d.flags&writes != 0):
		return "READONLY You can't write against a read only replica."
	case s.Loading && !loads:
		return "LOADING Redis is loading the dataset in memory"
	}
	return ""
}

// modified records that the value of a key has changed.
func (s *Server) modified(key string) {
	if readers, read := s.tracked[key]; read {
		s.pending = append(s.pending, change{key, readers})
		delete(s.tracked, key)
	}
}

// remove deletes a key and reports whether it existed.
func (s *Server) remove(key string) bool {
	if _, there := s.keys[key]; !there {
		return false
	}
	delete(s.keys, key)
	s.modified(key)
	return true
}

// expireAt schedules the expiry of a key.
func (s *Server) expireAt(key string, at time.Duration) {
	s.expiry = append(s.expiry, deadline{at, key})
	h, i := s.expiry, len(s.expiry)-1
	for i > 0 && h[i].at < h[(i-1)/2].at {
		h[i], h[(i-1)/2] = h[(i-1)/2], h[i]
		i = (i - 1) / 2
	}
}

func (s *Server) popExpiry() deadline {
	h := s.expiry
	top, last := h[0], len(h)-1
	h[0] = h[last]
	h = h[:last]
	for i := 0; ; {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < last && h[child].at < h[least].at {
				least = child
			}
		}
		if least == i {
			break
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
	s.expiry = h
	return top
}

// A Snapshot is a copy of all keys at one time.
type Snapshot struct{ keys map[string]*value }

// Snapshot copies the keys, as a replica or an RDB file has them.
func (s *Server) Snapshot() Snapshot {
	keys := make(map[string]*value, len(s.keys))
	for k, v := range s.keys {
		keys[k] = v.clone()
	}
	return Snapshot{keys}
}

func (v *value) clone() *value {
	w := *v
	w.set = slices.Clone(v.set)
	w.hash = maps.Clone(v.hash)
	w.sorted = maps.Clone(v.sorted)
	if v.stream != nil {
		w.stream = v.stream.clone()
	}
	return &w
}

// Restart closes all connections and loads a snapshot; the zero Snapshot is an
// empty server. It also models a failover to a replica that has stopped
// replicating: from is then the replica's data.
func (s *Server) Restart(from Snapshot) {
	for _, c := range s.Conns() {
		c.Close()
	}
	keys := make(map[string]*value, len(from.keys))
	for k, v := range from.keys {
		if v.until == 0 || v.until > s.now {
			keys[k] = v.clone()
		}
	}
	s.reset(keys)
	s.Full, s.ReadOnly, s.Loading = false, false, false
}

// Evict removes a key as maxmemory-policy does, and reports whether it existed.
func (s *Server) Evict(key string) bool {
	there := s.remove(key)
	s.invalidate(nil)
	return there
}

// Keys returns the names of all keys, sorted.
func (s *Server) Keys() []string { return slices.Sorted(maps.Keys(s.keys)) }

// Now returns the server's time.
func (s *Server) Now() time.Duration { return s.now }
