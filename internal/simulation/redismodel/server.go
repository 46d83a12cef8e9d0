package redismodel

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Unsupported is what the model panics with when it is asked for something it
// does not model.
type Unsupported struct{ Command string }

// Error implements error.
func (u Unsupported) Error() string { return "redismodel does not model: " + u.Command }

func refuse(args []string) { panic(Unsupported{strings.Join(args, " ")}) }

// A Server is one Redis server with one database. Owned by one goroutine.
type Server struct {
	now      time.Duration // since an epoch of the caller's
	keys     map[string]*value
	expiry   []deadline // a heap; entries may be out of date
	conns    map[int64]*Conn
	lastID   int64
	channels map[string][]*Conn // subscribers, in the order in which they came
	shard    map[string][]*Conn // of SSUBSCRIBE
	tracked  map[string][]*Conn // who is told when the key changes

	scripts map[string]Script // by their text

	blocked []*Conn // that wait for entries, the first first

	elems   []Reply  // to be used by the next replies
	pending []change // of keys while a command is executed
	flushed bool     // of all of them

	// The faults. Each holds until it is taken back.
	Full     bool // maxmemory is reached and nothing may be evicted
	ReadOnly bool // it has become a replica
	Loading  bool // it has been started and still reads its snapshot
}

// A change is one of a key that connections have read.
type change struct {
	key     string
	readers []*Conn
}

// A value is what a key holds: one of the types.
type value struct {
	until  time.Duration // 0: for ever
	str    *string
	set    []string // sorted
	told   []Reply  // set, as a reply; nil: it was not asked for since it has changed
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
// and nobody has taken yet. Owned like its server.
type Conn struct {
	Out    []Reply
	Closed bool

	id       int64
	server   *Server
	name     string
	channels []string
	shard    []string
	tracking tracking
	queue    [][]string // of MULTI
	multi    bool
	spoilt   bool // a command of MULTI was refused
	block    *blocked
	waiting  [][]string // came behind a blocking command
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

// Connect opens a connection, which speaks RESP3 from the beginning.
func (s *Server) Connect() *Conn {
	s.lastID++
	c := &Conn{id: s.lastID, server: s}
	s.conns[c.id] = c
	return c
}

// Close ends the connection. What is in Out stays there for whoever had it on
// the way.
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

// Conns returns the open connections in the order in which they were made.
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

// Advance tells the server the time: keys expire and blocked reads end. Time
// does not go back.
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

// Next is when Advance has something to do, if it has.
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

// Do executes a command of a connection at the server's present time; the
// reply goes to Out, and pushes that it causes to everybody's.
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

// execute has one command of a client done or, within MULTI, kept.
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
		c.spoilt = c.multi
		c.Out = append(c.Out, fault("ERR wrong number of arguments for '"+strings.ToLower(args[0])+"' command"))
		return
	}
	if why := s.denied(c, name, d); why != "" {
		c.spoilt = c.multi
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

// call runs a command's function with what surrounds it.
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

// denied returns the error of a command that the server's state forbids. EXEC
// is denied what any of its commands would be.
func (s *Server) denied(c *Conn, name string, d *command) string {
	flags, loads := d.flags, d.flags&whileLoading != 0
	if name == "EXEC" {
		for _, args := range c.queue {
			f := commands[strings.ToUpper(args[0])].flags
			flags, loads = flags|f, loads && f&whileLoading != 0
		}
	} else if c.multi && name != "DISCARD" {
		flags |= grows // it is kept, which costs memory
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

// modified notes that a key's value has changed.
func (s *Server) modified(key string) {
	if readers, read := s.tracked[key]; read {
		s.pending = append(s.pending, change{key, readers})
		delete(s.tracked, key)
	}
}

// remove deletes a key and reports whether it was there.
func (s *Server) remove(key string) bool {
	if _, there := s.keys[key]; !there {
		return false
	}
	delete(s.keys, key)
	s.modified(key)
	return true
}

// expireAt has a key end at a time.
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

// A Snapshot is a copy of all keys at a time.
type Snapshot struct{ keys map[string]*value }

// Snapshot copies what the server keeps, as a replica or a file on disk has it.
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

// Restart ends all connections and begins with a snapshot; the zero Snapshot
// is an empty server. A failover to a replica is the same: its data are those
// of the time at which it stopped to follow.
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

// Evict removes a key as maxmemory-policy does, and reports whether it was
// there.
func (s *Server) Evict(key string) bool {
	there := s.remove(key)
	s.invalidate(nil)
	return there
}

// Keys returns the names of all keys, sorted.
func (s *Server) Keys() []string { return slices.Sorted(maps.Keys(s.keys)) }

// Now is the server's time.
func (s *Server) Now() time.Duration { return s.now }
