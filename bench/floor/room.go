package main

// room is the members of one room, in no order. Owned by the one thread.
type room struct {
	name    string
	members []member
}

// member names its place in the list of the connection's own seats, so that
// taking it out of the room needs no search.
type member struct {
	c    *conn
	seat int
}

// seat is one room a connection is in, and where in it.
type seat struct {
	room *room
	at   int
}

// join reports false if c is in the room already.
func (s *server) join(c *conn, name string) (*room, bool) {
	for _, st := range c.seats {
		if st.room.name == name {
			return st.room, false
		}
	}
	r := s.rooms[name]
	if r == nil {
		r = &room{name: name}
		s.rooms[name] = r
	}
	c.seats = append(c.seats, seat{r, len(r.members)})
	r.members = append(r.members, member{c, len(c.seats) - 1})
	return r, true
}

// leave takes c out of the room of its seat i.
func (s *server) leave(c *conn, i int) {
	st := c.seats[i]
	last := len(st.room.members) - 1
	moved := st.room.members[last]
	st.room.members[st.at] = moved
	moved.c.seats[moved.seat].at = st.at
	st.room.members = st.room.members[:last]
	if last == 0 {
		delete(s.rooms, st.room.name)
	}
	tail := len(c.seats) - 1
	if i != tail {
		c.seats[i] = c.seats[tail]
		c.seats[i].room.members[c.seats[i].at].seat = i
	}
	c.seats = c.seats[:tail]
}

func (s *server) leaveAll(c *conn) {
	for len(c.seats) > 0 {
		s.leave(c, len(c.seats)-1)
	}
}

// broadcast sends frame to the members of r but except, and returns nothing:
// a member whose socket fails dies at the end of the turn.
func (s *server) broadcast(r *room, except *conn, frame []byte) {
	for i := range r.members {
		if c := r.members[i].c; c != except && !c.dead {
			s.send(c, frame)
		}
	}
}
