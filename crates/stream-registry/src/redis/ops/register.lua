#!lua
-- @use rights
-- @use preflight
-- @use feed
-- @use due
-- @use marks
-- Creates a record with its index entry, or replaces the one that the client has seen and judged.
--
-- KEYS[1]  the index set
-- KEYS[2]  the record
-- KEYS[3]  the answer to this registration, for when it is sent again
-- KEYS[4]  the end mark of the stream
-- KEYS[5]  the feed
-- KEYS[6]  its facts
-- KEYS[7]  the order of deadlines
-- KEYS[8]  the copy of the record
-- ARGV[1]  the id
-- ARGV[2]  '=' and the text that has to be there, '' for none
-- ARGV[3]  the new text
-- ARGV[4]  time to live in ms
-- ARGV[5]  'renew' or 'longer'
-- ARGV[6]  the answer to remember: the outcome, a line feed, the new text
-- ARGV[7]  for how long, in ms
-- ARGV[8]  the end mark of what is taken over, '' for none
-- ARGV[9]  its time to live in ms, at least
-- ARGV[10] what the client knows of the end mark: the epoch in it, '' for no mark; '*' where that does not matter
-- ARGV[11] what happened, for the feed; '' where that is no event
-- ARGV[12] when the sweep looks at it first, in ms
-- ARGV[13] 'new', or what its record says, "epoch":"…", where it is a stream that comes back
-- Output   {'done'}; {'again', the remembered answer}; {'there', the text that is there, its time left in ms};
--          {'gone'} if nothing is there; {'ended', the epoch in the end mark or ''} if the client knows another
--          one; {'kind', type} if the key holds no string
-- Events   registered, updated, taken_over; expired before it, where the stream that had the id is gone and nobody told
local index, record, operation, mark, feed, facts, due, copy = unpack(KEYS)
local id, expected, new, ttl, policy, answer, answer_ttl, ended, ended_ttl, known, what, look, whose = unpack(ARGV)

local first = redis.call('GET', operation)
if first then return { 'again', first } end
local kind = redis.call('TYPE', record).ok
if kind ~= 'none' and kind ~= 'string' then return { 'kind', kind } end
if kind == 'none' and expected ~= '' then return { 'gone' } end
if kind == 'string' then
  local text = redis.call('GET', record)
  if '=' .. text ~= expected then return { 'there', text, redis.call('PTTL', record) } end
end
local marked = (known ~= '*' or ended ~= '') and redis.call('GET', mark)
if known ~= '*' then
  local epoch = marked and marked:match('^[^\n]*\n([^\n]*)\n') or ''
  if epoch ~= known then return { 'ended', epoch } end
end
local life = lifetime(record, ttl, policy)
-- What lived for ever was another stream.
if ended ~= '' and redis.call('PTTL', record) == -1 then life = { 'PX', ttl } end
if ended ~= '' then ended_ttl = outliving(ended_ttl, record, mark) end
-- Of a stream that comes back nothing has ended, unless another one had the id meanwhile.
local function is_other()
  local kept = redis.pcall('GET', copy)
  local source = new:match('"source_addr":"[^"]*"')
  return type(kept) == 'string' and not kept:find(whose, 1, true) and not (source and kept:find(source, 1, true))
end
local events = {}
if kind == 'none' and type(redis.pcall('ZSCORE', due, id)) == 'string' and (whose == 'new' or is_other()) then
  events[1] = expiry(id, copy)
end
if what ~= '' then events[#events + 1] = { 'w', what, 'i', id, 'r', new } end
local fault = bad_index(index) or forbidden({
  { 'SADD', index, id },
  { 'SET', operation, answer, 'PX', answer_ttl },
  { 'SET', mark, ended, 'PX', ended_ttl },
  { 'SET', record, new, 'PX', ttl },
  { 'ZADD', due, look, id },
  { 'DEL', copy },
  appending(feed, facts),
})
if fault then return fault end
if #events > 0 then append(feed, facts, events) end
redis.call('SADD', index, id)
look_at(due, look, id)
-- It is of the record before.
redis.call('DEL', copy)
redis.call('SET', operation, answer, 'PX', answer_ttl)
if ended ~= '' then redis.call('SET', mark, surpassing(ended, marked), 'PX', ended_ttl) end
redis.call('SET', record, new, unpack(life))
return { 'done' }
