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
-- KEYS[5..] four keys for each registration:
--           the stream's record, a JSON string
--           the stream's tombstone
--           the sweep's copy of the record
--           the stored result of the registration, which the script returns if the call is sent again
-- ARGV[1]   time to live of the new records in ms
-- ARGV[2]   minimum time to live of a tombstone in ms
-- ARGV[3]   time to live of a stored result in ms
-- ARGV[4..] nine strings for each registration:
--           id of the stream
--           '=' and the record that the client expects to exist; '' if the client expects no record
--           the new record
--           time of the sweep's first check of the stream, in Unix ms
--           kind of the event for the feed; '' to add no event
--           the epoch that the client expects in the existing tombstone; '' for no tombstone; '*' to skip this check
--           the epoch for the tombstone of the record that is taken over; '' if no record is taken over
--           the result to store: 'generated ' if the id was generated, the outcome, a line feed and the new record;
--             '' to store no result
--           'new' for a new stream; the field "epoch":"…" of the lease for a recovered stream
-- Output    one result for each registration:
--           1 if the stream was registered
--           {'again', the stored result} if this operation was applied before
--           {'busy'} if this call applies an earlier registration with the same stream id or operation id
--           {'there', the existing record, its remaining time in ms} if the client did not expect the existing record
--           {'gone'} if the record that the client expects is missing
--           {'ended', the epoch in the tombstone or ''} if the client did not expect this epoch
--           {'kind', the type of the value} if the record key does not hold a string
-- Events    registered, updated or taken_over, as the caller demands
--           An expired event comes first if an earlier stream with the same id has expired and was not yet reported.
local call, try = redis.call, redis.pcall
local index_key, feed_key, metadata_key, due_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local ttl, tombstone_ttl, result_ttl = ARGV[1], ARGV[2], ARGV[3]

-- Returns the result of a registration that cannot be applied. Otherwise, returns nil. If the registration takes a
-- stream over, also returns the epoch for the tombstone, and the time to live of the tombstone in ms.
local claimed = {}
local function check(at, record_key, tombstone_key, result_key)
  if ARGV[at + 7] ~= '' then
    local stored_result = get_string(result_key)
    if stored_result then return { 'again', stored_result } end
  end
  if claimed[record_key] or claimed[result_key] then return { 'busy' } end
  local expected, existing_json = ARGV[at + 1], try('GET', record_key)
  if type(existing_json) == 'table' then
    if not existing_json.err:find('WRONGTYPE', 1, true) then return existing_json end
    return { 'kind', call('TYPE', record_key).ok }
  end
  if existing_json then
    if '=' .. existing_json ~= expected then return { 'there', existing_json, call('PTTL', record_key) } end
  elseif expected ~= '' then
    return { 'gone' }
  end
  local expected_epoch, tombstone_epoch = ARGV[at + 5], ARGV[at + 6]
  if expected_epoch == '*' and tombstone_epoch == '' then return nil end
  local old_epoch = get_string(tombstone_key)
  if expected_epoch ~= '*' and (old_epoch or '') ~= expected_epoch then return { 'ended', old_epoch or '' } end
  if tombstone_epoch == '' then return nil end
  return nil, greater_epoch(tombstone_epoch, old_epoch), tombstone_lifetime(tombstone_ttl, record_key, tombstone_key)
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
local results, ids, accepted, epochs, lifetimes = {}, {}, {}, {}, {}
local has_results, has_tombstones = false, false
for i = 1, (#KEYS - 4) / 4 do
  local key_at, at = 4 * i + 1, 9 * i - 5
  local refusal, epoch, lifetime = check(at, KEYS[key_at], KEYS[key_at + 1], KEYS[key_at + 3])
  if refusal and refusal.err then return refusal end
  results[i] = refusal or 1
  if not refusal then
    claimed[KEYS[key_at]], claimed[KEYS[key_at + 3]] = true, true
    ids[#ids + 1], accepted[#accepted + 1], epochs[i], lifetimes[i] = ARGV[at], i, epoch, lifetime
    has_results, has_tombstones = has_results or ARGV[at + 7] ~= '', has_tombstones or epoch
  end
end
if #ids == 0 then return results end

require_permission('SADD', index_key, 'id')
require_permission('SET', KEYS[5], 'json', 'PX', ttl)
require_permission('ZADD', due_key, '1', 'id')
require_permission('DEL', KEYS[7])
require_append_permissions(feed_key, metadata_key)
if has_results then require_permission('SET', KEYS[8], 'result', 'PX', result_ttl) end
if has_tombstones then require_permission('SET', KEYS[6], 'epoch', 'PX', tombstone_ttl) end

local check_times = try('ZMSCORE', due_key, unpack(ids))
-- If the index key holds a value of another type, this first write fails and nothing has changed.
call('SADD', index_key, unpack(ids))
local events, copies, checks = {}, {}, {}
for n, i in ipairs(accepted) do
  local key_at, at = 4 * i + 1, 9 * i - 5
  local id, expected, json, kind, origin = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 4], ARGV[at + 8]
  local copy_key = KEYS[key_at + 2]
  -- If the schedule contains the id but the record is missing, the earlier stream has expired and was not reported.
  local was_scheduled = check_times[n]
  checks[2 * n - 1], checks[2 * n] = ARGV[at + 3], id
  if was_scheduled and expected == '' and (origin == 'new' or copy_is_of_another_stream(copy_key, json, origin)) then
    events[#events + 1] = expiry_event(id, copy_key)
  end
  if kind ~= '' then events[#events + 1] = { 'w', kind, 'i', id, 'r', json } end
  if was_scheduled then copies[#copies + 1] = copy_key end
end
schedule_checks(due_key, unpack(checks))
if #events > 0 then append_events(feed_key, metadata_key, events) end
-- The sweep's copies belong to the previous records, so the copies are deleted.
if #copies > 0 then call('DEL', unpack(copies)) end
for _, i in ipairs(accepted) do
  local key_at, at = 4 * i + 1, 9 * i - 5
  if ARGV[at + 7] ~= '' then call('SET', KEYS[key_at + 3], ARGV[at + 7], 'PX', result_ttl) end
  if epochs[i] then call('SET', KEYS[key_at + 1], epochs[i], 'PX', lifetimes[i]) end
  call('SET', KEYS[key_at], ARGV[at + 2], 'PX', ttl)
end
return results
