package core

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/hometrip/gateway/upstream/eventlog"
)

// Script is the Lua script that appends an entry with the fields in ARGV and
// returns the end of the log. Without fields it only returns the end. It creates
// the stream if there is none. If the only argument is the number of a log, that
// log has lost entries. If it is still the present log, the script gives it
// another number: later entries are added to the same stream under the new
// number, and the first of them holds the former number.
const Script = `local key, log, n, made = KEYS[1], nil, '0', false
local t = redis.call('TIME')
local now = t[1] .. string.format('%03d', math.floor(t[2] / 1000))
if redis.call('EXISTS', key) == 1 then
  local info = redis.call('XINFO', 'STREAM', key)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then log, n = string.match(info[i + 1], '^(%d+)-(%d+)$') end
  end
else
  log, made = now, true
end
local fields = #ARGV > 1 and ARGV or {}
if #ARGV == 1 and log == ARGV[1] then
  log, n, made, fields = string.format('%.0f', math.max(now, log + 1)), '0', true, {'former', log}
end
if made or #ARGV > 1 then
  n = string.format('%.0f', n + 1)
  redis.call('XADD', key, log .. '-' .. n, 'at', now, unpack(fields))
end
if #ARGV > 1 then return {log, n, now, ''} end
local first = redis.call('XRANGE', key, log .. '-1', log .. '-1')[1]
return {log, n, now, first and first[2][3] == 'former' and first[2][4] or ''}`

func script(fields []string) Command {
	return Command{Kind: Eval, Before: []string{"EVAL", Script, "1"}, After: fields}
}

// AppendsAtOnce is the largest number of entries that are appended in one round
// trip.
const AppendsAtOnce = 256

// Append returns the command that appends an entry. Appended reads its answer.
func Append(e *eventlog.Entry) Command { return script(fieldsOf(e)) }

// Appended returns the position of an entry that was appended. After an error
// the connection must be closed: Redis may have become a replica, or have moved.
func Appended(r *Reply) (eventlog.Position, error) {
	end, err := endOf(r)
	return end.position, err
}

// An end is the result of the script: the log's number, the position of its
// newest entry, the time of Redis in Unix ms, and the number that the log had
// before it lost entries.
type end struct {
	log      string
	position eventlog.Position
	now      int64
	former   string
}

// endOf parses an answer of the script.
func endOf(r *Reply) (end, error) {
	if r.Err != nil {
		return end{}, r.Err
	}
	if len(r.List) != 4 {
		return end{}, fmt.Errorf("want four values, got %q", r.List)
	}
	position, err := strconv.ParseUint(r.List[1], 10, 64)
	if err != nil {
		return end{}, fmt.Errorf("position: %w", err)
	}
	now, err := strconv.ParseInt(r.List[2], 10, 64)
	return end{r.List[0], eventlog.Position(position), now, r.List[3]}, err
}

// Identity returns the log's identity, the shorter form of its number.
func Identity(log string) string {
	n, err := strconv.ParseUint(log, 10, 64)
	if err != nil {
		return log
	}
	return strconv.FormatUint(n, 36)
}

// numberOf parses what Identity returns.
func numberOf(identity string) string {
	n, err := strconv.ParseUint(identity, 36, 64)
	if err != nil {
		return identity
	}
	return strconv.FormatUint(n, 10)
}

// id returns the id of an entry in Redis.
func id(log string, p eventlog.Position) string { return log + "-" + strconv.FormatUint(uint64(p), 10) }

// parseID parses what id returns.
func parseID(text string) (log string, p eventlog.Position, err error) {
	log, number, _ := strings.Cut(text, "-")
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return "", 0, fmt.Errorf("the id %q is none of an entry: %w", text, err)
	}
	return log, eventlog.Position(n), nil
}
