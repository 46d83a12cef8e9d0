package redismodel

// The flags of commands that decide whether a server executes them when it is
// full, a replica or loading. COMMAND INFO has them by these names.
const (
	writes       = 1 << iota // "write"
	readonly                 // "readonly"
	grows                    // "denyoom"
	whileLoading             // "loading"
)

// A command is a row of the command table.
type command struct {
	arity int // number of arguments with the name; negative: the minimum
	flags int
	keys  func(args []string) []string // nil: none
	run   func(s *Server, c *Conn, args []string) (r Reply, answered bool)
}

func key1(args []string) []string      { return args[1:2] }
func keysAll(args []string) []string   { return args[1:] }
func xinfoKeys(args []string) []string { return args[2:] }

// on makes the function of a command that always sends one reply.
func on(f func(s *Server, c *Conn, args []string) Reply) func(*Server, *Conn, []string) (Reply, bool) {
	return func(s *Server, c *Conn, args []string) (Reply, bool) { return f(s, c, args), true }
}

// commands is the command table. init fills it, because EXEC refers to it.
var commands map[string]*command

func init() {
	commands = map[string]*command{
		"PING":   {-1, 0, nil, on(ping)},
		"ECHO":   {2, whileLoading, nil, on(func(_ *Server, _ *Conn, a []string) Reply { return bulk(a[1]) })},
		"HELLO":  {-1, whileLoading, nil, on(hello)},
		"SELECT": {2, whileLoading, nil, on(selectDB)},
		"CLIENT": {-2, whileLoading, nil, on(client)},
		"TIME":   {1, whileLoading, nil, on(clock)},

		"EVAL": {-3, 0, nil, on(eval)},

		"MULTI":   {1, whileLoading, nil, on(multi)},
		"EXEC":    {1, whileLoading, nil, on(exec)},
		"DISCARD": {1, whileLoading, nil, on(discard)},

		"DEL":      {-2, writes, keysAll, on(del)},
		"UNLINK":   {-2, writes, keysAll, on(del)},
		"EXISTS":   {-2, readonly, keysAll, on(exists)},
		"TYPE":     {2, readonly, key1, on(typeOf)},
		"EXPIRE":   {-3, writes, key1, on(expire)},
		"PEXPIRE":  {-3, writes, key1, on(expire)},
		"PERSIST":  {2, writes, key1, on(persist)},
		"TTL":      {2, readonly, key1, on(ttl)},
		"PTTL":     {2, readonly, key1, on(ttl)},
		"SCAN":     {-2, readonly, nil, on(scan)},
		"DBSIZE":   {1, readonly, nil, on(dbSize)},
		"FLUSHALL": {-1, writes, nil, on(flush)},
		"FLUSHDB":  {-1, writes, nil, on(flush)},

		"GET":      {2, readonly, key1, on(get)},
		"GETRANGE": {4, readonly, key1, on(getRange)},
		"SET":      {-3, writes | grows, key1, on(set)},
		"GETDEL":   {2, writes, key1, on(getDel)},
		"MGET":     {-2, readonly, keysAll, on(mget)},
		"INCR":     {2, writes | grows, key1, on(incr)},
		"INCRBY":   {3, writes | grows, key1, on(incr)},

		"HSET":    {-4, writes | grows, key1, on(hset)},
		"HGET":    {3, readonly, key1, on(hget)},
		"HMGET":   {-3, readonly, key1, on(hmget)},
		"HGETALL": {2, readonly, key1, on(hgetAll)},
		"HDEL":    {-3, writes, key1, on(hdel)},
		"HLEN":    {2, readonly, key1, on(hlen)},
		"HEXISTS": {3, readonly, key1, on(hexists)},
		"HINCRBY": {4, writes | grows, key1, on(hincrby)},

		"SADD":      {-3, writes | grows, key1, on(sadd)},
		"SREM":      {-3, writes, key1, on(srem)},
		"SMEMBERS":  {2, readonly, key1, on(smembers)},
		"SISMEMBER": {3, readonly, key1, on(sismember)},
		"SCARD":     {2, readonly, key1, on(scard)},

		"SRANDMEMBER": {-2, readonly, key1, on(srandMember)},

		"ZADD":             {-4, writes | grows, key1, on(zadd)},
		"ZREM":             {-3, writes, key1, on(zrem)},
		"ZSCORE":           {3, readonly, key1, on(zscore)},
		"ZCARD":            {2, readonly, key1, on(zcard)},
		"ZRANGE":           {-4, readonly, key1, on(zrange)},
		"ZRANGEBYSCORE":    {-4, readonly, key1, on(zrange)},
		"ZCOUNT":           {4, readonly, key1, on(zcount)},
		"ZREMRANGEBYSCORE": {4, writes, key1, on(zremByScore)},
		"ZREMRANGEBYRANK":  {4, writes, key1, on(zremByRank)},
		"ZSCAN":            {-3, readonly, key1, on(zscan)},

		"XADD":      {-5, writes | grows, key1, on(xadd)},
		"XLEN":      {2, readonly, key1, on(xlen)},
		"XRANGE":    {-4, readonly, key1, on(xrange)},
		"XREVRANGE": {-4, readonly, key1, on(xrange)},
		"XTRIM":     {-4, writes, key1, on(xtrim)},
		"XDEL":      {-3, writes, key1, on(xdel)},
		"XREAD":     {-4, readonly, xreadKeys, xread},
		"XINFO":     {-2, readonly, xinfoKeys, on(xinfo)},
		"MEMORY":    {-2, readonly, xinfoKeys, on(memory)},

		"PUBLISH":      {3, whileLoading, nil, on(publish)},
		"SPUBLISH":     {3, whileLoading, nil, on(publish)},
		"SUBSCRIBE":    {-2, whileLoading, nil, subscribe},
		"SSUBSCRIBE":   {-2, whileLoading, nil, subscribe},
		"UNSUBSCRIBE":  {-1, whileLoading, nil, unsubscribe},
		"SUNSUBSCRIBE": {-1, whileLoading, nil, unsubscribe},
		"PUBSUB":       {-2, whileLoading, nil, on(pubsub)},
	}
}
