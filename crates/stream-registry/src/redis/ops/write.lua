#!lua flags=allow-oom
-- @use record
-- @use permissions
-- @use feed
-- Applies heartbeats, status changes and statistics to many streams.
-- The script changes the raw JSON of each record in place.
--
-- KEYS[1]     key of the index, the set of active stream ids
-- KEYS[2]     key of the change feed, a Redis stream
-- KEYS[3]     key of the feed metadata, a hash
-- KEYS[4..]   key of the record of each write; no key occurs twice
-- ARGV[1]     length of the key prefix in bytes
-- ARGV[2]     the current time as an RFC 3339 string
-- ARGV[3]     time to live of the records in ms
-- ARGV[4]     TTL policy: 'renew', or 'longer' to never shorten the remaining time to live
--             A write with the epoch of the lease always sets the time to live, because its caller is the holder.
-- ARGV[5..]   for each write: one string with a verb and a guard, then the values of the guard and of the verb
--             The verb is the kind of change:
--               'h'  heartbeat, which has no values
--               's'  status change, whose value is the content of a JSON string
--               't'  statistics, with two values: the bitrate, and the JSON fields of the three totals
--               'g'  no change by this script; the script returns the record, because the client makes the change
--             The guard is the condition on the lease of the stream:
--               ''   the stream must not be leased
--               '*'  every lease is ignored
--               '='  the stream must be leased with the epoch in the value of the guard, ,"epoch":"…"
--             A heartbeat of a leased stream has a short form: only the string ,"epoch":"…".
--             If there are fewer arguments than writes, each of the remaining writes is a heartbeat without a guard.
-- Output      'OK' if all writes were applied; otherwise, a list with one of these results for each write:
--               1 if the write was applied
--               0 if the stream is missing
--               -1 if the caller is not the holder of the stream
--               -2 if the record key does not hold a string
--               the record if the client has to make the change
-- Events      status, for each stream whose status changes
local format = string.format
local KEYS, ARGV, call = KEYS, ARGV, redis.call
local index_key, feed_key, metadata_key = KEYS[1], KEYS[2], KEYS[3]
local now, ttl, never_shorten = ARGV[2], ARGV[3], ARGV[4] == 'longer'
local id_start = tonumber(ARGV[1]) + 1
-- These are indices in ARGV, at which the current write, its values and the next write begin.
local write_at, values_at, next_at = 5, 6, 6

-- The functions below return either a result of a write, as described under Output, or nil and a change.
-- A change replaces a part of the record. It consists of four values:
--   the position at which the replaced part begins
--   the replacement
--   the position after the replaced part
--   true if the change adds an event to the feed

-- @use write/stats

-- Returns the result or the change of the current write. Sets next_at to the index of the next write in ARGV.
local function change(json, key)
  local verb_and_guard, epoch_field = ARGV[write_at] or 'h', false
  -- Byte values: g is 103, h is 104, s is 115, t is 116, the asterisk is 42, and the equals sign is 61.
  local verb, guard = byte(verb_and_guard, 1, 2)
  values_at = write_at + 1
  if #verb_and_guard > 2 then
    verb, epoch_field = 104, verb_and_guard
  elseif guard == 61 then
    epoch_field, values_at = ARGV[values_at], values_at + 1
  end
  next_at = values_at + (verb == 115 and 1 or verb == 116 and 2 or 0)
  -- MGET returned nil for this key, so the key is missing or holds a value of another type.
  if not json then return redis.call('EXISTS', key) == 1 and -2 or 0 end
  if verb == 103 then return json end
  local from, to, top_level_before
  if guard ~= 42 then from, to, top_level_before = find_canonical_heartbeat(json, epoch_field) end
  if not from then
    from, to = find_heartbeat(json)
    if not from then return json end
    local epoch = epoch_of(json)
    if epoch == nil then return json end
    if guard ~= 42 and (epoch and ',"epoch":"' .. epoch .. '"') ~= epoch_field then return -1 end
  end
  if verb == 104 then return nil, from, now, to end
  if verb ~= 115 then return stats(json, from, to, top_level_before or 0) end
  local status_from, status_to = find(json, ',"status":"', 1, true)
  local quote = status_from and status_to < from and find(json, '"', status_to + 1, true)
  if not quote or not top_level_before and byte(json, quote - 1) == 92 or find(json, 'tatus"', quote, true) then
    return json
  end
  -- If the record already has the new status, only the time of the last heartbeat changes.
  if sub(json, status_to + 1, quote - 1) == ARGV[values_at] then return nil, from, now, to end
  return nil, status_to + 1, ARGV[values_at] .. sub(json, quote, from - 1) .. now, to, true
end

local records = call('MGET', unpack(KEYS, 4))

-- This is a fast path for a single write that adds no event to the feed.
if #records == 1 and not never_shorten then
  local json, key = records[1], KEYS[4]
  local result, start, replacement, stop, event = change(json, key)
  if result then return { result } end
  if not event and call('SMISMEMBER', index_key, sub(key, id_start))[1] == 1 then
    if #replacement == stop - start then
      call('SETRANGE', key, format('%d', start - 1), replacement)
      local renewed = redis.pcall('PEXPIRE', key, ttl)
      if type(renewed) == 'table' then
        -- The user lacks the permission for PEXPIRE, so the previous record is restored.
        -- This rare restoration costs less than a check of the permission before each heartbeat.
        call('SETRANGE', key, '0', json)
        return renewed
      end
    else
      call('SET', key, sub(json, 1, start - 1) .. replacement .. sub(json, stop), 'PX', ttl)
    end
    return redis.status_reply('OK')
  end
end

-- All results and changes are computed before the first write, so that an error leaves every record unchanged.
-- A record that becomes shorter is stored as a whole, and its element in the table starts is false.
-- Any other record is changed in place.
local ids, starts, replacements, done_count, shrunk, held = {}, {}, {}, 0, false, {}
local changed, previous, statuses, event_count = {}, {}, {}, 0
local results
for i = 1, #records do
  local json, key, verb_and_guard = records[i], KEYS[i + 3], ARGV[write_at]
  local result, start, replacement, stop, event
  -- Heartbeats of canonical records are handled first, because most writes are of this kind.
  if json and (not verb_and_guard or #verb_and_guard > 2) then
    start, stop = find_canonical_heartbeat(json, verb_and_guard)
  end
  if start then
    replacement, next_at = now, write_at + 1
  else
    result, start, replacement, stop, event = change(json, key)
  end
  -- The holder's guard is either the short form or an equals sign, byte 61, after the verb.
  if never_shorten and verb_and_guard then held[i] = #verb_and_guard > 2 or byte(verb_and_guard, 2) == 61 end
  write_at = next_at
  if not result then
    done_count = done_count + 1
    ids[done_count] = sub(key, id_start)
    if event then
      -- The event contains the previous record. Building the new record would take most of the time of this script.
      event_count = event_count + 1
      changed[event_count], previous[event_count], statuses[event_count] = ids[done_count], json, ARGV[values_at]
    end
    local growth = #replacement - stop + start
    if growth > 0 then
      replacement = replacement .. sub(json, stop)
    elseif growth < 0 then
      start, replacement, shrunk = false, sub(json, 1, start - 1) .. replacement .. sub(json, stop), true
    end
    starts[i], replacements[i] = start, replacement
  elseif not results then
    results = {}
    for before = 1, i - 1 do results[before] = 1 end
  end
  if results then results[i] = result or 1 end
end
if done_count == 0 then return results end

-- Live streams that are missing from the index are added again.
local missing = {}
local members = call('SMISMEMBER', index_key, unpack(ids))
for i = 1, done_count do
  if members[i] == 0 then missing[#missing + 1] = ids[i] end
end
require_permission('PEXPIRE', KEYS[4], ttl)
require_permission('SETRANGE', KEYS[4], '0', now)
if #missing > 0 then require_permission('SADD', index_key, 'id') end
if shrunk then require_permission('SET', KEYS[4], 'text') end
if event_count > 0 then require_append_permissions(feed_key, metadata_key) end
for n = 1, event_count do
  append_event(feed_key, metadata_key, 'w', 'status', 'i', changed[n], 'r', previous[n], 's', statuses[n], 'n', now)
end
write_metadata(metadata_key)
if #missing > 0 then call('SADD', index_key, unpack(missing)) end
local offsets = {}
for i = 1, #records do
  local key, start, replacement = KEYS[i + 3], starts[i], replacements[i]
  if start then
    -- The offset is passed as a string. Redis would format a number with 17 digits, and this is slower than the change.
    local offset = offsets[start]
    if not offset then
      offset = format('%d', start - 1)
      offsets[start] = offset
    end
    call('SETRANGE', key, offset, replacement)
  elseif replacement then
    call('SET', key, replacement, 'KEEPTTL')
  end
  if replacement then
    if never_shorten and not held[i] then
      -- The option GT never shortens the remaining time. It ignores a key without a time to live, so NX sets that one.
      if call('PEXPIRE', key, ttl, 'GT') == 0 then call('PEXPIRE', key, ttl, 'NX') end
    else
      call('PEXPIRE', key, ttl)
    end
  end
end
return results or redis.status_reply('OK')
