package core

import "time"

// A Kind is the form of the answer to a Command.
type Kind uint8

// The kinds.
const (
	Eval   Kind = iota // the answer is a list of texts
	Number             // a number
	Range              // entries
	Read               // entries by stream; Redis waits until there are some
)

// A Command is one command for Redis that concerns the stream. The key of the
// stream stands between Before and After.
type Command struct {
	Kind          Kind
	Before, After []string
	Within        time.Duration // limit for the answer, after which the connection counts as lost; 0: no limit
}

// Words returns the command's words.
func (c *Command) Words(key string) []string {
	return append(append(append(make([]string, 0, len(c.Before)+1+len(c.After)), c.Before...), key), c.After...)
}

// A Reply is the answer to a Command, in the form of its Kind.
type Reply struct {
	Err     error // of the connection or of Redis
	Nil     bool  // Redis has nothing
	List    []string
	Number  int64
	Entries []Raw
}

// A Raw is an entry as Redis returns it. Fields and values alternate.
type Raw struct {
	ID     string
	Fields []string
}
