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
-- KEYS[3]  the stored result of this registration, which is returned if the call is sent again
-- KEYS[4]  the tombstone of the stream
-- KEYS[5]  the feed
-- KEYS[6]  the feed metadata
-- KEYS[7]  the schedule of the sweep
-- KEYS[8]  the copy of the record
-- ARGV[1]  the id
-- ARGV[2]  '=' and the record that the client expects to exist, '' if it expects none
-- ARGV[3]  the new record
-- ARGV[4]  time to live in ms
-- ARGV[5]  'renew'; 'longer' to never shorten the remaining time
-- ARGV[6]  the result to store: the outcome, a line feed, the new record
-- ARGV[7]  time to live of the stored result in ms
-- ARGV[8]  the tombstone of the record that is taken over, '' if none
-- ARGV[9]  minimum time to live of that tombstone in ms
-- ARGV[10] the expected epoch in the tombstone, '' if none; '*' for any
-- ARGV[11] kind of the event, '' for no event
-- ARGV[12] time of the first check by the sweep, in ms
-- ARGV[13] 'new' for a new stream; the field "epoch":"…" for a recovered stream
-- Output   {'done'}
--          {'again', the stored result} if this operation was applied before
--          {'there', the existing record, its remaining time in ms} if the record is not the expected one
--          {'gone'} if the expected record is missing
--          {'ended', the epoch in the tombstone or ''} if that epoch is not the expected one
--          {'kind', type} if the key does not hold a string
-- Events   registered, updated or taken_over. An expired event comes first if the expiry of an earlier stream was not yet
--          reported.
local index_key, record_key, result_key, tombstone_key, feed_key, metadata_key, due_key, copy_key = unpack(KEYS)
local id, expected, json, ttl, policy, result, result_ttl, tombstone, tombstone_ttl, expected_epoch, event_kind, check_at, origin = unpack(ARGV)

local stored_result = redis.call('GET', result_key)
if stored_result then return { 'again', stored_result } end
local key_type = redis.call('TYPE', record_key).ok
if key_type ~= 'none' and key_type ~= 'string' then return { 'kind', key_type } end
if key_type == 'none' and expected ~= '' then return { 'gone' } end
if key_type == 'string' then
  local existing_json = redis.call('GET', record_key)
  if '=' .. existing_json ~= expected then return { 'there', existing_json, redis.call('PTTL', record_key) } end
end
local old_tombstone = (expected_epoch ~= '*' or tombstone ~= '') and redis.call('GET', tombstone_key)
if expected_epoch ~= '*' then
  local old_epoch = old_tombstone and old_tombstone:match('^[^\n]*\n([^\n]*)\n') or ''
  if old_epoch ~= expected_epoch then return { 'ended', old_epoch } end
end
local ttl_arguments = ttl_arguments_for(record_key, ttl, policy)
-- If the record that is taken over never expires, the new stream still gets a time to live.
if tombstone ~= '' and redis.call('PTTL', record_key) == -1 then ttl_arguments = { 'PX', ttl } end
if tombstone ~= '' then tombstone_ttl = tombstone_lifetime(tombstone_ttl, record_key, tombstone_key) end
-- Returns true if the copy is of an earlier stream with this id. If it is of the recovered stream, nothing has expired.
local function copy_is_of_another_stream()
  local copied = redis.pcall('GET', copy_key)
  local source = json:match('"source_addr":"[^"]*"')
  if type(copied) ~= 'string' or copied:find(origin, 1, true) then return false end
  return not (source and copied:find(source, 1, true))
end
local events = {}
local is_unreported = key_type == 'none' and type(redis.pcall('ZSCORE', due_key, id)) == 'string'
if is_unreported and (origin == 'new' or copy_is_of_another_stream()) then
  events[1] = expiry_event(id, copy_key)
end
if event_kind ~= '' then events[#events + 1] = { 'w', event_kind, 'i', id, 'r', json } end
local error_reply = index_type_error(index_key) or permission_error({
  { 'SADD', index_key, id },
  { 'SET', result_key, result, 'PX', result_ttl },
  { 'SET', tombstone_key, tombstone, 'PX', tombstone_ttl },
  { 'SET', record_key, json, 'PX', ttl },
  { 'ZADD', due_key, check_at, id },
  { 'DEL', copy_key },
  append_commands(feed_key, metadata_key),
})
if error_reply then return error_reply end
if #events > 0 then append_events(feed_key, metadata_key, events) end
redis.call('SADD', index_key, id)
schedule_check(due_key, check_at, id)
-- The copy is of the previous record.
redis.call('DEL', copy_key)
redis.call('SET', result_key, result, 'PX', result_ttl)
if tombstone ~= '' then
  redis.call('SET', tombstone_key, with_greater_epoch(tombstone, old_tombstone), 'PX', tombstone_ttl)
end
redis.call('SET', record_key, json, unpack(ttl_arguments))
return { 'done' }
