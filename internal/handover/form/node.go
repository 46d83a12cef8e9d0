package form

import "time"

// A Node is the state that belongs to no event loop.
type Node struct {
	Rates  []Rate    // of addresses
	Tokens []Revoked // by id
	Users  []Revoked

	Log      Log
	Vacant   []Vacancy // rooms that count as held by who left them last
	Ended    []Ended
	Cluster  Cluster
	Counters []Counter
}

// A Rate is how far an address is ahead of its rate of handshakes.
type Rate struct {
	Source uint64
	Ahead  time.Duration
}

// A Revoked is a token, or a user's tokens, that are refused.
type Revoked struct {
	Name          string
	Issued, Until int64 // Unix s; Issued of users only
}

// A Log is how far the node has read the log of the services' events.
type Log struct {
	Identity string // "" when it ends with the process
	Position uint64 // everything up to there was delivered, or passed over
	Began    uint64 // the node has read what is behind it; 0: not known
	Recent   []Event
	InMemory bool   // Entries are the log
	Last     uint64 // position of the newest entry that there has been
	Entries  []Entry
}

// An Event is an event of the log that is recognized if it is repeated.
type Event struct {
	Hash     uint64
	Position uint64
}

// An Entry is an event of a log in the memory of the process.
type Entry struct {
	Position                      uint64
	Exchange, Key, ID, App, Trace string
	Published                     int64 // Unix ns; 0: not known
	Body                          []byte
}

// A Vacancy is a room without members that is kept for a while.
type Vacancy struct {
	Room, User string
	Left       time.Duration
}

// An Ended is the record of a session without a socket.
type Ended struct {
	PID, User string
	Record    []byte
	Age       time.Duration
}

// A Cluster is the identity of the node among the others.
type Cluster struct {
	Member  bool // with Redis
	Session int64
	Former  []int64
	Live    bool   // Redis has the lease of Session
	Mark    string // in the node's channels: what came behind it was not taken
	Vacant  []Vacancy
	Tallies []Tally
	Orders  []string // that Redis does not have
}

// A Tally is how many members of a room another node has.
type Tally struct {
	Room    string
	Node    uint32
	Members uint32
}

// A Counter is a counter of the metrics.
type Counter struct {
	Name  string // with its labels
	Value uint64 // bits of a float64
}

func (w *walker) node(n *Node) {
	list(w, &n.Rates, 2, func(r *Rate) { w.u64(&r.Source); w.span(&r.Ahead) })
	revoked := func(r *Revoked) { w.text(&r.Name); w.i64(&r.Issued); w.i64(&r.Until) }
	list(w, &n.Tokens, 3, revoked)
	list(w, &n.Users, 3, revoked)
	w.log(&n.Log)
	list(w, &n.Vacant, 3, w.vacancy)
	list(w, &n.Ended, 4, func(e *Ended) { w.text(&e.PID); w.text(&e.User); w.bytes(&e.Record); w.span(&e.Age) })
	w.cluster(&n.Cluster)
	list(w, &n.Counters, 2, func(c *Counter) { w.text(&c.Name); w.u64(&c.Value) })
}

func (w *walker) log(l *Log) {
	w.text(&l.Identity)
	w.u64(&l.Position)
	w.u64(&l.Began)
	list(w, &l.Recent, 2, func(e *Event) { w.u64(&e.Hash); w.u64(&e.Position) })
	w.bools(&l.InMemory)
	w.u64(&l.Last)
	list(w, &l.Entries, 8, func(e *Entry) {
		w.u64(&e.Position)
		for _, text := range []*string{&e.Exchange, &e.Key, &e.ID, &e.App, &e.Trace} {
			w.text(text)
		}
		w.i64(&e.Published)
		w.bytes(&e.Body)
	})
}

func (w *walker) vacancy(v *Vacancy) { w.text(&v.Room); w.text(&v.User); w.span(&v.Left) }

func (w *walker) cluster(c *Cluster) {
	w.bools(&c.Member, &c.Live)
	w.i64(&c.Session)
	list(w, &c.Former, 1, w.i64)
	w.text(&c.Mark)
	list(w, &c.Vacant, 3, w.vacancy)
	list(w, &c.Tallies, 3, func(t *Tally) { w.text(&t.Room); w.u32(&t.Node); w.u32(&t.Members) })
	list(w, &c.Orders, 1, w.text)
}

// AppendNode appends the form of n.
func AppendNode(b []byte, n *Node) []byte {
	w := walker{b: b}
	w.node(n)
	return w.b
}

// ReadNode reads what AppendNode wrote. The values refer to b.
func ReadNode(b []byte) (*Node, error) {
	w, n := walker{b: b, reading: true}, &Node{}
	w.node(n)
	return n, w.end()
}
