#!lua
-- @use permissions
-- @use preflight
-- @use feed
-- @use due
-- @use tombstones
-- Creates a record and its index entry, or replaces the record that the client has examined.
--
-- KEYS[1]  the index set
-- KEYS[2]  the record
-- KEYS[3]  the stored answer to this registration, in case it is sent again
-- KEYS[4]  the tombstone of the stream
-- KEYS[5]  the feed
-- KEYS[6]  the feed metadata
-- KEYS[7]  the schedule of the sweep
-- KEYS[8]  the copy of the record
-- ARGV[1]  the id
-- ARGV[2]  '=' and the expected existing record, '' if none
-- ARGV[3]  the new record
-- ARGV[4]  time to live in ms
-- ARGV[5]  'renew' or 'longer'
-- ARGV[6]  the answer to store: the outcome, a line feed, the new record
-- ARGV[7]  how long to keep the answer in ms
-- ARGV[8]  the tombstone of the record that is taken over, '' if none
-- ARGV[9]  minimum time to live of that tombstone in ms
-- ARGV[10] the epoch in the tombstone that the client knows, '' if none; '*' if it does not matter
-- ARGV[11] kind of the event, '' if none
-- ARGV[12] when the sweep checks the stream first, in ms
-- ARGV[13] 'new'; for a recovered stream its epoch field, "epoch":"…"
-- Output   {'done'}; {'again', the stored answer}; {'there', the existing record, its remaining time in ms};
--          {'gone'} if the expected record is missing; {'ended', the epoch in the tombstone or ''} if it is not ARGV[10];
--          {'kind', type} if the key does not hold a string
-- Events   registered, updated, taken_over; before it expired, if the previous stream's expiry was not reported yet
local index, record, operation, tombstone, feed, metadata, due, copy = unpack(KEYS)
local id, expected, new, ttl, policy, answer, answer_ttl, ended, ended_ttl, known, event, check_at, origin = unpack(ARGV)

local first = redis.call('GET', operation)
if first then return { 'again', first } end
local kind = redis.call('TYPE', record).ok
if kind ~= 'none' and kind ~= 'string' then return { 'kind', kind } end
if kind == 'none' and expected ~= '' then return { 'gone' } end
if kind == 'string' then
  local text = redis.call('GET', record)
  if '=' .. text ~= expected then return { 'there', text, redis.call('PTTL', record) } end
end
local existing = (known ~= '*' or ended ~= '') and redis.call('GET', tombstone)
if known ~= '*' then
  local epoch = existing and existing:match('^[^\n]*\n([^\n]*)\n') or ''
  if epoch ~= known then return { 'ended', epoch } end
end
local life = lifetime(record, ttl, policy)
-- A taken-over record without expiry belonged to another stream, so its lifetime is not kept.
if ended ~= '' and redis.call('PTTL', record) == -1 then life = { 'PX', ttl } end
if ended ~= '' then ended_ttl = outliving(ended_ttl, record, tombstone) end
-- A recovered stream has not expired. Returns whether the copied record belongs to another stream with this id.
local function is_other()
  local kept = redis.pcall('GET', copy)
  local source = new:match('"source_addr":"[^"]*"')
  return type(kept) == 'string' and not kept:find(origin, 1, true) and not (source and kept:find(source, 1, true))
end
local events = {}
if kind == 'none' and type(redis.pcall('ZSCORE', due, id)) == 'string' and (origin == 'new' or is_other()) then
  events[1] = expiry(id, copy)
end
if event ~= '' then events[#events + 1] = { 'w', event, 'i', id, 'r', new } end
local fault = bad_index(index) or forbidden({
  { 'SADD', index, id },
  { 'SET', operation, answer, 'PX', answer_ttl },
  { 'SET', tombstone, ended, 'PX', ended_ttl },
  { 'SET', record, new, 'PX', ttl },
  { 'ZADD', due, check_at, id },
  { 'DEL', copy },
  appending(feed, metadata),
})
if fault then return fault end
if #events > 0 then append(feed, metadata, events) end
redis.call('SADD', index, id)
schedule_check(due, check_at, id)
-- The copy is of the previous record.
redis.call('DEL', copy)
redis.call('SET', operation, answer, 'PX', answer_ttl)
if ended ~= '' then redis.call('SET', tombstone, surpassing(ended, existing), 'PX', ended_ttl) end
redis.call('SET', record, new, unpack(life))
return { 'done' }
