package redismodel

import (
	"strconv"
	"strings"
)

// A Script is a Go function that does what the Lua text of an EVAL does. The
// model does not run Lua: a user of a script registers the function with
// Server.Script, and the comparison with a real server checks that the two
// agree. call executes a command as redis.call does: a command that fails ends
// the script.
type Script func(call func(args ...string) Reply, keys, argv []string) Reply

// Script registers the function for the text of a script. Restart keeps it.
func (s *Server) Script(text string, do Script) {
	if s.scripts == nil {
		s.scripts = make(map[string]Script)
	}
	s.scripts[text] = do
}

// scriptFailed is the panic value with which a failed command ends its script.
type scriptFailed struct{ with Reply }

func eval(s *Server, c *Conn, args []string) (r Reply) {
	do := s.scripts[args[1]]
	n, err := strconv.Atoi(args[2])
	if do == nil || err != nil || n > len(args)-3 {
		refuse(args)
	}
	defer func() {
		if p := recover(); p != nil {
			failed, is := p.(scriptFailed)
			if !is {
				panic(p)
			}
			r = failed.with
		}
	}()
	written, keys := false, args[3:3+n]
	call := func(args ...string) Reply {
		name := strings.ToUpper(args[0])
		d := commands[name]
		if d == nil {
			refuse(args)
		}
		if why := s.deniedInScript(d, written); why != "" {
			panic(scriptFailed{fault(why)})
		}
		written = written || d.flags&writes != 0
		if d.flags&readonly != 0 {
			s.track(c, keys) // all keys of the script, as Redis tracks them
		}
		r, _ := d.run(s, c, args)
		if r.Kind == Fault {
			panic(scriptFailed{r})
		}
		return r
	}
	return do(call, keys, args[3+n:])
}

// deniedInScript returns the error for a command in a script that the server's
// state forbids. A script that has already written may go on when memory is full.
func (s *Server) deniedInScript(d *command, written bool) string {
	switch {
	case s.ReadOnly && d.flags&writes != 0:
		return "READONLY You can't write against a read only replica."
	case s.Full && d.flags&grows != 0 && !written:
		return "OOM command not allowed when used memory > 'maxmemory'."
	}
	return ""
}

func getRange(s *Server, _ *Conn, args []string) Reply {
	from, err := strconv.Atoi(args[2])
	to, err2 := strconv.Atoi(args[3])
	if err != nil || err2 != nil {
		return notInt
	}
	v, bad := s.lookup(args[1], "string", false)
	switch {
	case bad != nil:
		return *bad
	case v == nil:
		return bulk("")
	}
	n := len(*v.str)
	if from < 0 || to < 0 {
		refuse(args)
	}
	if to = min(to+1, n); from >= to {
		return bulk("")
	}
	return bulk((*v.str)[from:to])
}

// WriteRecord does what the script sessions.Write does, with which nodes write
// the records of sessions.
func WriteRecord(call func(args ...string) Reply, keys, argv []string) Reply {
	const version = 4
	old := call("GETRANGE", keys[0], "0", "9").Text
	moves, _ := strconv.ParseUint(argv[0], 10, 32)
	mark, _ := strconv.ParseUint(argv[1], 10, 32)
	word := func(b string) (n uint64) {
		for _, c := range []byte(b) {
			n = n<<8 | uint64(c)
		}
		return n
	}
	if len(old) == 10 && old[0] == version && word(old[2:6]) > moves && word(old[6:]) != mark {
		return number(0)
	}
	if argv[2] == "" {
		call("DEL", keys[0])
	} else {
		call("SET", keys[0], argv[2], "PX", argv[3])
	}
	return number(1)
}
