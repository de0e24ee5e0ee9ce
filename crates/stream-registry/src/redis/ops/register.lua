#!lua
-- @use permissions
-- @use preflight
-- @use feed
-- @use due
-- @use tombstones
-- Creates a record and its index entry. If the client has read an existing record, the script replaces that record.
--
-- KEYS[1]  key of the index, the set of active stream ids
-- KEYS[2]  key of the stream's record, a JSON string
-- KEYS[3]  key of the stored result of this registration, which the script returns if the call is sent again
-- KEYS[4]  key of the stream's tombstone
-- KEYS[5]  key of the change feed, a Redis stream
-- KEYS[6]  key of the feed metadata, a hash
-- KEYS[7]  key of the sweep's schedule: stream ids, sorted by the time of their next check
-- KEYS[8]  key of the sweep's copy of the record
-- ARGV[1]  id of the stream
-- ARGV[2]  '=' and the record that the client expects to exist; '' if the client expects no record
-- ARGV[3]  the new record
-- ARGV[4]  time to live of the new record in ms
-- ARGV[5]  the result to store: the outcome, a line feed and the new record
-- ARGV[6]  time to live of the stored result in ms
-- ARGV[7]  the tombstone of the record that is taken over; '' if no record is taken over
-- ARGV[8]  minimum time to live of the tombstone in ms
-- ARGV[9]  the epoch that the client expects in the existing tombstone; '' for no tombstone; '*' to skip this check
-- ARGV[10] kind of the event for the feed; '' to add no event
-- ARGV[11] time of the sweep's first check of the stream, in Unix ms
-- ARGV[12] 'new' for a new stream; the field "epoch":"…" of the lease for a recovered stream
-- Output   one of these lists:
--          {'done'} if the stream was registered
--          {'again', the stored result} if this operation was applied before
--          {'there', the existing record, its remaining time in ms} if the client did not expect the existing record
--          {'gone'} if the record that the client expects is missing
--          {'ended', the epoch in the tombstone or ''} if the client did not expect this epoch
--          {'kind', the type of the value} if the record key does not hold a string
-- Events   registered, updated or taken_over, depending on ARGV[10]
--          An expired event comes first if an earlier stream with this id has expired and was not yet reported.
local index_key, record_key, result_key, tombstone_key, feed_key, metadata_key, due_key, copy_key = unpack(KEYS)
local id, expected, json, ttl, result, result_ttl, tombstone, tombstone_ttl, expected_epoch, event_kind, check_at, origin = unpack(ARGV)

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
if tombstone ~= '' then tombstone_ttl = tombstone_lifetime(tombstone_ttl, record_key, tombstone_key) end
-- Returns true if the sweep's copy belongs to another stream than the stream that is being recovered.
-- In this case, an earlier stream with this id has expired.
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
-- The sweep's copy belongs to the previous record, so the copy is deleted.
redis.call('DEL', copy_key)
redis.call('SET', result_key, result, 'PX', result_ttl)
if tombstone ~= '' then
  redis.call('SET', tombstone_key, with_greater_epoch(tombstone, old_tombstone), 'PX', tombstone_ttl)
end
redis.call('SET', record_key, json, 'PX', ttl)
return { 'done' }
