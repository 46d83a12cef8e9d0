package mutants

// A mutant is a fault that is put into a copy of one source file: new replaces
// old, which must occur exactly once.
type mutant struct {
	name     string
	file     string
	old, new string
	from     uint64 // seed at which the search begins; 0 stands for 1
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
	{"a gap in the log is not reported", reader, "if (r.last != 0 || r.whole) && e.Position > r.last+1+r.holes {", "if false {", 0},
	{"a gap at the beginning of another log is not reported", reader, "if (r.last != 0 || r.whole) && e.Position > r.last+1+r.holes {", "if r.last != 0 && e.Position > r.last+1+r.holes {", 325},
	{"entries that were taken are never acknowledged", reader, "if r.phase == PhaseReading {\n\t\tr.credit(now)", "if false {\n\t\tr.credit(now)", 0},
	{"a reader that has failed does not try again", reader, "case PhaseWaiting:\n\t\tr.open()", "case PhaseWaiting:", 0},
	{"the end of the log at the start is forgotten", reader, "r.last = behind", "r.last = 0", 0},
	{"another log is read from its end", reader, "r.leave(info.Identity, Start{From: FromFirst})", "r.leave(info.Identity, Start{From: FromNext})", 326},
	{"an event that was published twice is delivered twice", intake, "if in.repeats(e) {", "if in.repeats(e) && false {", 0},
	{"an event to two rooms goes to the last one only", intake, "in.held = append(in.held, i)", "in.held = append(in.held[:0], i)", 0},
	{"a client in two rooms gets an event twice", intake, "Shared: len(in.held) > 1", "Shared: false", 0},
	{"orders in the log are not carried out", intake, "if err := in.rooms.Obey(*o); err != nil {", "if err := o.Check(); err != nil {", 0},
	{"lasting orders are not stored", intake, "if in.keep != nil && !o.Until.IsZero() {", "if false {", 0},

	// The log on a Redis stream.
	{"a log that Redis has set back keeps its identity", redisRead, "if r.phase == opening && r.at.Renew != \"\" {", "if false {", 0},
	{"nodes report no gap when another one has renewed the log", reader, "if info.Renewed {", "if false {", 0},
	{"a log that ends too early is not noticed when it is opened", reader, "case info.End != 0 && info.End < r.last:", "case false:", 0},
	{"one entry is skipped between two reads", redisRead, "r.after = position\n", "r.after = position + 1\n", 0},
	{"entries of another log count as those of the old one", redisRead, "if log != r.of {", "if log != r.of && false {", 0},
	{"the newest entry is removed with the others", redisTrim, "oldest = min(oldest, t.last)", "_ = t.last", 0},
	{"entries are removed by number", redisTrim, "After: []string{\"MINID\", id(t.log, oldest)}", "After: []string{\"MAXLEN\", strconv.FormatInt(max(t.length-t.gone, 1)+int64(0*oldest), 10)}", 0},
	{"an entry is removed when it is half as old as it may be", redisTrim, "end.now - t.Retention.Milliseconds()", "end.now - t.Retention.Milliseconds()/2", 0},

	// The rooms.
	{"the session's position filters with <", shard, "if s.floor() < b.Position {", "if s.floor() < b.Position+1 {", 0},
	{"positions of the old log filter the new one", shard, "sh.log++", "sh.log += 0", 0},
	{"an event reaches one event loop only", hub, "for ; holders != 0; holders &= holders - 1 {\n\t\th.shards[bits.TrailingZeros64(holders)].mailbox.add(b)", "for ; holders != 0; holders = 0 {\n\t\th.shards[bits.TrailingZeros64(holders)].mailbox.add(b)", 0},
	{"a broadcast from another loop goes to one loop only", hub, "h.post(b, holders)", "h.post(b, holders&-holders)", 0},
	{"the cluster is not told that a room is empty", occupancy, "o.cluster.Vacated(r.name)", "_ = r.name", 0},
	{"the occupancy forgets a loop", occupancy, "now.shards |= 1 << shard", "now.shards = 1 << shard", 0},

	// The directory.
	{"rooms are not registered again in a new session", directory, "d.renewed, d.owing, d.check = 0, len(d.all)", "d.renewed, d.owing, d.check = len(d.all), 0", 0},
	{"a room that Redis has lost is not written again", read, "if !there && e.written == d.session && e.writing == resting {", "if false {", 0},
	{"a room is removed although it has members again", directory, "return !e.occupied && (d.leaving || now.Sub(e.vacant) >= d.c.Linger)", "return d.leaving || !e.vacant.IsZero() && now.Sub(e.vacant) >= d.c.Linger", 0},
	{"a change of a room in Redis is not noticed", directory, "\te.sight = min(e.sight, stale)\n\td.read(e)\n}", "}", 0},
	{"a write that failed is not repeated", write, "if d.session != 0 {\n\t\t\t\td.write(e)\n\t\t\t}", "", 0},
	{"dead sessions stay in rooms", read, "case d.c.Others.Dead(s):\n\t\t\td.dead = append(d.dead, burial{e.room, text})", "case d.c.Others.Dead(s):", 0},

	{"a former session of this node stays after it has registered again", read, "if d.Registered() {", "if false {", 1140},

	// Leases.
	{"a former session of a running node never counts as dead", peers, "!leased || s < p.latest[wire.NodeOf(s)]", "!leased", 0},
	{"the rooms of a dead node are never removed", peers, "due = due || now.Sub(at) >= l.c.Lease", "due = false && now.Sub(at) >= l.c.Lease", 0},
	{"a lost connection keeps the session", lease, "l.phase, l.next = none, now.Add(restartDelay)", "l.next = now.Add(restartDelay)", 0},

	// Messages of clients, and counts of members.
	{"a count whose answer was lost is not asked for again", members, "if len(c.others)+len(c.tallies) == 0 {", "if len(c.tallies) == 0 {", 0},
	{"a node that comes to a room is not told the members of others", members, "case c.own > 0 && slices.ContainsFunc(sessions, fresh):", "case c.own < 0 && slices.ContainsFunc(sessions, fresh):", 0},
	{"a lower number of members is not reported", members, "return change > 0 && c.own <= few || change > c.told/share", "return change > 0 && c.own > c.told", 0},
	{"messages are published to the first node only", outbox, "for i, s := range sessions {\n\t\tif seen(sessions[:i], s) {", "for i, s := range sessions {\n\t\tif i > 0 || seen(sessions[:i], s) {", 0},
	{"a room waits for its holders for ever", core, "n.outbox.Known(room)\n\t}\n\tfor _, room := range n.directory.Gone()", "_ = room\n\t}\n\tfor _, room := range n.directory.Gone()", 0},

	// Lasting orders.
	{"orders stored in Redis are not carried out", orders, "o.obey = append(o.obey, *order)", "_ = order", 0},
	{"orders that another node saves late are not read", orders, "if n > max(int64(len(o.known)), o.stored) {", "if false {", 20023160},

	// Dead letters, and orders that were published while no node ran.
	{"the writer of dead letters begins one entry late", sorting, "Position: done.Position + 1}", "Position: done.Position + 2}", 0},
	{"an entry counts as done before its dead letter is written", sorting, "\ts.tasks = append(s.tasks, Task{Kind: PutAside, Letter: l})\n\treturn s.done(l.Entry.Position)", "\ts.done(l.Entry.Position + 1)\n\ts.tasks = append(s.tasks, Task{Kind: PutAside, Letter: l})\n\treturn s.tasks", 0},
	{"a deliverable event is a dead letter", sorting, "err = s.encoder.Address(r)", "err = routes.NoRoute(e.Key)", 0},
	{"the first stored offset of the dead letters is used instead of the newest", turn, "case told:", "case told && first:", 0},
	{"orders of the time when no node ran are not appended again", sorting, "e.Position <= s.began && !again {", "false && !again {", 0},

	// Events that are published twice, and clocks.
	{"events of two services with the same id are one", twice, "\t_, _ = h.Write(id)\n", "\t_, _ = h.Write(id)\n\tif len(id) > 0 {\n\t\treturn h.Sum64()\n\t}\n", 0},
	{"only a repetition of the last event is recognised", intake, "eventlog.NewDuplicates(duplicateWindow)", "eventlog.NewDuplicates(1)", 0},
	{"a vacant room is kept by the wall clock", directory, "now.Sub(e.vacant) >= d.c.Linger)", "now.Round(0).Sub(e.vacant.Round(0)) >= d.c.Linger)", 0},
	{"a reader waits by the wall clock", reader, "if now.Before(r.until) {", "if now.Round(0).Before(r.until.Round(0)) {", 0},

	// Hand-over to a new process.
	{"the new process takes over when the old one gives up", decides, "if t.phase == takerHas { // it died", "if t.phase >= takerWaits { // it died", 0},
	{"the new process does not know how far back it has read", goesOn, "if in.history != nil && p.Position != 0 {", "if in.history != nil && p.Began != 0 {", 0},

	// Presence.
	{"an unconfirmed presence event counts as published", telling, "if !ok { // it is found in Redis when its time is over", "if false {", 0},
	{"unpublished presence events are not looked for", telling, "n.tell.note(room, now, now)", "_ = room", 0},
	{"the users of a dead node stay online", renewing, "if dead := replies[0].Text; dead != \"\" {", "if dead := replies[0].Text; dead != \"\" && false {", 0},
	{"counts are not written again in the next session", renewing, "n.window.Reset()\n\tfor _, r := range n.all {", "n.window.Reset()\n\tfor _, r := range n.all[:0] {", 0},
	{"a count that changes while it is written is not written again", counts, "if r.count != n.writtenOf(r) || replies[i].Err != nil", "if replies[i].Err != nil", 0},
	{"a user who returns within the grace is published as offline", counts, "wire.Decimal(grace.Milliseconds())", "wire.Decimal(0*grace.Milliseconds())", 0},
	{"a node does not notice that Redis may have lost its counts", renewing, "func (n *Core) Lost(now time.Time) { n.fail(now) }", "func (n *Core) Lost(time.Time) {}", 0},
	{"counts are written late or never", counting, "if r.lazy = false; !r.flying {", "if r.lazy = false; false {", 0},
	{"a session is removed before its rooms are", sweeping, "if len(s.found) == 0 {\n", "if true {\n", 0},
	{"the counts of this node's former sessions stay", renewing, "} else if n.sweep.session == \"\" && len(n.former) > 0 && n.registered() {", "} else if false {", 0},
	{"a node writes counts without a session in Redis", counting, "case !n.known: // the others would not know whose the counts are", "case false:", 0},

	// Recovery.
	{"a replay begins after the last event sent instead of the last one received", record, "default:\n\t\treturn position, RecoveryDone", "default:\n\t\treturn max(position, r.Last), RecoveryDone", 0},
	{"fences are not compared", record, "case o.Fence != r.Fence:", "case false:", 0},
	{"a session that was not given away keeps its fence", comeback, "c.record.Fence; c.record.Orphan {", "c.record.Fence; false {", 0},
	{"a join that Redis did not store is acknowledged without a new fence", session, "if !saved {\n\t\t\tn.beside().fence", "if false {\n\t\t\tn.beside().fence", 0},
	{"a recovered session forgets from which position on it is in its rooms", comeback, "n.join(i).set(room.From)", "_, _ = i, n", 0},
	{"events that come during a return are not sent", comeback, "if c.held[i].Position > floor {", "if false {", 0},
	{"events that come during a return are sent although they were replayed", comeback, "if c.held[i].Position > floor {", "if true {", 0},
	{"a node that is behind sends replayed events again", comeback, "s.raise(max(floor, s.floor()))", "_ = floor", 0},
	{"a return does not look for orders", history, "if h.ordered(a) {", "if false {", 0},
	{"an event is replayed for each of its rooms", history, "entries = slices.CompactFunc(entries, func(a, b eventlog.Entry) bool { return a.Position == b.Position })", "", 0},
	{"a position that the log uses itself counts as a gap in a replay", filler, "if e.Position > f.next+f.holes ||", "if e.Position > f.next ||", 0},
	{"the history knows an event by its first room only", tail, "for _, r := range i.more {", "for _, r := range i.more[:0] {", 0},
	{"the history forgets that it dropped events", tail, "t.after = item.entry.Position", "_ = item.entry", 0},
	{"a late count of a node that has left a room stays", core, "n.members.Heard(room, from, count) {", "n.members.Heard(room, from, count) && false {", 20080},
}
