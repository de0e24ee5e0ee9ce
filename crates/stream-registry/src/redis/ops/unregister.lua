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
-- KEYS[5..] four keys for each removal:
--           the stream's record, a JSON string
--           the stream's tombstone
--           the sweep's copy of the record
--           the stored result of the removal, which the script returns if the call is sent again
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
--           {'done', the last record} if the stream was removed
--           {'again', the last record} if this operation was applied before
--           {'used'} if the operation id belongs to another operation
--           {'busy'} if this call applies an earlier removal with the same stream id or operation id
--           {'gone'} if the stream is missing
--           {'there', the stored record} if the client has to examine this record
--           {'kind', the type of the value} if the record key does not hold a string
-- Events    unregistered
-- The stored result consists of the word ended, the id and the last record, separated by line feeds.
local call, try = redis.call, redis.pcall
local index_key, feed_key, metadata_key, due_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local tombstone_ttl, result_ttl, timestamp = ARGV[1], ARGV[2], ARGV[3]

-- Returns the result of a removal that cannot be applied. Otherwise, returns nil, the record, the epoch for the
-- tombstone, and the time to live of the tombstone in ms. The epoch is nil if the stream needs no tombstone.
local claimed = {}
local function check(at, record_key, tombstone_key, result_key)
  local id, condition = ARGV[at], ARGV[at + 1]
  if ARGV[at + 5] ~= '' then
    local result = get_string(result_key)
    if result then
      local result_id, last = result:match('^ended\n([^\n]*)\n(.*)$')
      if result_id == id then return { 'again', last } end
      return { 'used' }
    end
  end
  if claimed[record_key] or claimed[result_key] then return { 'busy' } end
  local json = try('GET', record_key)
  if not json then return { 'gone' } end
  if type(json) == 'table' then
    if not json.err:find('WRONGTYPE', 1, true) then return json end
    return { 'kind', call('TYPE', record_key).ok }
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
  local old_epoch = get_string(tombstone_key)
  if not epoch and not old_epoch then return nil, json end
  local lifetime = tombstone_lifetime(tombstone_ttl, record_key, tombstone_key)
  return nil, json, greater_epoch(epoch or timestamp, old_epoch), lifetime
end

-- All checks come before the first write, so that an error leaves everything unchanged.
local results, ids, accepted, epochs, lifetimes = {}, {}, {}, {}, {}
local has_results, has_tombstones = false, false
for i = 1, (#KEYS - 4) / 4 do
  local key_at, at = 4 * i + 1, 6 * i - 2
  local refusal, json, epoch, lifetime = check(at, KEYS[key_at], KEYS[key_at + 1], KEYS[key_at + 3])
  if refusal and refusal.err then return refusal end
  results[i] = refusal or { 'done', json }
  if not refusal then
    claimed[KEYS[key_at]], claimed[KEYS[key_at + 3]] = true, true
    ids[#ids + 1], accepted[#accepted + 1], epochs[i], lifetimes[i] = ARGV[at], i, epoch, lifetime
    has_results, has_tombstones = has_results or ARGV[at + 5] ~= '', has_tombstones or epoch
  end
end
if #ids == 0 then return results end

require_permission('SREM', index_key, 'id')
require_permission('DEL', KEYS[5], KEYS[7])
require_permission('ZREM', due_key, 'id')
require_append_permissions(feed_key, metadata_key)
if has_results then require_permission('SET', KEYS[8], 'result', 'PX', result_ttl) end
if has_tombstones then require_permission('SET', KEYS[6], 'epoch', 'PX', tombstone_ttl) end

-- If the index key holds a value of another type, this first write fails and nothing has changed.
call('SREM', index_key, unpack(ids))
local events, removed = {}, {}
for n, i in ipairs(accepted) do
  local key_at, at, json = 4 * i + 1, 6 * i - 2, results[i][2]
  events[n] = { 'w', 'unregistered', 'i', ARGV[at], 'r', json, 'c', ARGV[at + 4] }
  removed[2 * n - 1], removed[2 * n] = KEYS[key_at], KEYS[key_at + 2]
  if epochs[i] then call('SET', KEYS[key_at + 1], epochs[i], 'PX', lifetimes[i]) end
  if ARGV[at + 5] ~= '' then
    call('SET', KEYS[key_at + 3], 'ended\n' .. ARGV[at] .. '\n' .. json, 'PX', result_ttl)
  end
end
append_events(feed_key, metadata_key, events)
call('DEL', unpack(removed))
-- If the schedule's key holds a value of another type, the command fails. The sweep replaces the value later.
try('ZREM', due_key, unpack(ids))
return results
