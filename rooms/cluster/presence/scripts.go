package presence

// A Script is a script that Redis executes in one step.
type Script uint8

// The scripts. none stands for a plain command.
const (
	none Script = iota
	renew
	write
	claim
	confirm
	overdue
	state
	scripts
)

// String returns the name of a script, for logs, traces and models of Redis.
func (s Script) String() string {
	return [scripts]string{"", "renew", "write", "claim", "confirm", "overdue", "state"}[s]
}

// Source returns the Lua text of a script.
func (s Script) Source() string { return sources[s] }

// Scripts returns all scripts.
func Scripts() (list []Script) {
	for s := none + 1; s < scripts; s++ {
		list = append(list, s)
	}
	return list
}

// common is the beginning of all scripts. In it, now is the time of Redis in
// Unix ms, and rest removes a room without sockets whose state was published.
const common = `
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local function rest(h, keep)
  if redis.call('HGET', h, 'd') == '1' then
    redis.call('PERSIST', h)
  elseif tonumber(keep) > 0 and redis.call('HEXISTS', h, 'seen') == 1 then
    redis.call('PEXPIRE', h, keep)
  else
    redis.call('DEL', h)
  end
end
local function told(h) return redis.call('HGET', h, 'told') or '0' end
`

var sources = [scripts]string{
	// KEYS sessions, lock; ARGV own session, lease, known, sweep, former
	// sessions… Returns "gone" if the session was removed, otherwise a session
	// to be removed, or "".
	// A former session may be missing from the list and have counts: Redis has
	// lost the list, or has executed late commands.
	renew: common + `
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if (ARGV[3] == '1' and not score) or (score and tonumber(score) < 0) then return 'gone' end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
for i = 5, #ARGV do
  score = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if not score or tonumber(score) >= 0 then redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[i]) end
end
if ARGV[4] ~= '1' then return '' end
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[1] then return '' end
local dead = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1)
if #dead == 0 then return '' end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
redis.call('ZADD', KEYS[1], -1, dead[1])
return dead[1]
`,

	// KEYS room, untold, has, gone, has of former sessions…; ARGV room,
	// session, count, grace, keep, force, former sessions… Returns in how many
	// ms an event of the room is to be published, -1 if the session was
	// removed, -2 if there is none.
	write: common + `
local h = KEYS[1]
if ARGV[6] == '0' and redis.call('EXISTS', KEYS[4]) == 1 then return -1 end
local count, old = tonumber(ARGV[3]), 0
local function take(session, has)
  old = old + (redis.call('HGET', h, 'c:' .. session) or 0)
  redis.call('HDEL', h, 'c:' .. session)
  redis.call('SREM', has, ARGV[1])
end
for i = 7, #ARGV do take(ARGV[i], KEYS[i - 2]) end
take(ARGV[2], KEYS[3])
if count > 0 then
  redis.call('HSET', h, 'c:' .. ARGV[2], count)
  redis.call('SADD', KEYS[3], ARGV[1])
end
local n = redis.call('HINCRBY', h, 'n', count - old)
local d, wait = redis.call('HGET', h, 'd'), 0
if n > 0 and d ~= '1' then
  d = '1'
  redis.call('HSET', h, 'd', d, 'since', now)
  redis.call('PERSIST', h)
elseif n <= 0 and d == '1' then
  d, wait = '0', tonumber(ARGV[4])
  redis.call('HSET', h, 'd', d, 'seen', now)
elseif n <= 0 and not d then
  redis.call('DEL', h)
  return -2
else
  return -2
end
if redis.call('HEXISTS', h, 'telling') == 1 then return -2 end
if told(h) == d then
  redis.call('ZREM', KEYS[2], ARGV[1])
  rest(h, ARGV[5])
  return -2
end
redis.call('ZADD', KEYS[2], now + wait, ARGV[1])
return wait
`,

	// KEYS room, untold; ARGV room, id, time for which no other node claims it,
	// keep. Returns the event to be published, or the ms after which to ask
	// again, or "" if there is none.
	claim: common + `
local h = KEYS[1]
local due = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not due then return '' end
if tonumber(due) > now then return tostring(math.floor(due - now)) end
local telling = redis.call('HGET', h, 'telling')
if not telling then
  local d = redis.call('HGET', h, 'd') or '0'
  if d == told(h) then
    redis.call('ZREM', KEYS[2], ARGV[1])
    rest(h, ARGV[4])
    return ''
  end
  local at = redis.call('HGET', h, d == '1' and 'since' or 'seen')
  telling = d .. ' ' .. ARGV[2] .. ' ' .. redis.call('HGET', h, 'n') .. ' ' .. at
  redis.call('HSET', h, 'telling', telling)
end
redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[1])
return telling
`,

	// KEYS room, untold; ARGV room, state that was published, grace, keep.
	// Returns in how many ms the next event is to be published, -2 for never.
	confirm: common + `
local h = KEYS[1]
if redis.call('HGET', h, 'telling') ~= ARGV[2] then return -2 end
redis.call('HDEL', h, 'telling')
redis.call('HSET', h, 'told', string.sub(ARGV[2], 1, 1))
local d = redis.call('HGET', h, 'd')
if d == told(h) then
  redis.call('ZREM', KEYS[2], ARGV[1])
  rest(h, ARGV[4])
  return -2
end
local wait = 0
if d == '0' then wait = math.max(0, redis.call('HGET', h, 'seen') + ARGV[3] - now) end
redis.call('ZADD', KEYS[2], now + wait, ARGV[1])
return wait
`,

	// KEYS untold; ARGV ms overdue, limit. Returns the rooms.
	overdue: common + `
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[1], 'LIMIT', 0, ARGV[2])
`,

	// KEYS room. Returns sockets, nodes, since when, and when a socket was last
	// there, Unix ms.
	state: `
local all = redis.call('HGETALL', KEYS[1])
local n, nodes, since, seen = '0', 0, '', ''
for i = 1, #all, 2 do
  if string.sub(all[i], 1, 2) == 'c:' then nodes = nodes + 1
  elseif all[i] == 'n' then n = all[i + 1]
  elseif all[i] == 'since' then since = all[i + 1]
  elseif all[i] == 'seen' then seen = all[i + 1] end
end
return {n, tostring(nodes), since, seen}
`,
}
