#!lua
-- @use permissions
-- @use feed
-- @use due
-- @use tombstones
-- Registers streams. Each registration gets its own result.
--
-- KEYS[1]   key of the index, the set of active stream ids
-- KEYS[2]   key of the change feed, a Redis stream
-- KEYS[3]   key of the feed metadata, a hash
-- KEYS[4]   key of the sweep's schedule: stream ids, sorted by the time of their next check
-- KEYS[5..] for all registrations: the keys of their records, JSON strings; no key occurs twice
--           for all registrations: the keys of their tombstones
--           for all registrations: the keys of the sweep's copies of their records
--           for each registration with a result to store: the key of the stored result, which the script returns if
--             the call is sent again
-- ARGV[1]   time to live of the new records in ms
-- ARGV[2]   minimum time to live of a tombstone in ms
-- ARGV[3]   time to live of a stored result in ms
-- ARGV[4]   time of the sweep's first check of the streams, in Unix ms
-- ARGV[5..] eight strings for each registration:
--           id of the stream
--           '=' and the record that the client expects to exist; '' if the client expects no record
--           the new record
--           kind of the event for the feed; '' to add no event
--           the epoch of the new record, which must be greater than that in the tombstone; '' to skip this check
--           the epoch for the tombstone of the record that is taken over; '' if no record is taken over
--           the result to store: 'generated ' if the id was generated, the outcome, a line feed and the new record;
--             '' to store no result
--           'new' for a new stream; the field "epoch":"…" of the lease for a recovered stream
-- Output    one result for each registration:
--           1 if the stream was registered
--           {'again', the stored result} if this operation was applied before
--           {'busy'} if this call applies an earlier registration with the same operation id
--           {'there', the existing record, its remaining time in ms} if the client did not expect the existing record
--           {'gone', the epoch in the tombstone or ''} if the record that the client expects is missing
--           {'ended', the epoch in the tombstone} if this epoch is not less than that of the new record
--           {'kind', the type of the value} if the record key does not hold a string
-- Events    registered, updated or taken_over, as the caller demands
--           An expired event comes first if an earlier stream with the same id has expired and was not yet reported.
local call, try = redis.call, redis.pcall
local index_key, feed_key, metadata_key, due_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local ttl, tombstone_ttl, result_ttl, check_time = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local count = (#ARGV - 4) / 8

-- Usually all ids are free. One `EXISTS` shows this, so no record has to be read.
local are_free = call('EXISTS', unpack(KEYS, 5, 4 + count)) == 0
local tombstones
local function ended_epoch(i)
  -- MGET returns nil for a key of another type.
  tombstones = tombstones or call('MGET', unpack(KEYS, 5 + count, 4 + 2 * count))
  return readable_epoch(tombstones[i])
end

-- Returns the result of a registration that cannot be applied. Otherwise, returns nil. If the registration takes a
-- stream over, also returns the epoch for the tombstone, and the time to live of the tombstone in ms.
local claimed = {}
local function check(i, at, result_key)
  if result_key then
    local stored_result = get_string(result_key)
    if stored_result then return { 'again', stored_result } end
    if claimed[result_key] then return { 'busy' } end
  end
  local record_key, expected = KEYS[4 + i], ARGV[at + 1]
  local existing_json = not are_free and try('GET', record_key)
  if type(existing_json) == 'table' then
    if not existing_json.err:find('WRONGTYPE', 1, true) then return existing_json end
    return { 'kind', call('TYPE', record_key).ok }
  end
  if existing_json then
    if '=' .. existing_json ~= expected then return { 'there', existing_json, call('PTTL', record_key) } end
  elseif expected ~= '' then
    return { 'gone', ended_epoch(i) or '' }
  end
  local epoch, tombstone_epoch = ARGV[at + 4], ARGV[at + 5]
  if epoch == '' and tombstone_epoch == '' then return nil end
  local old_epoch = ended_epoch(i)
  if epoch ~= '' and old_epoch and not is_greater(epoch, old_epoch) then return { 'ended', old_epoch } end
  if tombstone_epoch == '' then return nil end
  local lifetime = tombstone_lifetime(tombstone_ttl, record_key, KEYS[4 + count + i], old_epoch)
  return nil, greater_epoch(tombstone_epoch, old_epoch), lifetime
end

-- Returns true if the sweep's copy belongs to another stream than the stream that is being recovered.
-- In this case, an earlier stream with this id has expired.
local function copy_is_of_another_stream(copy_key, json, epoch_field)
  local copied = try('GET', copy_key)
  local source = json:match('"source_addr":"[^"]*"')
  if type(copied) ~= 'string' or copied:find(epoch_field, 1, true) then return false end
  return not (source and copied:find(source, 1, true))
end

-- All checks come before the first write, so that an error leaves everything unchanged.
local results, ids, accepted, result_keys, epochs, lifetimes = {}, {}, {}, {}, {}, {}
local next_result, claimed_key, tombstone_key = 5 + 3 * count, nil, nil
for i = 1, count do
  local at, result_key = 8 * i - 3, nil
  if ARGV[at + 6] ~= '' then result_key, next_result = KEYS[next_result], next_result + 1 end
  local refusal, epoch, lifetime = check(i, at, result_key)
  if refusal and refusal.err then return refusal end
  results[i] = refusal or 1
  if not refusal then
    local n = #ids + 1
    ids[n], accepted[n] = ARGV[at], i
    if result_key then result_keys[i], claimed[result_key], claimed_key = result_key, true, result_key end
    if epoch then epochs[i], lifetimes[i], tombstone_key = epoch, lifetime, KEYS[4 + count + i] end
  end
end
if #ids == 0 then return results end

require_permission('SADD', index_key, 'id')
require_permission('SET', KEYS[5], 'json', 'PX', ttl)
require_permission('ZADD', due_key, '1', 'id')
require_permission('DEL', KEYS[5 + 2 * count])
require_append_permissions(feed_key, metadata_key)
if claimed_key then require_permission('SET', claimed_key, 'result', 'PX', result_ttl) end
if tombstone_key then require_permission('SET', tombstone_key, 'epoch', 'PX', tombstone_ttl) end

local check_times = try('ZMSCORE', due_key, unpack(ids))
-- If the index key holds a value of another type, this first write fails and nothing has changed.
call('SADD', index_key, unpack(ids))
local checks, copies = {}, {}
for n = 1, #ids do checks[2 * n - 1], checks[2 * n] = check_time, ids[n] end
schedule_checks(due_key, unpack(checks))
for n, i in ipairs(accepted) do
  local at, id = 8 * i - 3, ids[n]
  local json, kind = ARGV[at + 2], ARGV[at + 3]
  -- If the schedule contains the id but the record is missing, the earlier stream has expired and was not reported.
  if check_times[n] then
    local copy_key, origin = KEYS[4 + 2 * count + i], ARGV[at + 7]
    copies[#copies + 1] = copy_key
    if ARGV[at + 1] == '' and (origin == 'new' or copy_is_of_another_stream(copy_key, json, origin)) then
      append_event(feed_key, metadata_key, unpack(expiry_event(id, copy_key)))
    end
  end
  if kind ~= '' then append_event(feed_key, metadata_key, 'w', kind, 'i', id, 'r', json) end
end
write_metadata(metadata_key)
-- The sweep's copies belong to the previous records, so the copies are deleted.
if #copies > 0 then call('DEL', unpack(copies)) end
for _, i in ipairs(accepted) do
  local at = 8 * i - 3
  if result_keys[i] then call('SET', result_keys[i], ARGV[at + 6], 'PX', result_ttl) end
  if epochs[i] then call('SET', KEYS[4 + count + i], epochs[i], 'PX', lifetimes[i]) end
  call('SET', KEYS[4 + i], ARGV[at + 2], 'PX', ttl)
end
return results
