package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	orderLimit = 2 * time.Minute

	// What a gateway may hold more of than at the start. The runtime keeps
	// some of the memory it has freed.
	residentGrowth   = 128 << 20 // bytes
	descriptorGrowth = 16        // beside those of connections
)

// directory is a script for Redis: each room, and the sessions that hold it.
const directory = `local lines = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. 'in:*')) do
  lines[#lines+1] = string.sub(key, #ARGV[1] + 4) .. ' ' .. table.concat(redis.call('SMEMBERS', key), ',')
end
return lines`

// awaitOrder waits until the gateways know each other and the directory is
// right: rooms that are empty linger a while, and dead nodes are swept away.
func (s *scenario) awaitOrder() {
	err := errors.New("not looked at")
	for until := s.now() + orderLimit; err != nil; time.Sleep(orderChecks) {
		if err = s.inOrder(); err != nil && s.now() > until {
			s.fail("%v after the last round: %v", orderLimit, err)
			return
		}
	}
}

func (s *scenario) inOrder() error {
	all, err := s.figures()
	if err != nil {
		return err
	}
	for i, f := range all {
		sockets := len(s.clients) - (s.nodes - s.there())
		if f.there() && (f.nodes() != s.there() || f.allSockets() != sockets) {
			return fmt.Errorf("gateway %d sees %d gateways with %d sockets, there are %d with %d",
				i, f.nodes(), f.allSockets(), s.there(), sockets)
		}
	}
	out, err := s.cluster.redis.CLI("-n", "1", "EVAL", directory, "0", keyPrefix)
	if err != nil {
		return err
	}
	found := make(map[string][]string)
	for line := range strings.Lines(out) {
		room, sessions, _ := strings.Cut(strings.TrimSpace(line), " ")
		found[room] = strings.Split(sessions, ",")
	}
	return s.compare(found)
}

// compare holds the directory against where the clients are. Each is alone in
// the room of its user, which tells whose session is whose.
func (s *scenario) compare(found map[string][]string) error {
	session := make(map[int32]string)
	holders := make(map[string][]string)
	for _, c := range s.clients {
		if c.gone() {
			continue
		}
		node, own := c.at.Load(), found["user:"+c.user]
		if len(own) != 1 || session[node] != "" && session[node] != own[0] {
			return fmt.Errorf("directory: user:%s, on gateway %d, is held by %q; that gateway's session is %q", c.user, node, own, session[node])
		}
		session[node] = own[0]
		delete(found, "user:"+c.user)
		room := "conversation:" + strconv.Itoa(c.room)
		if !slices.Contains(holders[room], own[0]) {
			holders[room] = append(holders[room], own[0])
		}
	}
	for room, want := range holders {
		got := found[room]
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			return fmt.Errorf("directory: %s is held by %q, want %q", room, got, want)
		}
		delete(found, room)
	}
	if len(found) > 0 {
		return fmt.Errorf("directory: %d rooms too many: %.200v", len(found), found)
	}
	return nil
}

// checkHeld compares what the gateways hold with what they held at the start.
func (s *scenario) checkHeld() {
	for i := range s.after {
		before, after := s.before[i], s.after[i]
		if !after.there() {
			continue
		}
		if grown := after.Resident - before.Resident; grown > residentGrowth {
			s.fail("gateway %d holds %d MiB more than at the start, %d are allowed", i, grown>>20, residentGrowth>>20)
		}
		if grown := after.beside() - before.beside(); grown > descriptorGrowth {
			s.fail("gateway %d has %d descriptors more than at the start, beside those of connections; %d are allowed", i, grown, descriptorGrowth)
		}
	}
}
