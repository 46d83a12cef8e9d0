package redismodel

import (
	"fmt"
	"strconv"
	"strings"
)

// AppendEvent does what the script core.Script of package
// upstream/redislog/core does, with which nodes append to the event log.
func AppendEvent(call func(args ...string) Reply, keys, argv []string) Reply {
	key, log, n, made := keys[0], "", uint64(0), false
	t := call("TIME").Strings()
	micros, _ := strconv.Atoi(t[1])
	now := t[0] + fmt.Sprintf("%03d", micros/1000)
	if call("EXISTS", key).Int == 1 {
		info := call("XINFO", "STREAM", key)
		for i := 0; i < len(info.Elems); i += 2 {
			if info.Elems[i].Text == "last-generated-id" {
				ms, seq, _ := strings.Cut(info.Elems[i+1].Text, "-")
				log = ms
				n, _ = strconv.ParseUint(seq, 10, 64)
			}
		}
	} else {
		log, made = now, true
	}
	var fields []string
	if len(argv) > 1 {
		fields = argv
	}
	if len(argv) == 1 && log == argv[0] {
		number, _ := strconv.ParseUint(log, 10, 64)
		millis, _ := strconv.ParseUint(now, 10, 64)
		fields = []string{"former", log}
		log, n, made = strconv.FormatUint(max(millis, number+1), 10), 0, true
	}
	if made || len(argv) > 1 {
		n++
		call(append([]string{"XADD", key, log + "-" + strconv.FormatUint(n, 10), "at", now}, fields...)...)
	}
	former := ""
	if len(argv) < 2 {
		first := call("XRANGE", key, log+"-1", log+"-1").Elems
		if len(first) > 0 {
			if f := first[0].Elems[1].Strings(); len(f) > 3 && f[2] == "former" {
				former = f[3]
			}
		}
	}
	return array(bulk(log), bulk(strconv.FormatUint(n, 10)), bulk(now), bulk(former))
}

// Estimated memory of an entry and of a stream, in bytes.
const (
	entryBytes  = 12
	streamBytes = 640
)

// memory implements MEMORY USAGE for streams, with an estimate. The last node
// counts with its full size, as Redis allocates it.
func memory(s *Server, _ *Conn, args []string) Reply {
	if len(args) != 5 || !strings.EqualFold(args[1], "USAGE") || !strings.EqualFold(args[3], "SAMPLES") {
		refuse(args)
	}
	v := s.keys[args[2]]
	switch {
	case v == nil:
		return null
	case v.stream == nil:
		refuse(args)
	}
	total, node := streamBytes, 0
	for _, e := range v.stream.entries {
		if e.opens {
			total += node
			node = 0
		}
		node += entrySize(e.fields)
	}
	return number(int64(total + max(node, streamNodeBytes)))
}

// entrySize estimates the bytes of an entry in a node whose entries have the
// same field names.
func entrySize(fields []string) int {
	size := entryBytes
	for i := 1; i < len(fields); i += 2 {
		n := len(fields[i]) + 2
		if _, err := strconv.ParseInt(fields[i], 10, 64); err == nil {
			n = min(n, 10)
		}
		size += n
	}
	return size
}
