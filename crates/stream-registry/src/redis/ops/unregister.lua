#!lua flags=allow-oom
-- @use record
-- @use permissions
-- @use preflight
-- @use feed
-- @use tombstones
-- Removes a record and its index entry, and stores a tombstone.
--
-- KEYS[1]  the index set
-- KEYS[2]  the record
-- KEYS[3]  the tombstone
-- KEYS[4]  the stored result of this operation, which is returned if the call is sent again
-- KEYS[5]  the feed
-- KEYS[6]  the feed metadata
-- KEYS[7]  the schedule of the sweep
-- KEYS[8]  the copy of the record
-- ARGV[1]  the id
-- ARGV[2]  the operation id
-- ARGV[3]  minimum time to live of the tombstone in ms
-- ARGV[4]  condition: 'free' if the stream must not be leased; '=' and an epoch if it must be leased with that epoch;
--          'seen' if the record must be the one in ARGV[5]; 'any' for no condition
-- ARGV[5]  the record that the client has examined, '' if none
-- ARGV[6]  time to live of the stored result in ms, '' to store no result because the operation id is never used again
-- ARGV[7]  with the condition 'seen', the epoch for the tombstone; otherwise a timestamp, which is used instead of an
--          epoch if the record has none
-- ARGV[8]  the reason, for the feed
-- Output   {'done', the last record}
--          {'again', the last record} if this operation was applied before
--          {'used'} if the operation id belongs to another operation
--          {'gone'} if the stream is missing
--          {'there', the record} if the client has to examine the record
--          {'kind', type} if the key does not hold a string
-- Events   unregistered
-- The stored result is 'ended', a line feed, the id, a line feed and the last record.
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
-- A removal is final, so the client examines every value that is not certainly a record.
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
-- If the key holds another type, the sweep replaces it later.
redis.pcall('ZREM', due_key, id)
return { 'done', json }
