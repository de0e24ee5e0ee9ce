#!lua flags=allow-oom
-- @use record
-- @use permissions
-- @use feed
-- @use tombstones
-- Removes streams: their records and their index entries. Each removal gets its own result.
--
-- KEYS[1]   key of the index, the set of active stream ids
-- KEYS[2]   key of the change feed, a Redis stream
-- KEYS[3]   key of the feed metadata, a hash
-- KEYS[4]   key of the sweep's schedule: stream ids, sorted by the time of their next check
-- KEYS[5..] for all removals: the keys of their records, JSON strings; no key occurs twice
--           for all removals: the keys of their tombstones
--           for all removals: the keys of the sweep's copies of their records
--           for each removal with an operation id: the key of the stored result, which the script returns if the call
--             is sent again
-- ARGV[1]   minimum time to live of a tombstone in ms
-- ARGV[2]   time to live of a stored result in ms
-- ARGV[3]   timestamp that becomes the epoch of the tombstone if the stream has no epoch
-- ARGV[4..] six strings for each removal:
--           id of the stream
--           condition for the removal, which is one of these strings:
--             'free' if the stream must not be leased
--             '=' and an epoch if the stream must be leased with this epoch
--             'any' if the stream may have any lease
--             'seen' if the stored record must be equal to the record that the client has read
--           the record that the client has read; '' if the client has not read a record
--           with the condition 'seen', the epoch for the tombstone, or '' if the record has no epoch; else ''
--           reason of the unregistration, for the event
--           'named' to store the result, because the caller may send the same operation id again; else ''
-- Output    one result for each removal:
--           the last record if the stream was removed
--           {'again', the last record} if this operation was applied before
--           {'used'} if the operation id belongs to another operation
--           {'busy'} if this call applies an earlier removal with the same operation id
--           {'gone'} if the stream is missing
--           {'there', the stored record} if the client has to examine this record
--           {'kind', the type of the value} if the record key does not hold a string
-- Events    unregistered
-- The stored result consists of the word ended, the id and the last record, separated by line feeds.
local call, try = redis.call, redis.pcall
local index_key, feed_key, metadata_key, due_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local tombstone_ttl, result_ttl, timestamp = ARGV[1], ARGV[2], ARGV[3]
local count = (#ARGV - 3) / 6

-- MGET returns nil for a missing key and for a key of another type.
local records = call('MGET', unpack(KEYS, 5, 4 + count))
local tombstones = call('MGET', unpack(KEYS, 5 + count, 4 + 2 * count))

-- Returns the result of a removal that cannot be applied. Otherwise, returns nil, the epoch for the tombstone, and the
-- time to live of the tombstone in ms. The epoch is nil if the stream needs no tombstone.
local claimed = {}
local function check(i, at, result_key)
  local id, condition, json = ARGV[at], ARGV[at + 1], records[i]
  if result_key then
    local result = get_string(result_key)
    if result then
      local result_id, last = result:match('^ended\n([^\n]*)\n(.*)$')
      if result_id == id then return { 'again', last } end
      return { 'used' }
    end
    if claimed[result_key] then return { 'busy' } end
  end
  if not json then
    local kind = call('TYPE', KEYS[4 + i]).ok
    return kind == 'none' and { 'gone' } or { 'kind', kind }
  end
  -- A removal cannot be undone. So the client examines every value that this script cannot identify as a valid record.
  local epoch, may_remove
  if condition == 'seen' then
    may_remove, epoch = json == ARGV[at + 2], ARGV[at + 3] ~= '' and ARGV[at + 3]
  elseif condition == 'any' then
    epoch = epoch_of(json)
    may_remove, epoch = epoch ~= nil, epoch or timestamp
  else
    epoch = condition ~= 'free' and sub(condition, 2)
    may_remove = find_canonical_heartbeat(json, epoch and ',"epoch":"' .. epoch .. '"') or
      epoch_of(json) == epoch and find_heartbeat(json) and pcall(cjson.decode, json)
  end
  if not may_remove then return { 'there', json } end
  local old_epoch = readable_epoch(tombstones[i])
  if not epoch and not old_epoch then return nil end
  local lifetime = tombstone_lifetime(tombstone_ttl, KEYS[4 + i], KEYS[4 + count + i], old_epoch)
  return nil, greater_epoch(epoch or timestamp, old_epoch), lifetime
end

-- All checks come before the first write, so that an error leaves everything unchanged.
local results, ids, accepted, result_keys, epochs, lifetimes = {}, {}, {}, {}, {}, {}
local next_result, claimed_key, tombstone_key = 5 + 3 * count, nil, nil
for i = 1, count do
  local at, result_key = 6 * i - 2, nil
  if ARGV[at + 5] ~= '' then result_key, next_result = KEYS[next_result], next_result + 1 end
  local refusal, epoch, lifetime = check(i, at, result_key)
  results[i] = refusal or records[i]
  if not refusal then
    local n = #ids + 1
    ids[n], accepted[n] = ARGV[at], i
    if result_key then result_keys[i], claimed[result_key], claimed_key = result_key, true, result_key end
    if epoch then epochs[i], lifetimes[i], tombstone_key = epoch, lifetime, KEYS[4 + count + i] end
  end
end
if #ids == 0 then return results end

require_permission('SREM', index_key, 'id')
require_permission('DEL', KEYS[5], KEYS[5 + 2 * count])
require_permission('ZREM', due_key, 'id')
require_append_permissions(feed_key, metadata_key)
if claimed_key then require_permission('SET', claimed_key, 'result', 'PX', result_ttl) end
if tombstone_key then require_permission('SET', tombstone_key, 'epoch', 'PX', tombstone_ttl) end

-- If the index key holds a value of another type, this first write fails and nothing has changed.
call('SREM', index_key, unpack(ids))
local removed = {}
for n, i in ipairs(accepted) do
  local at, id, json = 6 * i - 2, ids[n], records[i]
  append_event(feed_key, metadata_key, 'w', 'unregistered', 'i', id, 'r', json, 'c', ARGV[at + 4])
  removed[2 * n - 1], removed[2 * n] = KEYS[4 + i], KEYS[4 + 2 * count + i]
  if epochs[i] then call('SET', KEYS[4 + count + i], epochs[i], 'PX', lifetimes[i]) end
  if result_keys[i] then call('SET', result_keys[i], 'ended\n' .. id .. '\n' .. json, 'PX', result_ttl) end
end
write_metadata(metadata_key)
call('DEL', unpack(removed))
-- If the schedule's key holds a value of another type, the command fails. The sweep replaces the value later.
try('ZREM', due_key, unpack(ids))
return results
