package mutants

// A mutant is a fault that is put into one file: new takes the place of old,
// which must be there once.
type mutant struct {
	name     string
	file     string
	old, new string
	from     uint64 // seed at which the search begins; 0: 1. Where it was found first
}

const (
	reader    = "upstream/eventlog/reader.go"
	intake    = "upstream/intake.go"
	shard     = "rooms/shard.go"
	hub       = "rooms/hub.go"
	occupancy = "rooms/occupancy.go"
	directory = "rooms/cluster/directory/directory.go"
	write     = "rooms/cluster/directory/write.go"
	read      = "rooms/cluster/directory/read.go"
	lease     = "rooms/cluster/lease/lease.go"
	peers     = "rooms/cluster/lease/peers.go"
	members   = "rooms/cluster/members/members.go"
	outbox    = "rooms/cluster/outbox/outbox.go"
	orders    = "rooms/cluster/orders/orders.go"
	core      = "rooms/cluster/core/core.go"
	record    = "rooms/record.go"
	session   = "rooms/session.go"
	comeback  = "rooms/comeback.go"
	history   = "upstream/history.go"
	filler    = "upstream/filler.go"
	tail      = "upstream/eventlog/tail.go"
	twice     = "upstream/eventlog/duplicates.go"
	turn      = "upstream/eventlog/turn.go"
	sorting   = "upstream/sorting.go"
	decides   = "internal/handover/core.go"
	goesOn    = "upstream/handover.go"
	redisRead = "upstream/redislog/core/reading.go"
	redisTrim = "upstream/redislog/core/trimming.go"
	counting  = "rooms/cluster/presence/core.go"
	renewing  = "rooms/cluster/presence/session.go"
	telling   = "rooms/cluster/presence/tell.go"
	counts    = "rooms/cluster/presence/write.go"
	sweeping  = "rooms/cluster/presence/sweep.go"
)

var mutants = []mutant{
	// The log.
	{"one event is skipped after a reconnect", reader, "Position: r.proof.Position}", "Position: r.proof.Position + 2}", 0},
	{"a gap in the log is not told", reader, "if (r.last != 0 || r.whole) && e.Position > r.last+1+r.holes {", "if false {", 0},
	{"a gap at the beginning of another log is not told", reader, "if (r.last != 0 || r.whole) && e.Position > r.last+1+r.holes {", "if r.last != 0 && e.Position > r.last+1+r.holes {", 325},
	{"what is taken is never acknowledged", reader, "if r.phase == PhaseReading {\n\t\tr.credit(now)", "if false {\n\t\tr.credit(now)", 0},
	{"a reader that has failed does not try again", reader, "case PhaseWaiting:\n\t\tr.open()", "case PhaseWaiting:", 0},
	{"the end of the log at the beginning is forgotten", reader, "r.last = behind", "r.last = 0", 0},
	{"another log is read from its end", reader, "r.leave(info.Identity, Start{From: FromFirst})", "r.leave(info.Identity, Start{From: FromNext})", 326},
	{"an event that was published twice is given twice", intake, "if in.repeats(e) {", "if in.repeats(e) && false {", 0},
	{"an event to two rooms goes to the last one", intake, "in.held = append(in.held, i)", "in.held = append(in.held[:0], i)", 0},
	{"who is in two rooms gets an event twice", intake, "Shared: len(in.held) > 1", "Shared: false", 0},
	{"orders of the log are not obeyed", intake, "if err := in.rooms.Obey(*o); err != nil {", "if err := o.Check(); err != nil {", 0},
	{"orders that last are not kept", intake, "if in.keep != nil && !o.Until.IsZero() {", "if false {", 0},

	// The log on a Redis stream.
	{"a log that Redis has set back keeps its identity", redisRead, "if r.phase == opening && r.at.Renew != \"\" {", "if false {", 0},
	{"nodes do not tell a gap when another one has renewed the log", reader, "if info.Renewed {", "if false {", 0},
	{"a log that ends too early is not noticed when it is opened", reader, "case info.End != 0 && info.End < r.last:", "case false:", 0},
	{"one entry is skipped between two reads", redisRead, "r.after = position\n", "r.after = position + 1\n", 0},
	{"entries of another log are taken for those of the old one", redisRead, "if log != r.of {", "if log != r.of && false {", 0},
	{"the newest entry is removed with the others", redisTrim, "oldest = min(oldest, t.last)", "_ = t.last", 0},
	{"entries are removed by number", redisTrim, "After: []string{\"MINID\", id(t.log, oldest)}", "After: []string{\"MAXLEN\", strconv.FormatInt(max(t.length-t.gone, 1)+int64(0*oldest), 10)}", 0},
	{"an entry is removed when it is half as old as it may be", redisTrim, "end.now - t.Retention.Milliseconds()", "end.now - t.Retention.Milliseconds()/2", 0},

	// The rooms.
	{"the session's position filters with <", shard, "if s.floor() < b.Position {", "if s.floor() < b.Position+1 {", 0},
	{"positions of the old log filter the new one", shard, "sh.log++", "sh.log += 0", 0},
	{"an event reaches one event loop only", hub, "for ; holders != 0; holders &= holders - 1 {\n\t\th.shards[bits.TrailingZeros64(holders)].mailbox.add(b)", "for ; holders != 0; holders = 0 {\n\t\th.shards[bits.TrailingZeros64(holders)].mailbox.add(b)", 0},
	{"a broadcast of another loop goes to one only", hub, "h.post(b, holders)", "h.post(b, holders&-holders)", 0},
	{"the cluster is not told that a room is empty", occupancy, "o.cluster.Vacated(r.name)", "_ = r.name", 0},
	{"the occupancy forgets a loop", occupancy, "now.shards |= 1 << shard", "now.shards = 1 << shard", 0},

	// The directory.
	{"the directory is not registered anew", directory, "d.renewed, d.owing, d.check = 0, len(d.all)", "d.renewed, d.owing, d.check = len(d.all), 0", 0},
	{"a room that Redis has lost is not healed", read, "if !there && e.written == d.session && e.writing == resting {", "if false {", 0},
	{"a room is dropped that somebody has entered again", directory, "return !e.occupied && (d.leaving || now.Sub(e.vacant) >= d.c.Linger)", "return d.leaving || !e.vacant.IsZero() && now.Sub(e.vacant) >= d.c.Linger", 0},
	{"a change of a room in Redis is not noticed", directory, "\te.sight = min(e.sight, stale)\n\td.read(e)\n}", "}", 0},
	{"a write that failed is not repeated", write, "if d.session != 0 {\n\t\t\t\td.write(e)\n\t\t\t}", "", 0},
	{"dead sessions stay in rooms", read, "case d.c.Others.Dead(s):\n\t\t\td.dead = append(d.dead, burial{e.room, text})", "case d.c.Others.Dead(s):", 0},

	{"a former session of this node stays when it is back", read, "if d.Registered() {", "if false {", 1140},

	// Leases.
	{"a former session of a node that is there is never dead", peers, "!leased || s < p.latest[wire.NodeOf(s)]", "!leased", 0},
	{"a node that is gone is never swept", peers, "due = due || now.Sub(at) >= l.c.Lease", "due = false && now.Sub(at) >= l.c.Lease", 0},
	{"a lost connection keeps the session", lease, "l.phase, l.next = none, now.Add(restartDelay)", "l.next = now.Add(restartDelay)", 0},

	// What clients say.
	{"a count whose answer was lost is not asked for again", members, "if len(c.others)+len(c.tallies) == 0 {", "if len(c.tallies) == 0 {", 0},
	{"who comes to a room is not told its members", members, "case c.own > 0 && slices.ContainsFunc(sessions, fresh):", "case c.own < 0 && slices.ContainsFunc(sessions, fresh):", 0},
	{"members that left are not told", members, "return change > 0 && c.own <= few || change > c.told/share", "return change > 0 && c.own > c.told", 0},
	{"messages are published to the first node only", outbox, "for i, s := range sessions {\n\t\tif seen(sessions[:i], s) {", "for i, s := range sessions {\n\t\tif i > 0 || seen(sessions[:i], s) {", 0},
	{"a room that waits for its holders waits for ever", core, "n.outbox.Known(room)\n\t}\n\tfor _, room := range n.directory.Gone()", "_ = room\n\t}\n\tfor _, room := range n.directory.Gone()", 0},

	// Orders that last.
	{"orders that Redis has are not obeyed", orders, "o.obey = append(o.obey, *order)", "_ = order", 0},
	{"orders that another node saves late are not read", orders, "if n > max(int64(len(o.known)), o.stored) {", "if false {", 20023160},

	// Dead letters, and orders that were published while no node ran.
	{"who writes the dead letters begins one entry late", sorting, "Position: done.Position + 1}", "Position: done.Position + 2}", 0},
	{"what waits for a dead letter is done before it is written", sorting, "\ts.tasks = append(s.tasks, Task{Kind: PutAside, Letter: l})\n\treturn s.done(l.Entry.Position)", "\ts.done(l.Entry.Position + 1)\n\ts.tasks = append(s.tasks, Task{Kind: PutAside, Letter: l})\n\treturn s.tasks", 0},
	{"a good event is a dead letter", sorting, "err = s.encoder.Address(r)", "err = routes.NoRoute(e.Key)", 0},
	{"the first note at the dead letters is kept instead of the newest", turn, "case told:", "case told && first:", 0},
	{"orders of the time when no node ran are not appended again", sorting, "e.Position <= s.began && !again {", "false && !again {", 0},

	// Events that are published twice, and clocks.
	{"events of two services with the same id are one", twice, "\t_, _ = h.Write(id)\n", "\t_, _ = h.Write(id)\n\tif len(id) > 0 {\n\t\treturn h.Sum64()\n\t}\n", 0},
	{"only the last event is known when it is published again", intake, "eventlog.NewDuplicates(duplicateWindow)", "eventlog.NewDuplicates(1)", 0},
	{"a vacant room is kept by the wall clock", directory, "now.Sub(e.vacant) >= d.c.Linger)", "now.Round(0).Sub(e.vacant.Round(0)) >= d.c.Linger)", 0},
	{"a reader waits by the wall clock", reader, "if now.Before(r.until) {", "if now.Round(0).Before(r.until.Round(0)) {", 0},

	// Hand-over to a new process.
	{"the new process takes over when the old one gives up", decides, "if t.phase == takerHas { // it died", "if t.phase >= takerWaits { // it died", 0},
	{"the new process does not know how far back it has read", goesOn, "if in.history != nil && p.Position != 0 {", "if in.history != nil && p.Began != 0 {", 0},

	// Presence.
	{"an event of presence that RabbitMQ does not have counts as told", telling, "if !ok { // it is found in Redis when its time is over", "if false {", 0},
	{"events of presence that nobody has told are not looked for", telling, "n.tell.note(room, now, now)", "_ = room", 0},
	{"the users of a dead node stay online", renewing, "if dead := replies[0].Text; dead != \"\" {", "if dead := replies[0].Text; dead != \"\" && false {", 0},
	{"counts are not written anew in the next session", renewing, "n.window.Reset()\n\tfor _, r := range n.all {", "n.window.Reset()\n\tfor _, r := range n.all[:0] {", 0},
	{"a count that changes while it is written is not written again", counts, "if r.count != n.writtenOf(r) || replies[i].Err != nil", "if replies[i].Err != nil", 0},
	{"a user who is back within the grace is told to be offline", counts, "wire.Decimal(grace.Milliseconds())", "wire.Decimal(0*grace.Milliseconds())", 0},
	{"a node does not notice that Redis may have lost its counts", renewing, "func (n *Core) Lost(now time.Time) { n.fail(now) }", "func (n *Core) Lost(time.Time) {}", 0},
	{"counts are written late or never", counting, "if r.lazy = false; !r.flying {", "if r.lazy = false; false {", 0},
	{"a session is removed before its rooms are", sweeping, "if len(s.found) == 0 {\n", "if true {\n", 0},
	{"what this node's former sessions have counted stays", renewing, "} else if n.sweep.session == \"\" && len(n.former) > 0 && n.registered() {", "} else if false {", 0},
	{"a node that has no session of Redis writes", counting, "case !n.known: // the others would not know whose the counts are", "case false:", 0},

	// Clients that come back.
	{"a return begins behind what was sent last, and not behind what came", record, "default:\n\t\treturn position, RecoveryDone", "default:\n\t\treturn max(position, r.Last), RecoveryDone", 0},
	{"fences are not compared", record, "case o.Fence != r.Fence:", "case false:", 0},
	{"a session that was not given away keeps its fence", comeback, "c.record.Fence; c.record.Orphan {", "c.record.Fence; false {", 0},
	{"a join that Redis did not take is acknowledged without another fence", session, "if !saved {\n\t\t\tn.beside().fence", "if false {\n\t\t\tn.beside().fence", 0},
	{"who comes back joins its rooms anew", comeback, "n.join(i).set(room.From)", "_, _ = i, n", 0},
	{"what comes during a return is not sent", comeback, "if c.held[i].Position > floor {", "if false {", 0},
	{"what comes during a return is sent though it was replayed", comeback, "if c.held[i].Position > floor {", "if true {", 0},
	{"a node that is behind sends again what was replayed", comeback, "s.raise(max(floor, s.floor()))", "_ = floor", 0},
	{"a return does not look for orders", history, "if h.ordered(a) {", "if false {", 0},
	{"an event is replayed for each of its rooms", history, "entries = slices.CompactFunc(entries, func(a, b eventlog.Entry) bool { return a.Position == b.Position })", "", 0},
	{"a position that the log uses itself is a gap for who comes back", filler, "if e.Position > f.next+f.holes ||", "if e.Position > f.next ||", 0},
	{"the history knows an event by its first room only", tail, "for _, r := range i.more {", "for _, r := range i.more[:0] {", 0},
	{"the history forgets that it dropped events", tail, "t.after = item.entry.Position", "_ = item.entry", 0},
	{"a count that comes late stays", core, "n.members.Heard(room, from, count) {", "n.members.Heard(room, from, count) && false {", 20080},
}
