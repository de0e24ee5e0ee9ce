#!lua flags=allow-oom
-- @use record
-- @use permissions
-- @use preflight
-- @use feed
-- @use tombstones
-- Removes a record and its index entry, and stores a tombstone for the stream.
--
-- KEYS[1]  key of the index, the set of active stream ids
-- KEYS[2]  key of the stream's record, a JSON string
-- KEYS[3]  key of the stream's tombstone
-- KEYS[4]  key of the stored result of this operation, which the script returns if the call is sent again
-- KEYS[5]  key of the change feed, a Redis stream
-- KEYS[6]  key of the feed metadata, a hash
-- KEYS[7]  key of the sweep's schedule: stream ids, sorted by the time of their next check
-- KEYS[8]  key of the sweep's copy of the record
-- ARGV[1]  id of the stream
-- ARGV[2]  operation id of this unregistration
-- ARGV[3]  minimum time to live of the tombstone in ms
-- ARGV[4]  condition for the removal, which is one of these strings:
--          'free' if the stream must not be leased
--          '=' and an epoch if the stream must be leased with this epoch
--          'seen' if the stored record must be equal to the record in ARGV[5]
--          'any' if the stream may have any lease
-- ARGV[5]  the record that the client has read; '' if the client has not read a record
-- ARGV[6]  time to live of the stored result in ms; '' to store no result, because the operation id is never used again
-- ARGV[7]  with the condition 'seen', the epoch for the tombstone; with another condition, a timestamp that becomes the
--          epoch of the tombstone if the record has no epoch
-- ARGV[8]  reason of the unregistration, for the event
-- Output   one of these lists:
--          {'done', the last record} if the stream was removed
--          {'again', the last record} if this operation was applied before
--          {'used'} if the operation id belongs to another operation
--          {'gone'} if the stream is missing
--          {'there', the stored record} if the client has to examine this record
--          {'kind', the type of the value} if the record key does not hold a string
-- Events   unregistered
-- The stored result consists of the word ended, the id and the last record, separated by line feeds.
local index_key, record_key, tombstone_key, result_key, feed_key, metadata_key, due_key, copy_key = unpack(KEYS)
local id, operation_id, tombstone_ttl, condition, examined, result_ttl, fallback_epoch, reason = unpack(ARGV)

if result_ttl ~= '' then
  local result = redis.call('GET', result_key)
  if result then
    local result_id, last = result:match('^ended\n([^\n]*)\n(.*)$')
    if result_id == id then return { 'again', last } end
    return { 'used' }
  end
end
local old_tombstone = redis.call('GET', tombstone_key)
if old_tombstone then
  local removed_by, last = old_tombstone:match('^([^\n]*)\n[^\n]*\n(.*)$')
  if removed_by == operation_id then return { 'again', last } end
end
local key_type = redis.call('TYPE', record_key).ok
if key_type == 'none' then return { 'gone' } end
if key_type ~= 'string' then return { 'kind', key_type } end
local json = redis.call('GET', record_key)
local epoch = epoch_of(json)
-- A removal cannot be undone. So the client examines every value that this script cannot identify as a valid record.
local may_remove
if condition == 'seen' then
  may_remove = json == examined
elseif condition == 'any' then
  may_remove = epoch ~= nil
else
  may_remove = (condition == 'free' and epoch == false or epoch and condition == '=' .. epoch) and
    find_heartbeat(json) and pcall(cjson.decode, json)
end
if not may_remove then return { 'there', json } end
local ended_epoch = condition ~= 'seen' and epoch or fallback_epoch
local new_tombstone = with_greater_epoch(operation_id .. '\n' .. ended_epoch .. '\n' .. json, old_tombstone)
local result = 'ended\n' .. id .. '\n' .. json
tombstone_ttl = tombstone_lifetime(tombstone_ttl, record_key, tombstone_key)
local error_reply = index_type_error(index_key) or permission_error({
  { 'SET', result_key, result, 'PX', '1' },
  { 'SET', tombstone_key, new_tombstone, 'PX', tombstone_ttl },
  { 'SREM', index_key, id },
  { 'DEL', record_key },
  { 'DEL', copy_key },
  { 'ZREM', due_key, id },
  append_commands(feed_key, metadata_key),
})
if error_reply then return error_reply end
append_events(feed_key, metadata_key, { { 'w', 'unregistered', 'i', id, 'r', json, 'c', reason } })
redis.call('SET', tombstone_key, new_tombstone, 'PX', tombstone_ttl)
if result_ttl ~= '' then redis.call('SET', result_key, result, 'PX', result_ttl) end
redis.call('SREM', index_key, id)
redis.call('DEL', record_key, copy_key)
-- If the schedule's key holds a value of another type, the command fails. The sweep replaces the value later.
redis.pcall('ZREM', due_key, id)
return { 'done', json }
