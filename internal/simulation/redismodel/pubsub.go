package redismodel

import (
	"slices"
	"strings"
)

func publish(s *Server, _ *Conn, args []string) Reply {
	receivers, kind := s.channels[args[1]], "message"
	if strings.EqualFold(args[0], "SPUBLISH") {
		receivers, kind = s.shard[args[1]], "smessage"
	}
	if len(receivers) > 0 {
		m := s.push(bulk(kind), bulk(args[1]), bulk(args[2]))
		for _, c := range receivers {
			c.Out = append(c.Out, m)
		}
	}
	return count(receivers)
}

// push makes a push of three elements. Many pushes share one allocation.
func (s *Server) push(a, b, c Reply) Reply {
	const n, many = 3, 300
	if len(s.elems) < n {
		s.elems = make([]Reply, many)
	}
	list := s.elems[:n:n]
	s.elems = s.elems[n:]
	list[0], list[1], list[2] = a, b, c
	return Reply{Kind: Push, Elems: list}
}

// channelsOf returns the subscription tables of the server and of the connection
// for a command: those for sharded channels or the others.
func (s *Server) channelsOf(c *Conn, command string) (all map[string][]*Conn, own *[]string) {
	if strings.HasPrefix(command, "s") && command != "subscribe" {
		return s.shard, &c.shard
	}
	return s.channels, &c.channels
}

func subscribe(s *Server, c *Conn, args []string) (Reply, bool) {
	command := strings.ToLower(args[0])
	all, own := s.channelsOf(c, command)
	for _, channel := range args[1:] {
		if !slices.Contains(*own, channel) {
			*own = append(*own, channel)
			all[channel] = append(all[channel], c)
		}
		c.Out = append(c.Out, push(bulk(command), bulk(channel), count(*own)))
	}
	return Reply{}, false
}

func unsubscribe(s *Server, c *Conn, args []string) (Reply, bool) {
	command := strings.ToLower(args[0])
	all, own := s.channelsOf(c, command)
	list := args[1:]
	if len(list) == 0 {
		if len(*own) != 1 {
			refuse(args) // Redis promises no order of the replies
		}
		list = slices.Clone(*own)
	}
	for _, channel := range list {
		if i := slices.Index(*own, channel); i >= 0 {
			*own = slices.Delete(*own, i, i+1)
			drop(all, channel, c)
		}
		c.Out = append(c.Out, push(bulk(command), bulk(channel), count(*own)))
	}
	return Reply{}, false
}

func pubsub(s *Server, _ *Conn, args []string) Reply {
	var all map[string][]*Conn
	switch strings.ToUpper(args[1]) {
	case "NUMSUB":
		all = s.channels
	case "SHARDNUMSUB":
		all = s.shard
	default:
		refuse(args)
	}
	list := array()
	for _, channel := range args[2:] {
		list.Elems = append(list.Elems, bulk(channel), count(all[channel]))
	}
	return list
}
