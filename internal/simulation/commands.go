package simulation

import (
	"strconv"

	"github.com/hometrip/gateway/internal/simulation/redismodel"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

func failed(b wire.Batch, err error) []wire.Reply {
	list := make([]wire.Reply, len(b.Commands))
	for i := range list {
		list[i].Err = err
	}
	return list
}

func (s *redisServer) words(c wire.Command) []string {
	list := append(s.texts.take(3 + len(c.Keys) + len(c.Args))[:0], c.Name)
	if c.Script != "" {
		list = append(list, c.Script, strconv.Itoa(len(c.Keys)))
	}
	return append(append(list, c.Keys...), c.Args...)
}

// chunks cuts short lists out of long arrays, which saves allocations.
type chunks[T any] struct{ left []T }

const chunk = 512 // elements

func (c *chunks[T]) take(n int) (list []T) {
	if len(c.left) < n {
		c.left = make([]T, max(n, chunk))
	}
	list, c.left = c.left[:n:n], c.left[n:]
	return list
}

// plain sends a batch of commands. answer must not keep the replies.
func (l *redisLink) plain(b wire.Batch, answer func([]wire.Reply)) {
	commands := l.s.lists.take(len(b.Commands))
	for i, c := range b.Commands {
		commands[i] = l.s.words(c)
	}
	l.send(commands, len(commands), func(replies []redismodel.Reply, err error) {
		if err != nil {
			answer(failed(b, err))
			return
		}
		list := l.s.answers[:0]
		for i, r := range replies {
			list = append(list, l.s.replyOf(b.Commands[i].Name, r))
		}
		answer(list)
		clear(list)
		l.s.answers = list[:0]
	})
}

// read reads sets as rueidis does with client-side caching: a set in the cache is
// not asked for, the others are read with CLIENT CACHING YES.
func (d *clusterDriver) read(b wire.Batch, answer func([]wire.Reply)) {
	const each = 5 // commands for one key
	list := make([]wire.Reply, len(b.Commands))
	var commands [][]string
	var missing []int
	cache := d.cache
	entries := make([]*cached, len(b.Commands))
	for i, c := range b.Commands {
		key := c.Keys[0]
		if e := cache[key]; e != nil && e.have {
			list[i].List = e.list
			continue
		}
		entries[i] = &cached{}
		cache[key] = entries[i]
		missing = append(missing, i)
		commands = append(commands, []string{"CLIENT", "CACHING", "YES"}, []string{"MULTI"},
			[]string{"PTTL", key}, []string{"SMEMBERS", key}, []string{"EXEC"})
	}
	if len(missing) == 0 {
		d.m.after(0, func() { answer(list) })
		return
	}
	d.directory.send(commands, len(commands), func(replies []redismodel.Reply, err error) {
		for n, i := range missing {
			if err != nil {
				list[i].Err = err
				continue
			}
			r := replies[n*each+4]
			if r.Kind != redismodel.Array {
				list[i].Err = r.Err()
				if cache[b.Commands[i].Keys[0]] == entries[i] {
					delete(cache, b.Commands[i].Keys[0])
				}
				continue
			}
			list[i] = d.m.r.redis.replyOf("SMEMBERS", r.Elems[1])
			if e := entries[i]; cache[b.Commands[i].Keys[0]] == e && list[i].Err == nil {
				e.list, e.have = list[i].List, true
			}
		}
		answer(list)
	})
}

// replyOf converts a reply of the model, as the real driver does with one of
// rueidis.
func (s *redisServer) replyOf(command string, r redismodel.Reply) wire.Reply {
	switch r.Kind {
	case redismodel.Fault:
		return wire.Reply{Err: r.Err()}
	case redismodel.Null:
		return wire.Reply{Nil: true}
	case redismodel.Int:
		return wire.Reply{Int: r.Int}
	case redismodel.Simple, redismodel.Bulk, redismodel.Double:
		return wire.Reply{Text: r.Text}
	}
	if command == "SCAN" || command == "ZSCAN" {
		return wire.Reply{List: r.Elems[1].Strings(), Next: r.Elems[0].Text}
	}
	list := s.texts.take(len(r.Elems))[:0]
	for _, e := range r.Elems { // members with scores are nested
		if e.Kind == redismodel.Array {
			list = append(list, e.Strings()...)
		} else {
			list = append(list, e.Text)
		}
	}
	return wire.Reply{List: list}
}
