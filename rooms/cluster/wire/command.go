package wire

import "strings"

// A Command is one command for Redis.
type Command struct {
	Name string
	Keys []string // behind the name: keys, or a channel
	Args []string // behind the keys

	Script string // of EVAL: what is executed, in front of the number of keys
}

// String returns the command as text, for traces.
func (c Command) String() string {
	return strings.Join(append(append([]string{c.Name}, c.Keys...), c.Args...), " ")
}

// A Kind says how a batch is executed.
type Kind uint8

const (
	// Plain: the commands, in order, on the directory's connection.
	Plain Kind = iota

	// Tracked: SMEMBERS commands on the directory's connection, with
	// client-side caching: after the execution of each, the next change of its
	// key arrives as an invalidation on the same connection.
	Tracked

	// Scan: one SCAN of the master server number Shard. The reply is Nil if
	// there are not so many servers.
	Scan

	// Publish: PUBLISH commands, in order, on the connection of renewals; in a
	// Redis Cluster on the directory's.
	Publish

	// Renewal: the commands, in order, on a connection where they wait for
	// nothing but a Publish.
	Renewal
)

// A Batch is a list of commands that are sent together. It is answered once, by
// one reply for each command. Batches that are under way at the same time are
// executed in any order; a command that has to follow another waits for its
// reply. A batch that fails may have been executed, in part or completely.
type Batch struct {
	ID       uint64 // names the batch in its reply
	Kind     Kind
	Shard    int // of Scan
	Commands []Command
}

// A Reply is Redis' reply to one command. The zero value is an empty text.
type Reply struct {
	Err  error // the other fields mean nothing then
	Nil  bool
	Int  int64
	Text string   // of a status or a text
	List []string // of an array or a set; of a scan without the cursor; a nil in it is ""
	Next string   // a scan's cursor
}

// FirstError returns the first error of the replies to a batch.
func FirstError(replies []Reply) error {
	for i := range replies {
		if replies[i].Err != nil {
			return replies[i].Err
		}
	}
	return nil
}
